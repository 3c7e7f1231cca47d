"""Random AVVP networks, written as source code, with the declaration that a careful reader would give each.

What decides a field, and what does not:

- which argument is audio: its name; or the width and frames of the stream that it takes. With equal shapes and names
  that say nothing (no name in such a network does), the arguments and every order of the modalities are undecided.
- the order of the modalities: names of outputs and variables; or a path that leads from a stream to its own tokens (a
  residual, a recurrent or unimodal encoder). Where both modalities are computed from both streams alike (the "concat"
  encoder), and nothing is named, it is undecided. Misleading names occur only where such a path contradicts them.
- probability or uncertainty: names; or that one is computed from the other. Two heads of one kind without names are
  undecided, and so is what is pooled from them, unless only one of them is a logit, or has a head or attention.
- video or modality: names; or which tokens or segments it is computed from. This is always decided, by close reading.
- attention: it sums to 1 over time. Detached copies have no gradient. Projections are not what the classifier reads.
- tokens: what the classifier reads, before or after a final layer norm; not the hidden layer of an MLP.
"""

from __future__ import annotations

import linecache
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from coleaf_framework import DERIVE, Out, StreamSpec, Tap
from tests.helpers.judging import Case, Truth

VISUAL_FIRST = ("visual", "audio")
HELPFUL_ARGUMENTS = (("audio", "visual"), ("f_a", "f_v"), ("audio_feat", "visual_feat"), ("a_in", "v_in"))
STYLES = (
    "{}_prob {}_unc",
    "p_{} u_{}",
    "{}_probs {}_uncertainty",
)
SHORT = {"audio": "a", "visual": "v"}


@dataclass(frozen=True)
class RandomNetwork:
    """A random network.

    Args:
        seed: that it was drawn with.
        source: of its class `Net`.
        streams: its input streams.
        num_classes: number of classes.
        truth: its declaration.
        traits: what was drawn, for messages.
    """

    seed: int
    source: str
    streams: Mapping[str, StreamSpec]
    num_classes: int
    truth: Truth
    traits: Mapping[str, Any]

    def make(self) -> nn.Module:
        """A fresh network, whose weights follow torch's random state; its source can be inspected."""
        name = f"<random network {self.seed}>"
        linecache.cache[name] = (len(self.source), None, self.source.splitlines(keepends=True), name)
        scope: dict[str, Any] = {"__name__": name}
        exec(compile(self.source, name, "exec"), scope)
        net: nn.Module = scope["Net"]()
        return net

    def case(self) -> Case:
        """The same as a case to judge."""
        return Case(f"random_network({self.seed})", "", self.make, self.truth, self.streams, self.num_classes)


def random_network(seed: int) -> RandomNetwork:
    """Draw a network; a seed always gives the same source."""
    return _Writer(seed).network()


@dataclass
class _Output:
    """A returned tensor: its role, such as "segment.audio"; its name and its expression."""

    role: str
    name: str
    expression: str


class _Writer:
    """Writes one network: first its traits are drawn, then the code, then what is returned and the truth."""

    def __init__(self, seed: int) -> None:
        self.seed, self.rng = seed, random.Random(seed)
        pick = self.rng.choice
        self.width, self.classes, self.frames = pick((8, 12, 16)), pick((2, 3, 3, 5, 8, 10)), pick((1, 2))
        self.equal = self.rng.random() < 0.3
        self.names = pick(("helpful", "helpful", "unhelpful", "unhelpful", "misleading"))
        self.arguments = pick(("helpful", "helpful", "unhelpful", "misleading"))
        self.encoder = pick(("pointwise", "attention", "transformer", "recurrent", "unimodal", "concat"))
        self.mixing = pick((0.0, 0.2, 3.0))
        if self.names == "misleading" and (self.encoder == "concat" or self.mixing > 1):
            self.names = "helpful"
        if self.equal and self.arguments == "misleading":
            self.arguments = "helpful"
        self.same_shape = self.equal and self.frames == 1
        self.lost = self.same_shape and self.arguments == "unhelpful"  # which argument is audio is undecided
        if self.lost:
            self.names = "unhelpful"
        self.order = pick((("audio", "visual"), VISUAL_FIRST))  # of the arguments and of stacks
        self.stack_order = pick((("audio", "visual"), VISUAL_FIRST))
        self.stacked, self.shared, self.mlp = pick((True, False)), pick((True, True, False)), pick((False, False, True))
        self.norm, self.logits = pick((True, False)), pick((True, False, False))
        self.layout = (
            pick(("b t m c", "b t m c", "b m t c", "b c t m", "b t c m"))
            if self.stacked
            else (pick(("b t c", "b t c", "b c t")))
        )
        self.video, self.modality = (pick(("mean", "mean", "attention", "head", "absent")) for _ in range(2))
        self.modality_stacked = pick((True, False, False))
        self.doubt = pick(("none", "none", "own", "computed"))
        self.returns_tokens = pick((True, False))
        self.distractors = [
            x for x in ("attention", "projections", "detached", "similarity") if self.rng.random() < 0.2
        ]
        self.container = pick(("tuple", "dict", "namedtuple"))
        self.style = pick(STYLES).split()
        hidden = [f"m{i}" for i in range(40)]
        self.rng.shuffle(hidden)
        self.hidden, self.known = iter(hidden), dict[str, str]()
        self.modules, self.lines, self.outputs = list[str](), list[str](), list[_Output]()

    def name(self, role: str) -> str:
        """The name of a module or variable: what it is, unless names are unhelpful."""
        if self.names != "unhelpful":
            return role
        if role not in self.known:
            self.known[role] = next(self.hidden)
        return self.known[role]

    def add(self, role: str, module: str) -> str:
        """Add a module, and return the expression that it is called by."""
        name = self.name(role)
        self.modules.append(f"self.{name} = {module}")
        return f"self.{name}"

    def line(self, *targets: str, value: str) -> None:
        """Assign to variables."""
        self.lines.append(f"{', '.join(targets)} = {value}")

    def network(self) -> RandomNetwork:
        """Write it."""
        widths = {"audio": 8 if self.equal else 6, "visual": 8}
        streams = {"audio": StreamSpec(widths["audio"], "audio"), "visual": StreamSpec(8, "visual", frames=self.frames)}
        given = self._arguments()
        self._encode(widths, given)
        self._classify()
        self._pool()
        self._distract()
        self.rng.shuffle(self.outputs)
        source = self._source(given)
        undecided = self._undecided()
        segment = self._declared("segment", self.layout, "b t m c" if self.stacked else "b t c", logits=self.logits)
        assert segment is not None
        truth = Truth(
            segment_probs=segment,
            video_probs=self._declared("video", "", ""),
            modality_probs=self._declared("modality", "b m c", "b m c"),
            tokens=self._tokens(),
            inputs=None if all(k == v for k, v in given.items()) else {given[m]: m for m in self.order},
            undecided=frozenset(undecided),
        )
        plain = {k: v for k, v in vars(self).items() if isinstance(v, str | int | float)}
        traits = {**plain, "distractors": self.distractors}
        return RandomNetwork(self.seed, source, streams, self.classes, truth, traits)

    def _arguments(self) -> dict[str, str]:
        """Stream -> name of its argument."""
        if self.arguments == "helpful":
            return dict(zip(("audio", "visual"), self.rng.choice(HELPFUL_ARGUMENTS), strict=True))
        if self.arguments == "misleading":
            return {"audio": "visual", "visual": "audio"}
        return dict(zip(self.order, ("x1", "x2"), strict=True))

    def _encode(self, widths: Mapping[str, int], given: Mapping[str, str]) -> None:
        a, v, w = self.name("a"), self.name("v"), self.width
        for m in self.order:
            project = self.add(f"fc_{SHORT[m]}", f"nn.Linear({widths[m]}, {w})")
            x = given[m] + (".unflatten(1, (-1, 2)).mean(2)" if m == "visual" and self.frames == 2 else "")
            self.line(self.name(SHORT[m]), value=f"{project}({x})")
            if "projections" in self.distractors:
                self._output(f"projection.{m}", f"{m}_proj", f"{self.name('proj_' + SHORT[m])}")
                self.line(self.name("proj_" + SHORT[m]), value=self.name(SHORT[m]))
        if self.encoder == "transformer":
            layer = self.add("layer", f"nn.TransformerEncoderLayer({w}, 2, 16, batch_first=True)")
            self.line(a, v, value=f"{layer}({a}), {layer}({v})")
        if self.encoder == "recurrent":
            for m in self.order:
                gru = self.add(f"gru_{SHORT[m]}", f"nn.GRU({w}, {w // 2}, batch_first=True, bidirectional=True)")
                self.line(self.name(SHORT[m]), value=f"{gru}({self.name(SHORT[m])})[0]")
        if self.encoder == "concat":
            both = self.name("both")
            self.line(
                both, value=f"torch.cat([{self.name(SHORT[self.order[0]])}, {self.name(SHORT[self.order[1]])}], 2)"
            )
            for m in self.order:
                mlp = self.add(
                    f"mlp_{SHORT[m]}", f"nn.Sequential(nn.Linear({2 * w}, {w}), nn.Tanh(), nn.Linear({w}, {w}))"
                )
                self.line(self.name(f"{SHORT[m]}_x"), value=f"{mlp}({both})")
            if self.names == "unhelpful":  # new variables, lest those of the projections tell them apart
                self.known |= {"a": self.known["a_x"], "v": self.known["v_x"]}
            else:
                self.line(a, v, value="a_x, v_x")
        elif self.encoder == "unimodal":
            self.line(a, v, value=f"{a}.tanh(), {v}.tanh()")
        elif self.mixing and self.encoder == "pointwise":
            mix = self.add("mix", f"nn.Linear({w}, {w})")
            self.line(a, v, value=f"{a} + {self.mixing} * {mix}({v}), {v} + {self.mixing} * {mix}({a})")
        elif self.mixing:
            cross = self.add("cross", f"nn.MultiheadAttention({w}, 2, batch_first=True)")
            mixed = [f"{x} + {self.mixing} * {cross}({x}, {y}, {y})[0]" for x, y in ((a, v), (v, a))]
            self.line(a, v, value=", ".join(mixed))
        if self.stacked:
            first, second = (self.name(SHORT[m]) for m in self.stack_order)
            self.line(self.name("x"), value=f"torch.stack([{first}, {second}], dim=2)")
        if self.norm:
            norm = self.add("norm", f"nn.LayerNorm({w})")
            for x in [self.name("x")] if self.stacked else [self.name(SHORT[m]) for m in self.stack_order]:
                self.line(x, value=f"{norm}({x})")

    def _head(self, role: str) -> str:
        w, c = self.width, self.classes
        return self.add(
            role,
            f"nn.Sequential(nn.Linear({w}, 20), nn.ReLU(), nn.Linear(20, {c}))"
            if self.mlp
            else (f"nn.Linear({w}, {c})"),
        )

    def _each(self, role: str) -> None:
        """Logits `{role}_a` and `{role}_v`, (B,T,C), or `{role}` (B,T,M,C) where they are stacked."""
        if self.shared:
            heads = dict.fromkeys(("audio", "visual"), self._head(f"fc_{role}"))
        else:
            heads = {m: self._head(f"fc_{role}_{SHORT[m]}") for m in self.stack_order}
        if self.stacked and self.shared:
            self.line(self.name(role), value=f"{heads['audio']}({self.name('x')})")
        elif self.stacked:
            parts = [f"{heads[m]}({self.name('x')}[:, :, {i}])" for i, m in enumerate(self.stack_order)]
            self.line(self.name(role), value=f"torch.stack([{', '.join(parts)}], dim=2)")
        else:
            for m in self.stack_order:
                self.line(self.name(f"{role}_{SHORT[m]}"), value=f"{heads[m]}({self.name(SHORT[m])})")

    def _half(self, role: str, modality: str) -> str:
        """The logits of one modality, (B,T,C)."""
        if self.stacked:
            return f"{self.name(role)}[:, :, {self.stack_order.index(modality)}]"
        return self.name(f"{role}_{SHORT[modality]}")

    def _classify(self) -> None:
        heads = ["frame", "doubt"] if self.doubt == "own" else ["frame"]
        if self.names == "unhelpful":
            self.rng.shuffle(heads)
        for role in heads:
            self._each(role)

    def _segments(self, logits: str) -> str:
        plain = "b t m c" if self.stacked else "b t c"
        axes = [plain.split().index(axis) for axis in self.layout.split()]
        return logits if self.layout == plain else f"{logits}.permute({', '.join(map(str, axes))})"

    def _pool(self) -> None:
        """Return segments, modalities and the video, with their uncertainties."""
        sigmoid = "" if self.logits else ".sigmoid()"
        if self.stacked:
            self._output("segment", self._label("frame"), self._segments(f"{self.name('frame')}{sigmoid}"))
            self._doubt("frame", f"{self.name('frame')}.sigmoid()", f"{self.name('doubt')}.sigmoid()", segments=True)
        else:
            for m in self.stack_order:
                value = self._segments(f"{self._half('frame', m)}{sigmoid}")
                self._output(f"segment.{m}", self._label(f"{m}_frame"), value)
                own = f"{self._half('doubt', m)}.sigmoid()"
                self._doubt(f"{m}_frame", f"{self._half('frame', m)}.sigmoid()", own, segments=True)
        if "attention" in (self.video, self.modality, *self.distractors):
            self._each("att")
        pooled, doubts = {}, {}
        for m in ("audio", "visual"):
            frame = f"{self._half('frame', m)}.sigmoid()"
            doubts[m] = f"{self._half('doubt', m)}.sigmoid().mean(1)"
            tokens = f"{self.name('x')}[:, :, {self.stack_order.index(m)}]" if self.stacked else self.name(SHORT[m])
            if self.modality == "head":
                pooled[m] = f"{self._head('fc_' + m)}({tokens}.mean(1)).sigmoid()"
            elif self.modality == "attention":
                pooled[m] = f"({self._half('att', m)}.softmax(1) * {frame}).sum(1)"
            else:
                pooled[m] = f"{frame}.mean(1)"
            self.line(self.name(f"{m}_pooled"), value=pooled[m])
        if self.modality != "absent" and self.modality_stacked:
            both = ", ".join(self.name(f"{m}_pooled") for m in self.stack_order)
            self._output("modality", self._label("modality"), f"torch.stack([{both}], dim=1)")
            own = ", ".join(doubts[m] for m in self.stack_order)
            self._doubt("modality", f"torch.stack([{both}], dim=1)", f"torch.stack([{own}], dim=1)")
        elif self.modality != "absent":
            for m in ("audio", "visual"):
                self._output(f"modality.{m}", self._label(m), self.name(f"{m}_pooled"))
                self._doubt(m, self.name(f"{m}_pooled"), doubts[m])
        if self.video != "absent":
            self._video(doubts)
        if self.returns_tokens:
            if self.stacked:
                self._output("tokens", "tokens", self.name("x"))
            else:
                for m in ("audio", "visual"):
                    self._output(f"tokens.{m}", f"{m}_tokens", self.name(SHORT[m]))

    def _video(self, doubts: Mapping[str, str]) -> None:
        if self.video == "head":
            mean = (
                f"{self.name('x')}.mean((1, 2))"
                if self.stacked
                else (f"({self.name('a')} + {self.name('v')}).mean(1) / 2")
            )
            value = f"{self._head('fc_video')}({mean}).sigmoid()"
        elif self.video == "attention":
            halves = [
                f"({self._half('att', m)}.softmax(1) * {self._half('frame', m)}.sigmoid()).sum(1)" for m in doubts
            ]
            value = f"({halves[0]} + {halves[1]}) / 2"
        else:
            value = " + ".join(f"{self._half('frame', m)}.sigmoid().mean(1)" for m in doubts)
            value = f"({value}) / 2"
        self.line(self.name("video"), value=value)
        self._output("video", self._label("video"), self.name("video"))
        self._doubt("video", self.name("video"), f"({doubts['audio']} + {doubts['visual']}) / 2")

    def _distract(self) -> None:
        if "attention" in self.distractors:
            for m in ("audio", "visual"):
                self._output(f"attention.{m}", f"{m}_att", f"{self._half('att', m)}.softmax(1)")
        if "detached" in self.distractors:
            name = self.name("frame") if self.stacked else self._half("frame", "audio")
            self._output("detached", "detached", f"{name}.sigmoid().detach()")
        if "similarity" in self.distractors:
            x = self.name("x")
            a, v = (f"{x}[:, :, 0]", f"{x}[:, :, 1]") if self.stacked else (self.name("a"), self.name("v"))
            self._output("similarity", "similarity", f"{a} @ {v}.mT")

    def _doubt(self, what: str, probability: str, own: str, *, segments: bool = False) -> None:
        """Return the uncertainty of an output."""
        if self.doubt == "none":
            return
        value = own if self.doubt == "own" else f"(1 - (2 * {probability} - 1).abs())"
        self._output(f"doubt.{what}", self.style[1].format(what), self._segments(value) if segments else value)

    def _label(self, what: str) -> str:
        return self.style[0].format(what)

    def _output(self, role: str, name: str, expression: str) -> None:
        self.outputs.append(_Output(role, name, expression))

    def _source(self, given: Mapping[str, str]) -> str:
        """The code; names of outputs become final here."""
        swap = {"audio": "visual", "visual": "audio"}
        for k, out in enumerate(self.outputs):
            if self.names == "unhelpful":
                out.name = f"o{k}"
            elif self.names == "misleading":
                out.name = "_".join(swap.get(part, part) for part in out.name.split("_"))
        names = [out.name for out in self.outputs]
        body = [*self.lines, *(f"{out.name} = {out.expression}" for out in self.outputs)]
        head = ["import collections", "import torch", "from torch import nn", ""]
        if self.container == "tuple":
            body.append(f"return {', '.join(names)},")
        elif self.container == "dict":
            body.append("return {" + ", ".join(f'"{name}": {name}' for name in names) + "}")
        else:
            head += [f'Returned = collections.namedtuple("Returned", {names!r})', ""]
            body.append(f"return Returned({', '.join(names)})")
        lines = [*head, "class Net(nn.Module):", "    def __init__(self):", "        super().__init__()"]
        lines += [f"        {x}" for x in self.modules]
        lines += ["", f"    def forward(self, {given[self.order[0]]}, {given[self.order[1]]}):"]
        return "\n".join([*lines, *(f"        {x}" for x in body)]) + "\n"

    def _path(self, role: str) -> int | str | None:
        """Where a role is returned; None where it is not."""
        for k, out in enumerate(self.outputs):
            if out.role == role:
                return k if self.container == "tuple" else out.name
        return None

    def _declared(self, role: str, layout: str, plain: str, *, logits: bool = False) -> Any:
        """The declaration of an output, `DERIVE` where it is not returned."""
        changes: dict[str, Any] = {"layout": layout} if layout != plain else {}
        if logits:
            changes["kind"] = "logits"
        path, audio, visual = (self._path(x) for x in (role, f"{role}.audio", f"{role}.visual"))
        if path is None and audio is None:
            return DERIVE
        if path is None:
            assert audio is not None
            return Out(audio, visual=visual, **changes)
        if role != "video" and self.stack_order == VISUAL_FIRST:
            changes["order"] = VISUAL_FIRST
        return Out(path, **changes)

    def _tokens(self) -> tuple[Any, ...]:
        """Every acceptable declaration."""
        order: Any = {"order": self.stack_order} if self.stacked else {}
        runs: Any = {m: k for k, m in enumerate(self.stack_order)}
        found: list[Any] = []
        if self.returns_tokens:
            found.append(self._declared("tokens", "", ""))
        if self.stacked and self.shared:
            found.append(Tap(self.name("fc_frame"), at="input", **order))
        elif self.shared:
            found.append(Tap(self.name("fc_frame"), at="input", call=runs))
        else:
            a, v = (Tap(self.name(f"fc_frame_{SHORT[m]}"), at="input") for m in ("audio", "visual"))
            found.append((a, v))
        if self.norm:
            found.append(Tap(self.name("norm"), at="input", **(order if self.stacked else {"call": runs})))
        return tuple(found)

    def _asymmetric(self) -> bool:
        """Whether probabilities are made in another way than the uncertainties, by which close reading tells them."""
        return self.logits or not {self.video, self.modality} <= {"mean", "absent"}

    def _undecided(self) -> set[str]:
        undecided = {"inputs"} if self.lost else set()
        unordered = self.lost or (self.encoder == "concat" and self.names == "unhelpful")
        if unordered:
            undecided |= {"segment_probs", "tokens"} | ({"modality_probs"} if self.modality != "absent" else set())
        if self.doubt == "own" and self.names == "unhelpful" and not self._asymmetric():
            undecided |= {"segment_probs"} | ({"modality_probs"} if self.modality != "absent" else set())
            undecided |= {"video_probs"} if self.video != "absent" else set()
        return undecided
