"""What was measured on a network: which outputs and which loss terms reach which of its parameters."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from coleaf_framework.collaboration import TEACHING_TERMS, LabelLoss
from coleaf_framework.model.signal import SubmoduleSignal, TrainingSignal
from coleaf_framework.wrapping.reach import SegmentReach
from coleaf_framework.wrapping.summary import submodule_rows


@dataclass
class Measured:
    """What was measured on a network.

    Args:
        sizes: trainable parameter -> how many numbers it holds.
        fields: field of `AnchorOutput` -> the parameters that it depends on.
        moving: field -> those of them whose gradient is not zero.
        terms: loss term -> the parameters that it gives a gradient that is not zero.
        label_terms: names of the terms of labels.
        raw: path of a tensor that the network returns -> its shape, and the dead parameters that it depends on.
        label_loss: how labels teach the Anchor, with the default decided.
        contrast_is_constant: whether contrast is the same for all tokens.
        reads_modality_labels: whether the loss of labels reads those of either modality.
        reach: which segments the outputs depend on; None for one segment.
    """

    sizes: dict[str, int]
    fields: dict[str, set[str]]
    moving: dict[str, set[str]]
    terms: dict[str, set[str]]
    label_terms: tuple[str, ...]
    raw: dict[str, tuple[tuple[int, ...], set[str]]]
    label_loss: LabelLoss
    contrast_is_constant: bool = True
    reads_modality_labels: bool = False
    reach: SegmentReach | None = None

    @property
    def segment_head(self) -> set[str]:
        """Parameters that segment probabilities depend on and tokens do not; all of the former where there are none."""
        return (self.moving["segment_probs"] - self.fields["tokens"]) or self.moving["segment_probs"]

    @property
    def missed_by_video(self) -> set[str]:
        """Parameters that segment probabilities give a gradient and video probabilities do not."""
        return self.moving["segment_probs"] - self.moving["video_probs"]

    def reached_by(self, terms: tuple[str, ...]) -> set[str]:
        """Parameters that one of the terms gives a gradient."""
        return set().union(*(self.terms.get(term, set()) for term in terms))

    def size(self, names: set[str]) -> int:
        """How many numbers these parameters hold."""
        return sum(self.sizes[name] for name in names)

    def table(self, network: nn.Module) -> TrainingSignal:
        """The measured terms by submodule."""
        sizes = {name: x.numel() for name, x in network.named_parameters()}
        terms = (*self.label_terms, *(term.name for term in TEACHING_TERMS if term.name in self.terms))
        rows = []
        for path, names in submodule_rows(network).items():
            total = sum(sizes[name] for name in names)
            shares = {
                term: sum(sizes[name] for name in names if name in self.terms[term]) / max(1, total) for term in terms
            }
            rows.append(SubmoduleSignal(path, total, shares))
        return TrainingSignal(type(network).__name__, terms, tuple(rows))
