"""A trained model's predictions for every video of a split, from which everything else is read.

Scores, events, thresholds, tables and figures all come from one `Predictions`: a network runs over a split once.
Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from coleaf_framework.data import AVVPDataset
from coleaf_framework.metrics import DecisionConfig, all_scores, decide, empty_parser, list_events, video_label_parser
from coleaf_framework.protocol import AnchorOutput, Batch
from coleaf_framework.results.caveats import caveats_of_answers
from coleaf_framework.results.evaluation import Evaluation
from coleaf_framework.results.events_file import VideoEvents

_PADDED = ("segment_probs", "truth", "mask")
_TENSORS = ("segment_probs", "modality_probs", "video_probs", "truth", "labels", "mask")
_ROUNDING = 1e-3  # sums of probabilities may end a little above 1


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for the N videos of a split.

    Args:
        parser: what tables call the model.
        data: name of the data set.
        split: name of the split.
        ids: N video ids.
        classes: C names.
        decision: the thresholds that the model is scored with.
        segment_probs: (N,T,M,C) float32 in [0,1].
        modality_probs: (N,M,C) float32 in [0,1].
        video_probs: (N,C) float32 in [0,1].
        truth: (N,T,M,C) bool; None where the split has only weak labels.
        labels: (N,C) weak labels in {0,1}.
        mask: (N,T) bool, True where a segment is real; videos are padded to the longest.
        caveats: what must be said beside the scores.
    """

    parser: str
    data: str
    split: str
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    decision: DecisionConfig
    segment_probs: Tensor
    modality_probs: Tensor
    video_probs: Tensor
    truth: Tensor | None
    labels: Tensor
    mask: Tensor
    caveats: tuple[str, ...] = ()

    @property
    def output(self) -> AnchorOutput:
        """The probabilities as the Anchor returned them, without its tokens."""
        return AnchorOutput(
            self.segment_probs, self.video_probs, self.segment_probs.new_empty(0), modality_probs=self.modality_probs
        )

    @property
    def known_truth(self) -> Tensor:
        """`truth`, (N,T,M,C) bool.

        Raises:
            ValueError: the split has only weak labels.
        """
        if self.truth is None:
            raise ValueError(
                f"{self.data} {self.split} has only weak labels; scores need segment labels (AVVP_eval_*.csv)"
            )
        return self.truth

    def with_caveats(self, caveats: Iterable[str]) -> Predictions:
        """The same, with further sentences that must be said beside the scores, each once."""
        return replace(self, caveats=tuple(dict.fromkeys((*self.caveats, *caveats))))

    def decided(self, decision: DecisionConfig | None = None) -> Tensor:
        """Decisions, (N,T,M,C) bool, by the model's own thresholds or others."""
        return decide(self.output, decision or self.decision, self.mask)

    def trivial(self) -> dict[str, Tensor]:
        """Decisions of the two trivial parsers that every table shows beside a model, by name."""
        return {
            "empty parser": empty_parser(self.known_truth),
            "video-label parser": video_label_parser(self.labels, self.mask),
        }

    def scores(self) -> dict[str, float]:
        """Every column in percent, by the model's own thresholds.

        Raises:
            ValueError: the split has only weak labels.
        """
        return all_scores(self.decided(), self.known_truth)

    def evaluation(self) -> Evaluation:
        """The scores beside those of the two trivial parsers.

        Raises:
            ValueError: the split has only weak labels.
        """
        empty, video_label = (all_scores(decided, self.known_truth) for decided in self.trivial().values())
        where = f"{self.data} {self.split}"
        return Evaluation(self.parser, where, len(self.ids), self.scores(), empty, video_label, self.caveats)

    def events(self) -> list[VideoEvents]:
        """The predicted events of every video, with the annotated ones where the split has them."""
        found = []
        for i, decided in enumerate(self.decided()):
            length = int(self.mask[i].sum())
            predicted = list_events(decided[:length], self.classes, self.segment_probs[i, :length])
            truth = None if self.truth is None else list_events(self.truth[i, :length], self.classes)
            found.append(VideoEvents(self.ids[i], float(length), predicted, truth))
        return found


def collect_tensors(batches: Iterable[tuple[Batch, AnchorOutput]]) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """The ids of some videos and the tensors of a `Predictions`, from what a network returned batch by batch.

    Args:
        batches: each batch and the Anchor's output for it, `modality_probs` included; at least one.

    Returns:
        Video ids, and the tensors by the names of the fields, on the CPU; without "truth" where no batch has any.
    """
    rows: list[dict[str, Tensor]] = []
    ids: list[str] = []
    for batch, output in batches:
        assert output.modality_probs is not None
        labels, mask = batch.labels, batch.mask
        if mask is None:
            mask = torch.ones(output.segment_probs.shape[:2], dtype=torch.bool)
        row = {
            "segment_probs": output.segment_probs,
            "modality_probs": output.modality_probs,
            "video_probs": output.video_probs,
            "labels": labels,
            "mask": mask,
        }
        if batch.segment_labels is not None:
            row["truth"] = batch.segment_labels
        rows.append({name: x.cpu() if x.dtype == torch.bool else x.float().cpu() for name, x in row.items()})
        ids += batch.ids
    longest = max(row["mask"].shape[1] for row in rows)
    return tuple(ids), {name: torch.cat([_padded(row[name], name, longest) for row in rows]) for name in rows[0]}


def _padded(x: Tensor, name: str, segments: int) -> Tensor:
    """A field's tensor with `segments` segments, where it has such an axis."""
    return pad(x, (*[0, 0] * (x.ndim - 2), 0, segments - x.shape[1])) if name in _PADDED else x


def assemble(
    parser: str, data: AVVPDataset, decision: DecisionConfig, ids: tuple[str, ...], tensors: dict[str, Tensor]
) -> Predictions:
    """Predictions from what `collect_tensors` collected.

    Args:
        parser: what tables call the model.
        data: the split.
        decision: the thresholds that the model is scored with.
        ids: N video ids.
        tensors: by the names of the fields.
    """
    return Predictions(
        parser,
        data.name,
        data.split,
        ids,
        tuple(data.classes),
        decision.named(data.classes),
        **({"truth": None} | tensors),  # type: ignore[arg-type]
        caveats=tuple(caveats_of_answers(decision, data)),
    )


def require_same_videos(named: Sequence[tuple[str, Predictions]]) -> None:
    """Check that runs can be compared.

    Args:
        named: name of a run and its predictions, at least one.

    Raises:
        ValueError: a split has only weak labels; or their class lists, videos or ground truth differ; names the first
            that differs and how.
    """
    first_name, first = named[0]
    for name, other in named[1:]:
        pair = f"{first_name} and {name} cannot be compared: their"
        if other.classes != first.classes:
            alone = [
                *(c for c in first.classes if c not in other.classes),
                *(c for c in other.classes if c not in first.classes),
            ]
            what = f"{alone[0]!r} is in one alone" if alone else "one is in another order"
            raise ValueError(f"{pair} class lists differ: {what} ({first.data}, {other.data})")
        if other.ids != first.ids:
            raise ValueError(
                f"{pair} videos differ: {len(first.ids)} of {first.data} {first.split} and {len(other.ids)} of "
                f"{other.data} {other.split}"
            )
        if not (torch.equal(other.known_truth, first.known_truth) and torch.equal(other.mask, first.mask)):
            raise ValueError(f"{pair} ground truth differs, though their videos have the same names")
