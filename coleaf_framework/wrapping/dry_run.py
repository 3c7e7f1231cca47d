"""The dry run: what a network answers to synthetic batches, and what is wrong with it.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from coleaf_framework.protocol import AnchorOutput, Progress, StreamSpec
from coleaf_framework.wrapping.checks import (
    FIELDS,
    Run,
    as_output,
    check_gradients,
    check_mask,
    check_own_loss,
    check_shapes,
    check_values,
    failure,
    gradients_of,
)

# An own loss may change over epochs, and from step to step.
_WHEN = (Progress(1, 0), Progress(1000, 1))


@dataclass(frozen=True)
class DryRun:
    """What a dry run found.

    Args:
        width: D, the token width.
        dead: parameters that no output and no term of the network's own loss gives a gradient.
    """

    width: int
    dead: tuple[str, ...]


def dry_run(
    network: nn.Module,
    run: Run,
    streams: Mapping[str, StreamSpec],
    num_classes: int,
    segments: int | None,
    takes_mask: bool,
) -> DryRun:
    """Run `network` on synthetic batches and check every promise of the protocol.

    Runs at T = 10 and T = 20 in training mode (a multiple of 10, since networks with 10 segments written into
    them fold 20 into the batch), and once in evaluation mode. Leaves random state, buffers, modes and gradients alone.

    Args:
        network: what `run` runs.
        run: streams and mask -> what the network returns.
        streams: its inputs.
        num_classes: C.
        segments: T, if the network has a fixed one; then all runs use it.
        takes_mask: whether the network can be told about padding; then it is checked that padding changes nothing.

    Raises:
        ValueError, TypeError: the first broken promise, in one sentence.
    """
    name = type(network).__name__
    lengths = (10, 20) if segments is None else (segments, segments)
    widths: list[int] = []
    trained = {key: x for key, x in network.named_parameters() if x.requires_grad}
    alive: set[str] = set()
    with unchanged(network):
        for batch, length, training in ((3, lengths[0], True), (2, lengths[1], True), (2, lengths[1], False)):
            network.train(training)
            if widths:
                _jitter(network)
            inputs = synthetic(network, streams, batch, length)
            try:
                with torch.enable_grad():
                    # Copies, since a network may change its inputs in place, as it would those of a data loader.
                    raw = run({stream: x.clone() for stream, x in inputs.items()}, None)
            except Exception as problem:
                worked = lengths[0] if widths and segments is None else None
                raise ValueError(failure(name, problem, streams, batch, length, worked)) from problem
            output = as_output(raw, name)
            check_shapes(output, name, batch, length, num_classes)
            check_values(output, name)
            if training:
                check_gradients(output, name, inputs, length, final=bool(widths))
                terms = [check_own_loss(network, output, inputs, num_classes, when) for when in _WHEN]
                alive |= _alive(name, trained, output, [term for own in terms for term in own])
            widths.append(output.tokens.shape[-1])
        if takes_mask and segments is None:
            check_mask(run, name, streams, inputs)
    if widths[0] != widths[1]:
        raise ValueError(f"{name}: token width D changes with T: {widths[0]} at T={lengths[0]}, then {widths[1]}")
    return DryRun(widths[0], tuple(key for key in trained if key not in alive))


def _alive(name: str, trained: Mapping[str, Tensor], output: AnchorOutput, terms: list[Tensor]) -> set[str]:
    if not trained:
        return set()
    values = [x for x in (getattr(output, field) for field in FIELDS) if x is not None]
    scalar = torch.stack([(x.float() * torch.randn_like(x.float())).sum() for x in values] + terms).sum()
    gradients = gradients_of(scalar, list(trained.values()), name)
    return {key for key, gradient in zip(trained, gradients, strict=True) if gradient is not None}


@contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    tensors = [*network.parameters(), *network.buffers()]
    kept = [x.detach().clone() for x in tensors]
    generators = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    try:
        with torch.random.fork_rng(devices=list(devices)):
            torch.manual_seed(0)
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        random.setstate(generators[0])
        np.random.set_state(generators[1])
        with torch.no_grad():
            for x, before in zip(tensors, kept, strict=True):
                x.copy_(before)


def _jitter(network: nn.Module) -> None:
    """Move every parameter a little: a layer that starts at zero passes no gradient on, and is no fault."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))


def synthetic(network: nn.Module, streams: Mapping[str, StreamSpec], batch: int, length: int) -> dict[str, Tensor]:
    parameter = next(network.parameters(), torch.zeros(()))
    return {
        stream: torch.randn(batch, spec.frames * length, spec.width, device=parameter.device, requires_grad=True)
        for stream, spec in streams.items()
    }
