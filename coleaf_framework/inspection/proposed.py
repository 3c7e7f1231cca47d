"""The proposal for a network's outputs, field by field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from coleaf_framework.adapters import DERIVE, Out, Tap


@dataclass
class Proposal:
    """A proposal for a network's outputs.

    Args:
        fields: "segment_probs", "video_probs", "modality_probs", "tokens" -> its declaration; an open field is absent.
        evidence: the same names -> why.
        open: the same names -> what was found, and what would decide.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, str] = field(default_factory=dict)
    open: dict[str, str] = field(default_factory=dict)

    def say(self, name: str, value: Any, why: str) -> None:
        """Propose a field."""
        self.fields[name], self.evidence[name] = value, why

    def leave_open(self, name: str, why: str) -> None:
        """Propose nothing for a field."""
        self.open[name] = why


def agreed(proposals: Sequence[Proposal]) -> Proposal:
    """What several proposals agree on; the fields in which they differ are open."""
    first = proposals[0]
    common = Proposal(open=dict(first.open))
    for name, value in first.fields.items():
        if all(p.fields.get(name) == value for p in proposals[1:]):
            common.say(name, value, first.evidence[name])
        else:
            common.leave_open(name, "what it is depends on what is open elsewhere")
    return common


def paths_of(declared: Any) -> set[str]:
    """The paths of a declaration."""
    if isinstance(declared, Out):
        return {str(declared.path), str(declared.visual)}
    if isinstance(declared, tuple):
        return set().union(*(paths_of(x) for x in declared)) if declared else set()
    return set() if isinstance(declared, Tap) or declared == DERIVE else {str(declared)}
