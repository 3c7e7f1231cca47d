"""Weights files named as published ones are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from coleaf_framework.storage import file_digest


def save_public(state: Mapping[str, Any], folder: Path, network: str, **options: Any) -> Path:
    """Write a state dict as NETWORK-HASH.pth, where HASH begins its SHA-256.

    Args:
        state: What is written.
        folder: Where.
        network: First part of the name.
        options: For `torch.save`.
    """
    written = folder / f"{network}.pth"
    torch.save(dict(state), written, **options)
    return written.rename(folder / f"{network}-{file_digest(written)[:8]}.pth")
