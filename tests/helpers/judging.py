"""Hold what `describe` proposes to the truth about a network, field by field and by numbers.

Verdicts: "right"; "absent", where nothing is proposed though a careful reader could say it; "wrong". Where nothing can
decide a field, only silence is right: a proposal that happens to be true was luck.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import coleaf_framework
from coleaf_framework import DERIVE, CoLeaF, Out, StreamSpec, Tap, describe
from coleaf_framework.adapters import Calling, flatten
from coleaf_framework.losses import pool_segments

FIELDS = ("inputs", "segment_probs", "video_probs", "modality_probs", "tokens")
VIDEOS, SEGMENTS = 4, 10


@dataclass(frozen=True)
class Truth:
    """The right declaration of a network.

    Args:
        segment_probs: as in `wrap(outputs=...)`; None where no declaration is right.
        video_probs: likewise.
        modality_probs: likewise.
        tokens: every acceptable declaration of the tokens, as in `wrap(tokens=...)`.
        inputs: as in `wrap(inputs=...)`.
        undecided: fields that nothing decides, or that no declaration describes: they must not be proposed.
        optional: fields that only close reading decides: they may be left out, but not be wrong.
    """

    segment_probs: Any = None
    video_probs: Any = DERIVE
    modality_probs: Any = DERIVE
    tokens: tuple[Any, ...] = ()
    inputs: Any = None
    undecided: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()

    def declaration(self) -> dict[str, Any]:
        """The arguments of `wrap`."""
        outputs = {name: getattr(self, name) for name in ("segment_probs", "video_probs", "modality_probs")}
        return {"outputs": outputs, "tokens": self.tokens[0], "inputs": self.inputs}


@dataclass(frozen=True)
class Judgement:
    """What `describe` proposed for a network, and whether it is right.

    Args:
        verdicts: field -> "right", "absent" or "wrong".
        proposed: field -> what was proposed.
        truth: of the network.
        call: the complete call that was proposed; None where there was none.
        problem: why nothing was proposed, or none complete.
    """

    verdicts: Mapping[str, str]
    proposed: Mapping[str, Any]
    truth: Truth
    call: str | None
    problem: str | None

    @property
    def verdict(self) -> str:
        """Of the network: wrong if a field is, absent if a field or the complete call is missing.

        No call is right where no label would train the segment head: `wrap` refuses it without a loss, and says so.
        """
        if "wrong" in self.verdicts.values():
            return "wrong"
        incomplete = self.call is None and not self.truth.undecided and "no label trains" not in (self.problem or "")
        missing = "absent" in self.verdicts.values() or incomplete
        return "absent" if missing else "right"

    def explain(self, name: str, verdicts: tuple[str, ...] = ("wrong",)) -> str:
        """One line for each field with one of these verdicts: network, field, what was proposed, and the truth."""
        lines = []
        for what, verdict in self.verdicts.items():
            if verdict in verdicts:
                true = "nothing decides it" if what in self.truth.undecided else repr(getattr(self.truth, what))
                lines.append(
                    f"{name}.{what} is {verdict}: proposed {self.proposed.get(what, 'nothing')!r}, true {true}"
                )
        return "\n".join(lines + ([f"{name}: {self.problem}"] if lines and self.problem else []))


@dataclass(frozen=True)
class Case:
    """A network with its truth.

    Args:
        name: of the network.
        about: the trap, in one line.
        make: gives what is described: a fresh network.
        truth: of the network.
        streams: its input streams.
        num_classes: number of classes.
        options: further arguments of `describe`.
        raises: what the error of `describe` must say, a regular expression; None where it must not fail.
    """

    name: str
    about: str
    make: Callable[[], Any]
    truth: Truth
    streams: Mapping[str, StreamSpec]
    num_classes: int
    options: Mapping[str, Any] = field(default_factory=dict)
    raises: str | None = None


def judge(case: Case) -> Judgement:
    """Describe a fresh network and hold the proposal to the truth; an error of `describe` proposes nothing."""
    network = case.make()
    try:
        found = describe(network, streams=case.streams, num_classes=case.num_classes, **case.options)
    except (ValueError, TypeError) as problem:
        silent = {what: "right" if what in case.truth.undecided else "absent" for what in FIELDS}
        return Judgement(silent, {}, case.truth, None, str(problem))
    net = network if isinstance(network, nn.Module) else network(**case.options.get("anchor_options", {}))
    return judge_description(
        found, net, case.truth, case.streams, follow_device=case.options.get("follow_device", False)
    )


def judge_description(
    found: Any, network: nn.Module, truth: Truth, streams: Mapping[str, StreamSpec], *, follow_device: bool = False
) -> Judgement:
    """Hold a `Description` of a network to the truth."""
    proposed = proposals(found)
    reader = _Reader(network, truth, streams, follow_device)
    verdicts = {}
    for what in FIELDS:
        if what in truth.undecided:
            verdicts[what] = "wrong" if what in proposed else "right"
        elif what not in proposed:
            verdicts[what] = "right" if what == "inputs" and truth.inputs is None else "absent"
        else:
            verdicts[what] = "right" if reader.agrees(what, proposed) else "wrong"
    return Judgement(verdicts, proposed, truth, found.call, found.problem)


def run_call(call: str, network: Any) -> CoLeaF:
    """Run a proposed call as a user would; raises what `wrap` raises."""
    names = {name: getattr(coleaf_framework, name) for name in coleaf_framework.__all__}
    return eval(call, {**names, "net": network})  # type: ignore[no-any-return]  # noqa: S307


def proposals(found: Any) -> dict[str, Any]:
    """The proposed fields: `found.proposed`, and those of the complete call, which is what a user runs."""
    proposed = dict(getattr(found, "proposed", {}))
    if found.call is None:
        return proposed
    names = {name: getattr(coleaf_framework, name) for name in coleaf_framework.__all__}
    call: dict[str, Any] = eval(found.call, {**names, "wrap": lambda _, **given: given, "net": None})  # noqa: S307
    if "outputs" in call:
        proposed |= {**call["outputs"], "tokens": call["tokens"]}
    else:  # read by the protocol's names
        proposed |= {"segment_probs": "segment_probs", "video_probs": "video_probs", "tokens": "tokens"}
        proposed.setdefault("modality_probs", "modality_probs")
    return proposed | {"inputs": call.get("inputs")}


class _Reader:
    """Reads fields from a network with fresh weights, in evaluation mode, on a random batch."""

    def __init__(
        self, network: nn.Module, truth: Truth, streams: Mapping[str, StreamSpec], follow_device: bool
    ) -> None:
        self.network, self.truth, self.streams = copy.deepcopy(network).eval(), truth, streams
        self.follow_device = follow_device
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for x in self.network.parameters():
                scale = x[0].numel() ** -0.5 if x.ndim > 1 else 0.3
                x.copy_(torch.randn(x.shape, generator=generator) * scale + (0 if x.ndim > 1 else x))
        self.batch = {
            name: torch.randn(VIDEOS, spec.frames * SEGMENTS, spec.width, generator=generator)
            for name, spec in streams.items()
        }

    def agrees(self, what: str, proposed: Mapping[str, Any]) -> bool:
        """Whether a proposed field gives the numbers of the true one."""
        value = proposed[what]
        try:
            if what == "inputs":
                ours, theirs = (list(flatten(self._run(x)[0])) for x in (value, self.truth.inputs))
                return len(ours) == len(theirs) and all(
                    _close(x, y) for (_, x), (_, y) in zip(ours, theirs, strict=True)
                )
            if what == "tokens":
                return any(_close(self._tokens(value), self._tokens(true)) for true in self.truth.tokens)
            true = getattr(self.truth, what)
            if isinstance(value, str) and value == true == DERIVE:
                return True
            modality = proposed.get("modality_probs", self.truth.modality_probs)
            return _close(self._output(what, value, modality), self._output(what, true, self.truth.modality_probs))
        except (ValueError, TypeError, RuntimeError, IndexError):
            return False

    def _run(self, inputs: Any, taps: tuple[Tap, ...] = ()) -> tuple[Any, list[Any]]:
        """The raw outputs, and what each tap captured."""
        network = copy.deepcopy(self.network)  # it may keep state from call to call
        calling = Calling(inputs, self.streams, follow_device=self.follow_device)
        with torch.random.fork_rng(devices=[]), ExitStack() as stack:
            torch.manual_seed(0)
            captured = [stack.enter_context(tap.capture(network)) for tap in taps]
            batch = {name: x.clone().requires_grad_() for name, x in self.batch.items()}
            return calling(network, batch), captured

    def _output(self, what: str, value: Any, modality: Any) -> Tensor:
        if isinstance(value, str) and value == DERIVE:
            if what == "modality_probs":
                return pool_segments(self._output("segment_probs", self.truth.segment_probs, modality), None)
            return 1 - (1 - self._output("modality_probs", modality, modality)).prod(1)
        return _as_out(value).read(self._run(self.truth.inputs)[0], what, VIDEOS, SEGMENTS)

    def _tokens(self, value: Any) -> Tensor:
        taps = value if isinstance(value, tuple) else (value,)
        if not isinstance(taps[0], Tap):
            return self._output("tokens", value, None)
        _, captured = self._run(self.truth.inputs, taps)
        if len(taps) == 1:
            return taps[0].tokens(captured[0], VIDEOS, SEGMENTS)
        halves = zip(taps, captured, strict=True)
        return torch.stack([tap.tokens(runs, VIDEOS, SEGMENTS, single=True) for tap, runs in halves], dim=2)


def _as_out(value: Any) -> Out:
    if isinstance(value, Out):
        return value
    return Out(value[0], visual=value[1]) if isinstance(value, tuple) else Out(value)


def _close(x: Tensor, y: Tensor) -> bool:
    return x.shape == y.shape and torch.allclose(x, y, rtol=1e-4, atol=1e-5)
