"""What a model's Anchor answers to the videos of a split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from coleaf_framework.data.dataset import absent_modality
from coleaf_framework.model.coleaf import CoLeaF
from coleaf_framework.protocol import AnchorOutput, Batch
from coleaf_framework.record.config import TrainerConfig
from coleaf_framework.results.assembling import without_absent
from coleaf_framework.training.batch_loader import BatchLoader
from coleaf_framework.training.device import autocast
from coleaf_framework.training.plan import MicroBatch


def answers(
    model: CoLeaF, loader: BatchLoader, videos: Sequence[int], config: TrainerConfig, device: torch.device
) -> Iterator[tuple[Batch, AnchorOutput]]:
    """Run the Anchor over videos in evaluation mode, batch by batch.

    Args:
        model: is moved to the device.
        loader: of the split.
        videos: their places in it.
        config: says the size of batches and the precision.
        device: where.

    Yields:
        A batch, and the Anchor's probabilities in float32, 0 for a modality that a video does not have.

    Raises:
        FloatingPointError: a probability is NaN or infinite; names the first videos of its batch.
    """
    model.to(device).eval()
    size = config.batch_size
    for batch in loader([MicroBatch(tuple(videos[i : i + size])) for i in range(0, len(videos), size)]):
        with torch.no_grad(), autocast(device, config.precision):
            output = model.infer(batch)
        output = _in_float32(output)  # so that every command decides alike, whatever the networks ran in
        if not (torch.isfinite(output.segment_probs).all() and torch.isfinite(output.video_probs).all()):
            raise FloatingPointError(
                f"{type(model.anchor).__name__} gives NaN or inf for videos {list(batch.ids[:3])} ..."
            )
        yield batch, without_absent(output, [absent_modality(loader.data, video) for video in batch.ids])


def _in_float32(output: AnchorOutput) -> AnchorOutput:
    fields = {name: getattr(output, name) for name in ("segment_probs", "video_probs", "modality_probs")}
    return replace(output, **{name: x.float() for name, x in fields.items() if x is not None})
