"""The option `noise_ratios` of networks that denoise their labels: the share of a class's labels that is wrong.

Those published for LLP (JoMoLD: Cheng et al., ECCV 2022) are in `llp_noise_ratios.json`; CMPAE uses the same.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from coleaf_framework.protocol import MODALITIES

LLP_CLASSES = 25
_PUBLISHED = Path(__file__).with_name("llp_noise_ratios.json")


def noise_ratios_for(owner: str, given: Mapping[str, float | Sequence[float]] | None, num_classes: int) -> Tensor:
    """Noise ratios as (M,C) in [0,1]; the published ones where none are given for as many classes as LLP has.

    Args:
        owner: name of the network, for messages.
        given: "audio" and "visual" -> one value, or one per class.
        num_classes: number of classes, C.

    Raises:
        ValueError: a modality is missing or unknown, or a ratio is out of range or not one per class.
    """
    if given is None and num_classes == LLP_CLASSES:
        given = json.loads(_PUBLISHED.read_text(encoding="utf-8"))
    elif given is None:
        warnings.warn(
            f"{owner}: label-noise ratios are published for LLP's {LLP_CLASSES} classes only; with {num_classes} "
            'classes no label is denoised (pass noise_ratios={"audio": ..., "visual": ...}; 0 says so and is quiet)',
            stacklevel=3,
        )
        given = dict.fromkeys(MODALITIES, 0.0)
    assert given is not None
    if not isinstance(given, Mapping) or set(given) != set(MODALITIES):
        raise ValueError(f"{owner}: noise_ratios must have the keys {list(MODALITIES)}, got {given!r}")
    rows = []
    for modality in MODALITIES:
        try:
            row = torch.as_tensor(given[modality], dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(f"{owner}: noise_ratios[{modality!r}] is {given[modality]!r}, not numbers") from None
        if row.ndim > 1 or (row.ndim == 1 and len(row) != num_classes):
            raise ValueError(
                f"{owner}: noise_ratios[{modality!r}] must be one value or {num_classes}, got {tuple(row.shape)}"
            )
        if not ((row >= 0) & (row <= 1)).all():
            raise ValueError(f"{owner}: noise_ratios[{modality!r}] must be in [0, 1], got {given[modality]}")
        rows.append(row.expand(num_classes))
    return torch.stack(rows)
