"""Noise ratios of a training split, from a trained run (JoMoLD: Cheng et al., ECCV 2022).

The rule is `losses.noise_ratios`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from coleaf_framework.collaboration import unimodal_probs
from coleaf_framework.data import AVVPDataset
from coleaf_framework.losses import noise_ratios
from coleaf_framework.protocol import AnchorOutput, Batch
from coleaf_framework.training import CoLeaFTrainer
from coleaf_framework.training.batch_loader import BatchLoader
from coleaf_framework.training.data_fit import require_fitting_data
from coleaf_framework.training.device import autocast
from coleaf_framework.training.plan import MicroBatch


def estimate_noise_ratios(trainer: CoLeaFTrainer, data: AVVPDataset) -> Tensor:
    """Share of wrong labels of each class and modality of a training split.

    Videos are taken in batches of 128, in the order of the split; JoMoLD shuffles them.

    Args:
        trainer: Of the run. Probabilities are those of `collaboration.unimodal_probs`: without cross-attention where
            the Anchor's output has such ones.
        data: The training split.

    Returns:
        (M,C) float64 in [0,1].

    Raises:
        ValueError: The data does not fit the model.
        FloatingPointError: A probability is NaN or infinite.
    """
    labels, probs = [], []
    for batch, output in _answers(trainer, data):
        found = unimodal_probs(output).float().cpu()
        if not torch.isfinite(found).all():
            raise FloatingPointError(f"{trainer.name} gives NaN or inf for videos {list(batch.ids[:3])} ...")
        labels.append(batch.labels.cpu())
        probs.append(found)
    return noise_ratios(torch.cat(labels), torch.cat(probs))


def _answers(trainer: CoLeaFTrainer, data: AVVPDataset) -> Iterator[tuple[Batch, AnchorOutput]]:
    """The Anchor's whole outputs in evaluation mode, of which `CoLeaFTrainer.predict` keeps the probabilities alone."""
    require_fitting_data(trainer.model, trainer.decision, data)
    trainer.model.to(trainer.device).eval()
    size = trainer.config.batch_size
    parts = [MicroBatch(tuple(range(i, min(i + size, len(data))))) for i in range(0, len(data), size)]
    for batch in BatchLoader(data, trainer.device, trainer.config.workers, trainer.cache)(parts):
        with torch.no_grad(), autocast(trainer.device, trainer.config.precision):
            output = trainer.model.infer(batch)
        yield batch, output
