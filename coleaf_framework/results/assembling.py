"""Assembles a network's outputs over a split into `Predictions`. Shape letters: see `protocol.py`; N videos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from coleaf_framework.data import AVVPDataset
from coleaf_framework.data.dataset import segment_seconds_of, truth_of
from coleaf_framework.metrics import DecisionConfig
from coleaf_framework.protocol import MODALITIES, AnchorOutput, Batch, Modality
from coleaf_framework.results.caveats import caveats_of_scoring
from coleaf_framework.results.predictions import Predictions

_PADDED = ("segment_probs", "truth", "mask")


def without_absent(output: AnchorOutput, absent: Sequence[Modality | None]) -> AnchorOutput:
    """A batch's output with probability 0 for a modality whose track a video lacks: silence has no events.

    Args:
        output: the Anchor's, with `modality_probs`.
        absent: for each video, the modality whose track it lacks, or None.
    """
    if not any(absent):
        return output
    assert output.modality_probs is not None
    segment_probs, modality_probs = output.segment_probs.clone(), output.modality_probs.clone()
    for row, modality in enumerate(absent):
        if modality is not None:
            segment_probs[row, :, MODALITIES.index(modality)] = 0
            modality_probs[row, MODALITIES.index(modality)] = 0
    return replace(output, segment_probs=segment_probs, modality_probs=modality_probs)


def collect_tensors(batches: Iterable[tuple[Batch, AnchorOutput]]) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """Concatenate a network's outputs over batches to the tensors of a `Predictions`.

    Args:
        batches: each batch with the Anchor's output for it, which must have `modality_probs`; at least one.

    Returns:
        Video ids; and name of a field -> tensor on the CPU, without "truth" where the batches have no ground truth.
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
    """Pad a field's tensor to `segments` segments, if it has a time axis."""
    return pad(x, (*[0, 0] * (x.ndim - 2), 0, segments - x.shape[1])) if name in _PADDED else x


def assemble(
    parser: str, data: AVVPDataset, decision: DecisionConfig, ids: tuple[str, ...], tensors: dict[str, Tensor]
) -> Predictions:
    """Build a `Predictions` from the tensors of `collect_tensors`.

    Args:
        parser: name of the model in tables.
        data: the split.
        decision: the thresholds that the model is scored with.
        ids: N video ids.
        tensors: name of a field -> tensor.
    """
    predictions = Predictions(
        parser,
        data.name,
        data.split,
        ids,
        tuple(data.classes),
        decision.named(data.classes),
        **({"truth": None} | tensors),  # type: ignore[arg-type]
        caveats=tuple(caveats_of_scoring(decision, data)),
        segment_seconds=segment_seconds_of(data),
        truth_kind=truth_of(data),
    )
    measured = predictions.truth is not None and hasattr(data, "further_scores")
    return predictions.with_further_scores(data) if measured else predictions
