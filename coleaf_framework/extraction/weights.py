"""Weights files that others published: found by name, held to the digest in the name, and read without running code.

torch hub names a file NAME-HASH.pth, where HASH is the first 8 hex digits of the file's SHA-256. Nothing is downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from coleaf_framework._config import reason
from coleaf_framework.storage import file_digest

Network = TypeVar("Network", bound=nn.Module)
_HASH = re.compile(r"-([0-9a-f]{8})\.pth$")


@dataclass(frozen=True)
class PublicWeights:
    """A network's published weights.

    Args:
        names: Names of the files that are accepted, each NAME-HASH.pth; the first that is there is taken.
        address: Where they can be downloaded: the URL without the file's name.
    """

    names: tuple[str, ...]
    address: str


def find_weights(wanted: Mapping[str, PublicWeights], folder: Path | None) -> dict[str, Path]:
    """Where the weights of networks lie.

    Args:
        wanted: Name of a network -> its weights.
        folder: Where to look; None for torch hub's cache.

    Returns:
        Name of a network -> its file.

    Raises:
        NotADirectoryError: `folder` is no folder.
        FileNotFoundError: Some are missing; names all of them, where they were looked for, and their URLs.
    """
    if folder is not None and not folder.is_dir():
        raise NotADirectoryError(f"{folder}: no folder, where one with weights files was expected")
    place = folder if folder is not None else Path(torch.hub.get_dir()) / "checkpoints"
    found: dict[str, Path] = {}
    missing = []
    for network, public in wanted.items():
        path = next((place / name for name in public.names if (place / name).is_file()), None)
        if path is None:
            urls = " or ".join(public.address + name for name in public.names)
            missing.append(f"{network} ({urls})")
        else:
            found[network] = path
    if missing:
        whose = "" if folder is not None else " (torch hub's cache)"
        raise FileNotFoundError(f"{place}{whose} lacks the weights of {', '.join(missing)}: download them into it")
    return found


def read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read a weights file.

    Args:
        path: NAME-HASH.pth: a state dict written by `torch.save`.

    Returns:
        Name of a parameter or buffer -> tensor on the CPU; first 16 hex digits of the file's SHA-256.

    Raises:
        ValueError: The file has another digest than its name says, or holds no state dict. The message names it.
    """
    named = _HASH.search(path.name)
    if named is None:
        raise ValueError(f"{path}: its name does not end with -HASH.pth, so its content cannot be checked")
    digest = file_digest(path)
    if not digest.startswith(named[1]):
        raise ValueError(
            f"{path}: its SHA-256 begins with {digest[:8]}, where its name says {named[1]}: download it again"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # what is no file of tensors raises almost anything
        raise ValueError(f"{path}: not readable as PyTorch weights: {reason(problem)[:300]}") from problem
    if not isinstance(state, Mapping) or not all(isinstance(x, Tensor) for x in state.values()):
        raise ValueError(f"{path}: holds no state dict, name -> tensor")
    return dict(state), digest


def load_network(make: Callable[[], Network], path: Path, unused: str | None = None) -> tuple[Network, str]:
    """A network in evaluation mode, with the weights of a file.

    Counters of batch normalisation's batches, which files from before PyTorch 0.4.1 lack, may be missing: evaluation
    does not use them.

    Args:
        make: Makes the network; its own weights are not kept.
        path: The file, as `read_weights` takes it.
        unused: First characters of the names in the file that the network has no use for, such as "fc.".

    Returns:
        The network, float32, on the CPU; first 16 hex digits of the file's SHA-256.

    Raises:
        ValueError: As `read_weights`; or names or shapes are not those of the network. The message names one.
    """
    state, digest = read_weights(path)
    with torch.device("meta"):  # neither time nor random numbers are spent on weights that are replaced
        network = make()
    kind = type(network).__name__
    wanted = network.state_dict()
    for name, own in wanted.items():
        if name not in state and name.endswith(".num_batches_tracked"):
            state[name] = torch.zeros(own.shape, dtype=own.dtype)
        if name not in state:
            raise ValueError(f"{path}: lacks {name!r}, which {kind} has")
        if state[name].shape != own.shape:
            raise ValueError(f"{path}: {name!r} has shape {tuple(state[name].shape)}, {kind}'s {tuple(own.shape)}")
    for name in state.keys() - wanted.keys():
        if unused is None or not name.startswith(unused):
            raise ValueError(f"{path}: has {name!r}, which {kind} has not")
    network.load_state_dict({name: state[name].to(own.dtype) for name, own in wanted.items()}, assign=True)
    return network.eval().requires_grad_(False), digest
