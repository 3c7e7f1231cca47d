"""The output of `describe`, line by line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from coleaf_framework.inspection.arguments import FoundInputs
from coleaf_framework.inspection.probe import Probe
from coleaf_framework.inspection.proposed import Proposal
from coleaf_framework.inspection.seen import BASE
from coleaf_framework.inspection.source_code import as_source, call_text, streams_text
from coleaf_framework.protocol import StreamSpec

FIELDS = ("segment_probs", "modality_probs", "video_probs", "tokens")


@dataclass(frozen=True)
class Description:
    """Result of `describe`; `print` it to read it.

    Args:
        network: class name of the network.
        lines: the description, line by line.
        call: a `wrap(...)` call that passes the dry run; None where something is open.
        problem: why there is no call; None otherwise.
        proposed: "inputs" and the fields of the protocol, as `Declaration` takes them; open ones are absent. Empty for
            a network that follows the protocol.
        arguments: the arguments of the call; None where there is none.
    """

    network: str
    lines: tuple[str, ...]
    call: str | None
    problem: str | None
    proposed: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        last = ["", "a call that fits (it passed the dry run):", "", f"    {self.call}"]
        if self.call is None:
            last = ["", f"no call is proposed: {self.problem}"]
        return "\n".join([*self.lines, *last])


class Page:
    """Gathers the lines of a description."""

    def __init__(
        self,
        name: str,
        net: nn.Module,
        specs: Mapping[str, StreamSpec],
        probe: Probe,
        classes: int | None,
        found: FoundInputs,
        assumed: bool,
    ) -> None:
        self.name, self.net, self.specs, self.probe, self.classes = name, net, specs, probe, classes
        self.found, self.assumed = found, assumed
        self.notes: list[str] = []
        self.proposal: Proposal | None = None
        self.signal: str | None = None

    def with_call(self, proposed: Mapping[str, Any], arguments: Mapping[str, Any]) -> Description:
        """The description with a call of these arguments."""
        return Description(self.name, self._lines(), call_text("net", arguments), None, proposed, arguments)

    def without_call(self, problem: str, proposed: Mapping[str, Any] | None = None) -> Description:
        """The description, and why there is no call."""
        return Description(self.name, self._lines(), None, problem, proposed or {})

    def _tappable(self) -> list[str]:
        """Inputs and outputs of submodules that have the shape of tokens, those that ran last first."""
        found = []
        for seen in reversed(self.probe.seen):
            place, fits = seen.place, any(seen.layout(x, 0) is not None for x in ("b t m d", "b t d"))
            if place.submodule is not None and seen.has_gradient and fits:
                found.append(f"{place.at} of {place.submodule}, run {place.run}: {tuple(seen.tensor.shape)}")
        return list(dict.fromkeys(found))[:8] or ["nothing that has their shape"]

    def _lines(self) -> tuple[str, ...]:
        parameters = sum(p.numel() for p in self.net.parameters())
        lines = [f"{self.name}, {parameters:,} parameters", ""]
        lines.append(
            "takes      " + streams_text(self.specs) + (" (LLP's, since none were given)" if self.assumed else "")
        )
        if self.found.inputs is not None:
            lines.append("called as  " + as_source(self.found.inputs))
        lines += [
            "",
            f"returns    (b videos, t segments, m modalities, c classes, d width; shapes at B={BASE[0]}, T={BASE[1]})",
        ]
        for seen in self.probe.seen:
            if seen.place.submodule is None:
                shape, layout = str(tuple(seen.tensor.shape)), seen.axes_text(self.classes)
                gradient = "" if seen.has_gradient else ", no gradient"
                lines.append(
                    f"  {seen.place.path:<18} {shape:<20} {layout:<12} {seen.low:.3g} to {seen.high:.3g}{gradient}"
                )
        lines.append("")
        if self.probe.fixed_segments_error is not None:
            lines.append(
                f"segments   runs on T={BASE[1]}, not on T=20: {self.probe.fixed_segments_error.splitlines()[0]}"
            )
        elif self.probe.folds_segments:
            lines.append("segments   T=20 is folded into the batch: 10 segments are written into it")
        else:
            lines.append("segments   any number")
        if self.proposal is not None:
            lines += ["", "fields"]
            for name in FIELDS:
                if name in self.proposal.fields:
                    lines.append(f"  {name:<14} {as_source(self.proposal.fields[name])}")
                    lines.append(f"  {'':<14}   {self.proposal.evidence[name]}")
                else:
                    lines.append(f"  {name:<14} open: {self.proposal.open.get(name, 'not found')}")
        if self.proposal is not None and "tokens" not in self.proposal.fields and self.classes is not None:
            lines += ["", "tokens could be tapped at", *(f"  {text}" for text in self._tappable())]
        if self.signal is not None:
            lines += ["", *self.signal.splitlines()]
        return (*lines, *(["", *(f"note       {note}" for note in self.notes)] if self.notes else []))
