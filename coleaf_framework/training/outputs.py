"""What a trained model answers to every video of a split, kept beside the run. Shape letters: see `protocol.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.nn.functional import pad

from coleaf_framework._config import validated
from coleaf_framework.data import AVVPDataset
from coleaf_framework.metrics import DecisionConfig, decide, empty_parser, video_label_parser
from coleaf_framework.protocol import MODALITIES, AnchorOutput
from coleaf_framework.storage import WEIGHTS, file_digest, parse_state, write_state
from coleaf_framework.training.caveats import caveats_of_answers, caveats_of_run
from coleaf_framework.training.trainer import CoLeaFTrainer

_TENSORS = ("segment_probs", "modality_probs", "video_probs", "truth", "labels", "mask")
_ROUNDING = 1e-3  # sums of probabilities may end a little above 1
_TEXTS = ("parser", "data", "split", "ids", "classes")


@dataclass(frozen=True)
class RunOutputs:
    """A model's answers to the N videos of a split with ground truth.

    Args:
        parser: what tables call the model. data, split: names.
        ids: N. classes: C names.
        decision: the thresholds that the run is scored with.
        segment_probs: (N,T,M,C), modality_probs: (N,M,C), video_probs: (N,C); float32 in [0,1].
        truth: (N,T,M,C) bool. labels: (N,C) weak labels in {0,1}.
        mask: (N,T) bool, True = real segment; videos are padded to the longest.
        caveats: what must be said beside its scores.
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
    truth: Tensor
    labels: Tensor
    mask: Tensor
    caveats: tuple[str, ...] = ()

    @property
    def output(self) -> AnchorOutput:
        """The answers as the Anchor gave them, without its tokens."""
        return AnchorOutput(
            self.segment_probs, self.video_probs, self.segment_probs.new_empty(0), modality_probs=self.modality_probs
        )

    def decided(self, decision: DecisionConfig | None = None) -> Tensor:
        """Decisions, (N,T,M,C) bool, by the run's thresholds or others."""
        return decide(self.output, decision or self.decision, self.mask)

    def trivial(self) -> dict[str, Tensor]:
        """Name -> decisions of the parsers that every table shows beside a model."""
        return {
            "empty parser": empty_parser(self.truth),
            "video-label parser": video_label_parser(self.labels, self.mask),
        }


def collect_outputs(trainer: CoLeaFTrainer, data: AVVPDataset, caveats: Sequence[str] = ()) -> RunOutputs:
    """Run a trained model over a split with ground truth.

    Args:
        trainer: with the model and its thresholds.
        data: the split.
        caveats: what must be said beside the scores, besides what thresholds and data say by themselves.

    Errors as in `CoLeaFTrainer.outputs`.
    """
    rows: list[list[Tensor]] = []
    ids: list[str] = []
    for batch, output in trainer.outputs(data, truth=True):
        truth = batch.segment_labels
        assert truth is not None
        assert output.modality_probs is not None
        mask = truth.new_ones(truth.shape[:2]) if batch.mask is None else batch.mask
        fields = (output.segment_probs, output.modality_probs, output.video_probs, truth, batch.labels, mask)
        rows.append([x.cpu() if x.dtype == torch.bool else x.float().cpu() for x in fields])
        ids += batch.ids
    longest = max(mask.shape[1] for *_, mask in rows)
    for row in rows:
        for i, name in enumerate(_TENSORS):
            if name in ("segment_probs", "truth", "mask"):
                row[i] = pad(row[i], (*[0, 0] * (row[i].ndim - 2), 0, longest - row[i].shape[1]))
    tensors = dict(zip(_TENSORS, (torch.cat(column) for column in zip(*rows, strict=True)), strict=True))
    told = tuple(dict.fromkeys((*caveats_of_answers(trainer.decision, data), *caveats)))
    decision = trainer.decision.named(data.classes)
    return RunOutputs(
        trainer.name, data.name, data.split, tuple(ids), tuple(data.classes), decision, **tensors, caveats=told
    )


def outputs_path(run: Path, split: str) -> Path:
    """Where a run keeps its answers to a split."""
    return run / f"outputs-{split}.safetensors"


def write_outputs(run: Path, outputs: RunOutputs) -> None:
    """Keep the answers of a run's weights in its folder, atomically."""
    state: dict[str, Any] = {name: getattr(outputs, name) for name in (*_TENSORS, *_TEXTS, "caveats")}
    state |= {"decision": outputs.decision.model_dump(mode="json"), "weights": file_digest(run / WEIGHTS)}
    write_state(outputs_path(run, outputs.split), state)


class _Saved(BaseModel):
    """What `write_outputs` writes; the fields of `RunOutputs`, held to their form."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    parser: str
    data: str
    split: Literal["train", "val", "test"]
    ids: tuple[str, ...] = Field(min_length=1)
    classes: tuple[str, ...] = Field(min_length=1)
    decision: DecisionConfig
    weights: str
    segment_probs: Tensor
    modality_probs: Tensor
    video_probs: Tensor
    truth: Tensor
    labels: Tensor
    mask: Tensor
    caveats: tuple[str, ...] = ()  # older files have none

    @model_validator(mode="after")
    def _fit_together(self) -> _Saved:
        for name, texts in (("ids", self.ids), ("classes", self.classes)):
            if len(set(texts)) < len(texts):
                raise ValueError(f"{name}: one of them is there twice")
        n, t, m, c = (
            len(self.ids),
            self.truth.shape[1] if self.truth.ndim > 1 else 0,
            len(MODALITIES),
            len(self.classes),
        )
        shapes = {"segment_probs": (n, t, m, c), "modality_probs": (n, m, c), "video_probs": (n, c)}
        shapes |= {"truth": (n, t, m, c), "labels": (n, c), "mask": (n, t)}
        for name, shape in shapes.items():
            x = getattr(self, name)
            dtype = torch.bool if name in ("truth", "mask") else torch.float32
            if x.shape != shape or x.dtype != dtype:
                raise ValueError(f"{name} is {tuple(x.shape)} of {x.dtype}, where {shape} of {dtype} was expected")
            # HAN's video probability is a sum whose weights may exceed 1 together. NaN is in no range.
            most = 1 + _ROUNDING if name in ("segment_probs", "labels") else math.inf
            if dtype == torch.float32 and not ((x > -_ROUNDING) & (x < most)).all():
                raise ValueError(f"{name} holds values that are no probabilities")
        self.decision.require_classes(c, self.classes)
        return self


def read_outputs(run: Path, split: str) -> RunOutputs:
    """What `write_outputs` kept; its caveats are those that were kept, and those of the run's training as it is now.

    Raises:
        FileNotFoundError: the run has no predictions of the split; says how to make them.
        ValueError: the file is damaged, or the run's weights have changed since.
    """
    path = outputs_path(run, split)
    again = f"run `coleaf predict {run} --split {split}`"
    if not path.is_file():
        if not run.is_dir():
            raise FileNotFoundError(f"{run}: no such run folder")
        others = [x for x in ("train", "val", "test") if outputs_path(run, x).is_file()]
        instead = f", or take --split {others[0]}, of which it has" if others else ""
        raise FileNotFoundError(f"{run}: has no predictions of split {split!r}: {again} first{instead}")
    state = parse_state(path.read_bytes(), path)
    found = validated(_Saved, state, f"{path}: not what `coleaf predict` keeps")
    weights = found.weights
    if found.split != split:
        raise ValueError(f"{path}: holds predictions of split {found.split!r}: {again} again")
    outputs = RunOutputs(**{name: getattr(found, name) for name in (*_TENSORS, *_TEXTS, "decision", "caveats")})
    if not (run / WEIGHTS).is_file():
        raise FileNotFoundError(f"{run / WEIGHTS}: no such file, though the run has predictions of its weights")
    if file_digest(run / WEIGHTS) != weights:
        raise ValueError(f"{path}: predictions of other weights than those in the folder now: {again} again")
    return replace(outputs, caveats=tuple(dict.fromkeys((*outputs.caveats, *caveats_of_run(run, split)))))


def require_same_videos(named: Sequence[tuple[str, RunOutputs]]) -> None:
    """Check that runs can be compared.

    Args:
        named: name of a run and its answers, at least one.

    Raises:
        ValueError: their class lists, videos or ground truth differ; names the first that differs and how.
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
        if not (torch.equal(other.truth, first.truth) and torch.equal(other.mask, first.mask)):
            raise ValueError(f"{pair} ground truth differs, though their videos have the same names")
