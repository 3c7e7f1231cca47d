"""Writes the source code of a random network: its traits are drawn first, then the code, then what is returned."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

VISUAL_FIRST = ("visual", "audio")
HELPFUL_ARGUMENTS = (("audio", "visual"), ("f_a", "f_v"), ("audio_feat", "visual_feat"), ("a_in", "v_in"))
STYLES = (
    "{}_prob {}_unc",
    "p_{} u_{}",
    "{}_probs {}_uncertainty",
)
SHORT = {"audio": "a", "visual": "v"}


@dataclass
class Output:
    """A returned tensor: its role, such as "segment.audio"; its name and its expression."""

    role: str
    name: str
    expression: str


class Writer:
    """Draws the traits of one network, and writes its code."""

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
        self.modules, self.lines, self.outputs = list[str](), list[str](), list[Output]()

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
                self.output(f"projection.{m}", f"{m}_proj", f"{self.name('proj_' + SHORT[m])}")
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
            self.output("segment", self._label("frame"), self._segments(f"{self.name('frame')}{sigmoid}"))
            self._doubt("frame", f"{self.name('frame')}.sigmoid()", f"{self.name('doubt')}.sigmoid()", segments=True)
        else:
            for m in self.stack_order:
                value = self._segments(f"{self._half('frame', m)}{sigmoid}")
                self.output(f"segment.{m}", self._label(f"{m}_frame"), value)
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
            if self.modality != "absent":
                self.line(self.name(f"{m}_pooled"), value=pooled[m])
        if self.modality != "absent" and self.modality_stacked:
            both = ", ".join(self.name(f"{m}_pooled") for m in self.stack_order)
            self.output("modality", self._label("modality"), f"torch.stack([{both}], dim=1)")
            own = ", ".join(doubts[m] for m in self.stack_order)
            self._doubt("modality", f"torch.stack([{both}], dim=1)", f"torch.stack([{own}], dim=1)")
        elif self.modality != "absent":
            for m in ("audio", "visual"):
                self.output(f"modality.{m}", self._label(m), self.name(f"{m}_pooled"))
                self._doubt(m, self.name(f"{m}_pooled"), doubts[m])
        if self.video != "absent":
            self._video(doubts)
        if self.returns_tokens:
            if self.stacked:
                self.output("tokens", "tokens", self.name("x"))
            else:
                for m in ("audio", "visual"):
                    self.output(f"tokens.{m}", f"{m}_tokens", self.name(SHORT[m]))

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
        self.output("video", self._label("video"), self.name("video"))
        self._doubt("video", self.name("video"), f"({doubts['audio']} + {doubts['visual']}) / 2")

    def _distract(self) -> None:
        if "attention" in self.distractors:
            for m in ("audio", "visual"):
                self.output(f"attention.{m}", f"{m}_att", f"{self._half('att', m)}.softmax(1)")
        if "detached" in self.distractors:
            name = self.name("frame") if self.stacked else self._half("frame", "audio")
            self.output("detached", "detached", f"{name}.sigmoid().detach()")
        if "similarity" in self.distractors:
            x = self.name("x")
            a, v = (f"{x}[:, :, 0]", f"{x}[:, :, 1]") if self.stacked else (self.name("a"), self.name("v"))
            self.output("similarity", "similarity", f"{a} @ {v}.mT")

    def _doubt(self, what: str, probability: str, own: str, *, segments: bool = False) -> None:
        """Return the uncertainty of an output."""
        if self.doubt == "none":
            return
        value = own if self.doubt == "own" else f"(1 - (2 * {probability} - 1).abs())"
        self.output(f"doubt.{what}", self.style[1].format(what), self._segments(value) if segments else value)

    def _label(self, what: str) -> str:
        return self.style[0].format(what)

    def output(self, role: str, name: str, expression: str) -> None:
        self.outputs.append(Output(role, name, expression))

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
