"""Checkpoints of the package laion-clap, read into transformers' CLAP without the package.

The package imports torchvision, downloads three tokenizers on import and loads checkpoints as pickles that may run
code; its network is that of transformers under other names. Held to laion-clap 1.1.7 in the tests, with drawn weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coleaf_framework._config import reason
from coleaf_framework.storage import file_digest

CHECKPOINTS = ("630k-fusion-best.pt", "630k-audioset-fusion-best.pt")
"""The package's checkpoints with fusion of its network HTSAT-tiny. VALOR's features are the first's."""

_BRANCH = "audio_branch."
# Part of a name -> what transformers calls it, in this order.
_RENAMED = {
    "bn0": "batch_norm",
    "attn.proj": "attention.output.dense",
    "attn.": "attention.self.",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
# Spectrograms of other inputs, the tagger of AudioSet behind the map, and masks that transformers makes itself.
_UNUSED = ("spectrogram_extractor.", "logmel_extractor.", "tscam_conv.", "head.")
_MASK = ".attn_mask"


def load_laion_audio(library: Any, path: Path) -> tuple[Any, str]:
    """The audio side of a checkpoint as transformers' `ClapAudioModel`, in evaluation mode.

    Args:
        library: The module transformers.
        path: One of `CHECKPOINTS`, or another of the same network.

    Returns:
        The network on the CPU; first 16 hex digits of the SHA-256 of the file.

    Raises:
        ValueError: The file is not readable without running code, or of another network. The message names it.
    """
    weights = renamed(_audio_branch(path))
    network = library.ClapAudioModel(library.ClapAudioConfig(enable_fusion=True, fusion_type="aff_2d"))
    own = {name: x.shape for name, x in network.state_dict().items()}
    given = {name: x.shape for name, x in weights.items()}
    wrong = sorted(name for name in own.keys() | given.keys() if own.get(name) != given.get(name))
    if wrong:
        raise ValueError(
            f"{path}: is not of LAION-CLAP's HTSAT-tiny with fusion: {len(wrong)} weights are missing, unknown or of "
            f"another shape; the first is {wrong[0]}"
        )
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False), file_digest(path)


def renamed(audio: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the package's HTS-AT under the names of transformers' `ClapAudioModel`.

    Args:
        audio: Name in the package -> tensor.

    Returns:
        Name in transformers -> tensor: queries, keys and values, which the package keeps in one, apart; without what
        transformers has no use for.
    """
    found = {}
    for name, x in audio.items():
        if name.startswith(_UNUSED) or name.endswith(_MASK):
            continue
        for own, other in _RENAMED.items():
            name = name.replace(own, other)
        name = f"audio_encoder.{name}"
        if ".qkv." in name:
            for part, values in zip(("query", "key", "value"), x.chunk(3), strict=True):
                found[name.replace("qkv", part)] = values
        else:
            found[name] = x
    return found


def _audio_branch(path: Path) -> dict[str, Tensor]:
    """The audio side of a checkpoint, under the package's names."""
    try:
        with torch.serialization.safe_globals(_numbers()):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # what is no checkpoint raises almost anything
        raise ValueError(
            f"{path}: not readable as a checkpoint without running code in it: {reason(problem)[:300]}"
        ) from problem
    state = found.get("state_dict", found) if isinstance(found, Mapping) else {}
    names = {str(name).removeprefix("module."): x for name, x in state.items() if isinstance(x, Tensor)}
    audio = {name.removeprefix(_BRANCH): x for name, x in names.items() if name.startswith(_BRANCH)}
    if not audio:
        raise ValueError(f"{path}: has no weights {_BRANCH}*, so it is no checkpoint of LAION-CLAP")
    return audio


def _numbers() -> list[Any]:
    """What unpickles NumPy's numbers, which checkpoints hold beside weights, under the names of NumPy 1 and 2."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = {type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)}
    return [np.dtype, *kinds, *((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core"))]
