"""A trained model's predictions for every video of a split.

A network runs over a split once; scores, events, thresholds, tables and figures are all computed from its
`Predictions`. Shape letters: see `protocol.py`; N videos.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from coleaf_framework.data import AVVPDataset
from coleaf_framework.data.dataset import (
    Truth,
    further_scores_of,
    no_ground_truth,
)
from coleaf_framework.metrics import (
    DecisionConfig,
    ParsedSplit,
    all_scores,
    decide,
    empty_parser,
    list_events,
    video_label_parser,
)
from coleaf_framework.protocol import AnchorOutput
from coleaf_framework.results.columns import columns_of
from coleaf_framework.results.evaluation import Evaluation
from coleaf_framework.results.events_file import VideoEvents

TRIVIAL = ("empty parser", "video-label parser")
"""Names of the two trivial parsers that every table contains."""


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for the N videos of a split.

    Args:
        parser: name of the model in tables.
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
        mask: (N,T) bool, True = real segment; videos are padded to the longest one.
        caveats: sentences to be shown with the scores.
        segment_seconds: length of a segment in seconds.
        truth_kind: "modalities", or "joint" where all annotated events are audible and visible; see `results.columns`.
        further: name of a score of the data set's own -> percent; empty where it defines none.
        trivial_further: name of a trivial parser -> the same scores.
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
    segment_seconds: float = 1.0
    truth_kind: Truth = "modalities"
    further: Mapping[str, float] = field(default_factory=dict)
    trivial_further: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that exist for this ground truth, some of `metrics.ALL_KEYS`."""
        return columns_of(self.truth_kind)

    @property
    def where(self) -> str:
        """The data set and the split, as messages name them."""
        return f"{self.data} {self.split}"

    @property
    def output(self) -> AnchorOutput:
        """The probabilities as an `AnchorOutput`, with empty tokens."""
        return AnchorOutput(
            self.segment_probs, self.video_probs, self.segment_probs.new_empty(0), modality_probs=self.modality_probs
        )

    @property
    def known_truth(self) -> Tensor:
        """The ground truth, (N,T,M,C) bool.

        Raises:
            ValueError: the split has only weak labels.
        """
        if self.truth is None:
            raise ValueError(no_ground_truth(f"{self.data} {self.split}"))
        return self.truth

    def with_caveats(self, caveats: Iterable[str]) -> Predictions:
        """A copy with further caveats; each sentence is kept once."""
        return replace(self, caveats=tuple(dict.fromkeys((*self.caveats, *caveats))))

    def decided(self, decision: DecisionConfig | None = None) -> Tensor:
        """Predicted events (N,T,M,C) bool, with the model's thresholds or those of `decision`."""
        return decide(self.output, decision or self.decision, self.mask)

    def trivial(self) -> dict[str, Tensor]:
        """Name -> predicted events (N,T,M,C) bool, of the two trivial parsers that every table contains."""
        parsed = empty_parser(self.known_truth), video_label_parser(self.labels, self.mask)
        return dict(zip(TRIVIAL, parsed, strict=True))

    def trivial_scores(self) -> dict[str, dict[str, float]]:
        """Name -> `columns` in percent, of the two trivial parsers.

        Raises:
            ValueError: the split has only weak labels.
        """
        return {name: self._scores_of(decided) for name, decided in self.trivial().items()}

    def scores(self) -> dict[str, float]:
        """`columns` in percent, with the model's thresholds.

        Raises:
            ValueError: the split has only weak labels.
        """
        return self._scores_of(self.decided())

    def _scores_of(self, decided: Tensor) -> dict[str, float]:
        scores = all_scores(decided, self.known_truth)
        return {column: scores[column] for column in self.columns}

    def with_further_scores(self, data: AVVPDataset) -> Predictions:
        """A copy with the data set's own scores, of the model and of the trivial parsers.

        Args:
            data: the data set, with ground truth.

        Returns:
            The copy; these predictions themselves where the data set has no scores of its own.

        Raises:
            TypeError: as `data.dataset.further_scores_of` does.
        """
        parsed = ParsedSplit(
            self.ids, self.segment_probs, self.modality_probs, self.video_probs, self.decision, self.decided(),
            self.known_truth, self.labels, self.mask,
        )  # fmt: skip
        own, trivial = further_scores_of(data, parsed), {}
        if not own:
            return self
        for name, decided in self.trivial().items():
            certain = decided.float()
            modality = certain.amax(1)
            of_trivial = replace(
                parsed, segment_probs=certain, modality_probs=modality, video_probs=modality.amax(1), decided=decided,
                decision=DecisionConfig(),
            )  # fmt: skip
            trivial[name] = further_scores_of(data, of_trivial)
        return replace(self, further=own, trivial_further=trivial)

    def evaluation(self) -> Evaluation:
        """The scores of the model and of the two trivial parsers.

        Raises:
            ValueError: the split has only weak labels.
        """
        empty, video_label = self.trivial_scores().values()
        further = {self.parser: self.further, **self.trivial_further} if self.further else {}
        return Evaluation(
            self.parser, self.where, len(self.ids), self.scores(), empty, video_label, self.caveats, further
        )

    def events(self) -> list[VideoEvents]:
        """The predicted events of every video, and the annotated ones if the split has them."""
        videos = []
        for i, decided in enumerate(self.decided()):
            length = int(self.mask[i].sum())
            seconds = self.segment_seconds
            predicted = list_events(decided[:length], self.classes, self.segment_probs[i, :length], seconds)
            truth = None if self.truth is None else list_events(self.truth[i, :length], self.classes, None, seconds)
            videos.append(VideoEvents(self.ids[i], round(length * seconds, 6), predicted, truth))
        return videos


def require_same_videos(named: Sequence[tuple[str, Predictions]]) -> None:
    """Check that runs were scored on the same videos.

    Args:
        named: names of runs with their predictions, at least one.

    Raises:
        ValueError: a split has only weak labels, or the class lists, videos, lengths of segments or ground truth
            differ; names the first difference.
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
        if other.segment_seconds != first.segment_seconds:
            raise ValueError(f"{pair} segments last {first.segment_seconds:g} s and {other.segment_seconds:g} s")
        if other.truth_kind != first.truth_kind:
            raise ValueError(f"{pair} kinds of ground truth differ: {first.truth_kind} and {other.truth_kind}")
        if not (torch.equal(other.known_truth, first.known_truth) and torch.equal(other.mask, first.mask)):
            raise ValueError(f"{pair} ground truth differs, though their videos have the same names")
