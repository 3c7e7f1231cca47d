"""Choose among candidates for the segment probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from coleaf_framework.inspection.flat_outputs import FlatOutput
from coleaf_framework.inspection.functional_heads import FunctionalHead
from coleaf_framework.inspection.probe import Probe
from coleaf_framework.inspection.seen import all_passes_through, gradients, same
from coleaf_framework.inspection.segment_candidates import Segments
from coleaf_framework.inspection.segment_heads import Classifier

Head = Classifier | FunctionalHead | None
Candidate = tuple[Segments, Head, list[FlatOutput]]


def without_logits_twice(candidates: list[Candidate]) -> list[Candidate]:
    """Without the logits of probabilities that are candidates too."""
    kept = []
    for found in candidates:
        probs = [half.sigmoid() for half in found[0].halves]
        twice = found[0].kind == "logits" and any(
            same(x, y)
            for other, *_ in candidates
            if other.kind == "probs"
            for x, y in zip(probs, other.halves, strict=True)
        )
        if not twice:
            kept.append(found)
    return kept


def needs_more_than(probe: Probe, other: Segments, segments: Segments, head: Head) -> bool:
    """Whether a candidate depends on the logits of another one, and not on these alone."""
    places = [run.logits for run in head.runs] if isinstance(head, Classifier) else segments.sources
    tensors = [s.tensor for s in places]
    both = torch.stack([(half * torch.randn_like(half)).sum() for half in other.halves])
    if not any(g.any() for g in gradients(both, tensors, torch.ones_like(both))):
        return False
    return not all_passes_through(both, tensors, list(probe.base.streams.values()))


def is_one_classifier(head: Head) -> bool:
    """Whether one submodule makes both halves."""
    return isinstance(head, Classifier) and len({run.submodule for run in head.runs}) == 1


def explained(flat: Sequence[FlatOutput]) -> bool:
    """Whether everything of one row per video is pooled from a candidate for the segment probabilities."""
    return bool(flat) and not any(x.apart() for x in flat) and any("rises" in x.responses for x in flat)
