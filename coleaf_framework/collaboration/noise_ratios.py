"""Labels denoised as in JoMoLD (Cheng et al., ECCV 2022), for any Anchor; and the file of noise ratios.

The rule is `losses.denoise_labels`. Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import model_validator
from torch import Tensor

from coleaf_framework import losses
from coleaf_framework._config import StrictConfig, reason
from coleaf_framework.protocol import MODALITIES, AnchorOutput, Batch, Progress
from coleaf_framework.storage import require_file, write_atomically

_FIRST_EPOCH = 2  # the published warm-up denoises nothing in the first epoch


class NoiseRatios(StrictConfig):
    """For each class, the share of its videos whose label is wrong in a modality.

    Args:
        audio: C values in [0,1].
        visual: C values in [0,1].
        classes: C names, which the data must have in this order; None where the file did not say.

    Example:
        >>> NoiseRatios(audio=(0.0, 0.1), visual=(0.3, 0.2)).visual
        (0.3, 0.2)
    """

    audio: tuple[float, ...]
    visual: tuple[float, ...]
    classes: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _one_in_range_for_each_class(self) -> NoiseRatios:
        for name in MODALITIES:
            if wrong := [x for x in getattr(self, name) if not 0 <= x <= 1]:
                raise ValueError(f"the {name} noise ratios must be in [0, 1], got {wrong[0]}")
        lengths = {len(self.audio), len(self.visual), len(self.classes or self.audio)}
        if len(lengths) > 1 or not self.audio:
            raise ValueError(
                f"noise ratios of {len(self.audio)} audio and {len(self.visual)} visual classes"
                + (f", with {len(self.classes)} names" if self.classes is not None else "")
                + ", where one of each was expected for every class"
            )
        return self

    def require_classes(self, classes: Sequence[str], source: object = "coleaf.noise_ratios") -> None:
        """Check that the ratios are for these classes.

        Args:
            classes: The data's C names.
            source: Of the ratios, for messages.

        Raises:
            ValueError: They are for another number of classes, or for others by name; says which.
        """
        if len(self.audio) != len(classes):
            raise ValueError(f"{source}: noise ratios are for {len(self.audio)} classes, the data has {len(classes)}")
        for i, (own, other) in enumerate(zip(self.classes or classes, classes, strict=True)):
            if own != other:
                raise ValueError(f"{source}: class number {i}, from 0, is {own!r}; the data's is {other!r}")


def read_noise_ratios(path: Path) -> NoiseRatios:
    """Read `noise_ratios.npz` as JoMoLD, CMPAE and CoLeaF publish it, or as `write_noise_ratios` writes it.

    Args:
        path: npz with the keys audio and visual, (C,) each; "classes" may name the classes.

    Returns:
        The ratios of both modalities, C values in [0,1] each, and the class names, if the file has them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file. The message names it.
    """
    require_file(path)
    if not zipfile.is_zipfile(path):  # numpy would advise to unpickle it
        raise ValueError(f"{path}: not readable as an .npz file of numbers: damaged, or a file of another kind")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in (*MODALITIES, "classes") if name in file.files}
        found = {name: tuple(array.tolist()) for name, array in arrays.items()}
    except Exception as problem:  # numpy parses headers as Python, and damaged ones raise almost anything
        raise ValueError(f"{path}: not readable as an .npz file of numbers: {reason(problem)[:200]}") from problem
    for name in MODALITIES:
        if name not in arrays or arrays[name].ndim != 1 or arrays[name].dtype.kind != "f":
            raise ValueError(f"{path}: expected the arrays 'audio' and 'visual', one ratio per class; {name!r} is none")
    try:
        return NoiseRatios.model_validate(found)
    except ValueError as problem:
        raise ValueError(f"{path}: {reason(problem)}") from None


def write_noise_ratios(path: Path, ratios: Tensor, classes: Sequence[str]) -> None:
    """Write ratios (M,C) atomically in the form of the published file, with the names of the classes."""
    arrays = dict(zip(MODALITIES, ratios.double().numpy(), strict=True))

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, classes=np.array(classes), **arrays)

    write_atomically(path, write)


def unimodal_probs(output: AnchorOutput) -> Tensor:
    """Modality probabilities (B,M,C) of a forward without cross-modal attention, if an Anchor's output has them.

    They are the `modality_probs` of its attribute `unimodal`, an `AnchorOutput`. Without it they are the output's own,
    in which one modality may see the other.
    """
    unimodal = getattr(output, "unimodal", None)
    probs = unimodal.modality_probs if isinstance(unimodal, AnchorOutput) else None
    probs = output.modality_probs if probs is None else probs
    assert probs is not None
    return probs


def denoised_labels(ratios: NoiseRatios, output: AnchorOutput, batch: Batch, progress: Progress) -> Tensor:
    """The batch's modality labels minus those that JoMoLD's rule finds wrong; the first epoch keeps all.

    Losses are ranked within the given batch, so within a micro-batch where a step is divided. They are taken against
    visual labels smoothed to 0.95, as published.

    Args:
        ratios: Of the classes.
        output: The Anchor's, in training mode; see `unimodal_probs`.
        batch: For its weak labels (B,C), and its modality labels where there are any.
        progress: For the epoch.

    Returns:
        (B,M,C) in [0,1]; a removed label y is 1 - y. Not smoothed, which is for the loss to do.

    Raises:
        ValueError: The ratios are for another number of classes.
    """
    labels = batch.each_modality_labels()
    if len(ratios.audio) != labels.shape[-1]:
        raise ValueError(f"coleaf.noise_ratios are for {len(ratios.audio)} classes, the data has {labels.shape[-1]}")
    if progress.epoch < _FIRST_EPOCH:
        return labels
    weak = batch.labels[:, None].expand_as(labels)
    targets = losses.smooth_visual_labels(weak)
    shares = _on_device(ratios, labels.device)
    return losses.denoise_modality_labels(batch.labels, labels, unimodal_probs(output), shares, targets)


@functools.lru_cache(maxsize=8)
def _on_device(ratios: NoiseRatios, device: torch.device) -> Tensor:
    """Ratios (M,C), copied to a device once."""
    return torch.tensor([ratios.audio, ratios.visual], device=device)
