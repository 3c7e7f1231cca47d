"""The file with a run's predictions of a split. Shape letters: see `protocol.py`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from coleaf_framework._config import validated
from coleaf_framework.data.dataset import Truth
from coleaf_framework.metrics import DecisionConfig
from coleaf_framework.protocol import MODALITIES
from coleaf_framework.results.caveats import caveats_of_run
from coleaf_framework.results.predictions import Predictions
from coleaf_framework.storage import WEIGHTS, file_digest, parse_state, write_state

_ROUNDING = 1e-3  # sums of probabilities may end a little above 1


def predictions_path(run: Path, split: str) -> Path:
    """Where a run keeps its predictions of a split."""
    return run / f"predictions-{split}.safetensors"


def write_predictions(run: Path, predictions: Predictions) -> None:
    """Keep the predictions of a run's weights in its folder, atomically."""
    saved = _Saved(**vars(predictions), weights=file_digest(run / WEIGHTS))
    state: dict[str, Any] = {name: getattr(saved, name) for name in _Saved.model_fields}
    state["decision"] = saved.decision.model_dump(mode="json")
    write_state(predictions_path(run, predictions.split), state)
    _older_path(run, predictions.split).unlink(missing_ok=True)


def _older_path(run: Path, split: str) -> Path:
    """The name of the file up to version 0.1."""
    return run / f"outputs-{split}.safetensors"


def _kept(run: Path, split: str) -> Path | None:
    """The file of a run's predictions by either name; None if there is none."""
    places = (predictions_path(run, split), _older_path(run, split))
    return next((path for path in places if path.is_file()), None)


def has_predictions(run: Path, split: str) -> bool:
    """Whether a run keeps predictions of a split."""
    return _kept(run, split) is not None


class _Saved(BaseModel):
    """A file of predictions: the fields of `Predictions`, and the digest of the weights that made them."""

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
    truth: Tensor | None
    labels: Tensor
    mask: Tensor
    # Older files have none of the following; they are of segments of 1 s and of truth that tells the modalities apart.
    caveats: tuple[str, ...] = ()
    segment_seconds: float = Field(1.0, gt=0, allow_inf_nan=False)
    truth_kind: Truth = "modalities"
    further: dict[str, float] = {}
    trivial_further: dict[str, dict[str, float]] = {}

    @model_validator(mode="after")
    def _fit_together(self) -> _Saved:
        for name, texts in (("ids", self.ids), ("classes", self.classes)):
            if len(set(texts)) < len(texts):
                raise ValueError(f"{name}: one of them is there twice")
        n, m, c = len(self.ids), len(MODALITIES), len(self.classes)
        t = self.segment_probs.shape[1] if self.segment_probs.ndim > 1 else 0
        shapes = {"segment_probs": (n, t, m, c), "modality_probs": (n, m, c), "video_probs": (n, c)}
        shapes |= {"truth": (n, t, m, c), "labels": (n, c), "mask": (n, t)}
        for name, shape in shapes.items():
            x = getattr(self, name)
            if name == "truth" and x is None:
                continue
            dtype = torch.bool if name in ("truth", "mask") else torch.float32
            if x.shape != shape or x.dtype != dtype:
                raise ValueError(f"{name} is {tuple(x.shape)} of {x.dtype}, where {shape} of {dtype} was expected")
            # HAN's video probability is a sum whose weights may exceed 1 together. NaN is in no range.
            most = 1 + _ROUNDING if name in ("segment_probs", "labels") else math.inf
            if dtype == torch.float32 and not ((x > -_ROUNDING) & (x < most)).all():
                raise ValueError(f"{name} holds values that are no probabilities")
        self.decision.require_classes(c, self.classes)
        return self

    def predictions(self) -> Predictions:
        """Without the digest."""
        return Predictions(**{name: getattr(self, name) for name in Predictions.__dataclass_fields__})


def read_predictions(run: Path, split: str) -> Predictions:
    """What `write_predictions` kept; with the caveats kept, and those of the run's training as it is now.

    Args:
        run: its folder.
        split: "train", "val" or "test".

    Returns:
        Predictions of all videos of the split, on the CPU.

    Raises:
        FileNotFoundError: the run has no predictions of the split; says how to make them.
        ValueError: the file is damaged, or the run's weights have changed since.
    """
    path = _kept(run, split)
    again = f"run `coleaf predict {run} --split {split}`"
    if path is None:
        if not run.is_dir():
            raise FileNotFoundError(f"{run}: no such run folder")
        others = [x for x in ("train", "val", "test") if _kept(run, x)]
        instead = f", or take --split {others[0]}, of which it has" if others else ""
        raise FileNotFoundError(f"{run}: has no predictions of split {split!r}: {again} first{instead}")
    found = validated(_Saved, parse_state(path.read_bytes(), path), f"{path}: not what `coleaf predict` keeps")
    if found.split != split:
        raise ValueError(f"{path}: holds predictions of split {found.split!r}: {again} again")
    if not (run / WEIGHTS).is_file():
        raise FileNotFoundError(f"{run / WEIGHTS}: no such file, though the run has predictions of its weights")
    if file_digest(run / WEIGHTS) != found.weights:
        raise ValueError(f"{path}: predictions of other weights than those in the folder now: {again} again")
    return found.predictions().with_caveats(caveats_of_run(run, split))
