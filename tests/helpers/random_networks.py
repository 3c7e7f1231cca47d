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
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from coleaf_framework import DERIVE, Out, StreamSpec, Tap
from tests.helpers.judging import Case, Truth
from tests.helpers.network_writer import SHORT, VISUAL_FIRST, Writer


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
    return _Declared(seed).network()


class _Declared(Writer):
    """A network that is written, and its truth."""

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
