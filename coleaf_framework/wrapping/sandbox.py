"""A copy of a network to experiment on, isolated random numbers, and synthetic streams."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from coleaf_framework.protocol import StreamSpec


@contextmanager
def sandbox_copy(network: nn.Module) -> Iterator[nn.Module]:
    """A copy of a network to experiment on, with an isolated random state; the network itself if it cannot be copied.

    Raises:
        ValueError: it has lazy parameters that are not initialised yet.
    """
    lazy = (nn.parameter.UninitializedParameter, nn.parameter.UninitializedBuffer)
    if any(isinstance(x, lazy) for x in (*network.parameters(), *network.buffers())):
        raise ValueError(f"{type(network).__name__} has lazy modules that were never run: run it once on a batch first")
    with isolated_random_state():
        try:
            copied = copy.deepcopy(network)
        except Exception:  # a user's module may raise anything
            with restored(network):
                yield network
        else:
            yield copied


@contextmanager
def isolated_random_state(seed: int = 0) -> Iterator[None]:
    """Seed Python, NumPy and PyTorch within this context, and restore their random states afterwards."""
    generators = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    try:
        with torch.random.fork_rng(devices=list(devices)):
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(generators[0])
        np.random.set_state(generators[1])


@contextmanager
def restored(network: nn.Module) -> Iterator[None]:
    """Restore a network's parameters, buffers, submodules and attributes, with their values, after this context."""
    tables = ("_parameters", "_buffers", "_modules")
    kept = {m: (dict(m.__dict__), {name: dict(m.__dict__[name]) for name in tables}) for m in network.modules()}
    values = [(x, x.detach().clone()) for x in (*network.parameters(), *network.buffers())]
    try:
        yield
    finally:
        for module, (attributes, contents) in kept.items():
            module.__dict__.clear()
            module.__dict__.update(attributes)
            for name, content in contents.items():
                module.__dict__[name].clear()
                module.__dict__[name].update(content)
        with torch.no_grad():
            for x, before in values:
                if not torch.equal(x, before):  # a change in place would spoil graphs that the network keeps
                    x.copy_(before)


def jitter(network: nn.Module) -> None:
    """Perturb every parameter, since a layer that is initialised to zero passes no gradient on.

    Non-zero values keep their sign and scale, on which a network may rely.
    """
    with torch.no_grad():
        for x in network.parameters():
            if x.is_floating_point():
                noise = torch.randn_like(x)
                x.add_(torch.where(x == 0, 0.02 * noise, 0.1 * x * noise.clamp(-3, 3)))


def synthetic(network: nn.Module, streams: Mapping[str, StreamSpec], batch: int, length: int) -> dict[str, Tensor]:
    """Standard normal streams for B videos of T segments, on the network's device, with gradient."""
    parameter = next(network.parameters(), torch.zeros(()))
    return {
        stream: torch.randn(batch, spec.frames * length, spec.width, device=parameter.device, requires_grad=True)
        for stream, spec in streams.items()
    }
