"""The dry run: what a network answers to synthetic batches, and what is wrong with it.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import copy
import dataclasses
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from coleaf_framework.adapters.outputs import checking_values
from coleaf_framework.losses import pool_segments
from coleaf_framework.protocol import AnchorOutput, Progress, StreamSpec
from coleaf_framework.wrapping.checks import (
    FIELDS,
    Run,
    as_output,
    check_gradients,
    check_mask,
    check_modality_labels,
    check_own_loss,
    check_shapes,
    check_values,
    check_videos_apart,
    failure,
    gradients_of,
)

# An own loss may change over epochs, and from step to step.
_WHEN = (Progress(1, 0), Progress(1000, 1))
# More looks for parameters that only now and then take part: layers dropped at random, terms of some epochs.
_LOOK_EPOCHS = (2, 3, 4, 5, 7, 10, 15, 20, 25, 30, 50, 100)


@dataclass(frozen=True)
class DryRun:
    """What a dry run found.

    Args:
        width: D, the token width.
        dead: parameters that no loss gives a gradient.
        changes_inputs: whether the network changes its input tensors in place.
    """

    width: int
    dead: tuple[str, ...]
    changes_inputs: bool


def dry_run(
    network: nn.Module,
    run: Run,
    streams: Mapping[str, StreamSpec],
    num_classes: int,
    segments: int | None,
    takes_mask: bool,
    *,
    uses_own_loss: bool = True,
    uses_labels: bool = True,
    taught: tuple[str, ...] = FIELDS,
) -> DryRun:
    """Run a copy of `network` on synthetic batches and check every promise of the protocol.

    Runs at T = 10 and T = 20 in training mode (a multiple of 10, since networks with 10 segments written into
    them fold 20 into the batch), and in evaluation mode, with one video as well. A network that cannot be copied, or
    whose copy still reaches it, is run itself, and its parameters, buffers, attributes and modes are put back. Random
    state and gradients stay as they were.

    Args:
        network: what `run` runs.
        run: network, streams and mask -> what it returns.
        streams: its inputs.
        num_classes: C.
        segments: T, if the network has a fixed one; then all runs use it.
        takes_mask: whether the network can be told about padding; then it is checked that padding changes nothing.
        uses_own_loss, uses_labels: whether its own `loss` and `modality_labels` will be used.
        taught: the fields of its output that other losses read.

    Raises:
        ValueError, TypeError: the first broken promise, in one sentence.
    """

    def try_on(net: nn.Module, original: nn.Module | None) -> tuple[DryRun, bool]:
        played = _Rehearsal(net, run, streams, num_classes, own, original)
        return played.play(segments, takes_mask), played.reached_original

    own = OwnTerms(uses_own_loss, uses_labels, taught)
    with sandbox_copy(network) as copied:
        if copied is network:
            return try_on(network, None)[0]
        try:
            found, reached_original = try_on(copied, network)
        except (ValueError, TypeError):  # perhaps since a function of the network's own closes over it
            reached_original = True
    if not reached_original:
        return found
    with own_random_state(), restored(network):
        return try_on(network, None)[0]


@dataclass(frozen=True)
class OwnTerms:
    """What of a network's output will be used: its own loss, its own labels, and the fields that other losses read."""

    loss: bool
    labels: bool
    taught: tuple[str, ...]


class _Rehearsal:
    def __init__(
        self,
        network: nn.Module,
        run: Run,
        streams: Mapping[str, StreamSpec],
        num_classes: int,
        own: OwnTerms,
        original: nn.Module | None,
    ) -> None:
        self.network, self.run, self.streams = network, run, streams
        self.num_classes, self.own, self.reached_original = num_classes, own, False
        self.originals = list(original.parameters()) if original is not None else []
        self.originals = [x for x in self.originals if x.requires_grad]
        self.name = type(network).__name__
        self.trained = {key: x for key, x in network.named_parameters() if x.requires_grad}
        self.changes_inputs = False

    def play(self, segments: int | None, takes_mask: bool) -> DryRun:
        lengths = (10, 20) if segments is None else (segments, segments)
        worked = lengths[0] if segments is None else None
        first, inputs = self.answer(3, lengths[0], training=True)
        check_gradients(first, self.name, inputs, lengths[0], final=False)
        alive = self.alive(first, inputs, _WHEN)
        jitter(self.network)
        second, inputs = self.answer(2, lengths[1], training=True, worked=worked)
        check_gradients(second, self.name, inputs, lengths[1], final=False)
        alive |= self.alive(second, inputs, _WHEN)
        evaluated, inputs = self.answer(2, lengths[1], training=False, worked=worked)
        check_gradients(evaluated, self.name, inputs, lengths[1], final=True)  # without dropout of a whole stream
        check_videos_apart(evaluated, self.name, inputs)
        alive |= self.alive(evaluated, inputs, ())
        self.answer(1, lengths[1], training=False, worked=worked)
        if takes_mask:
            check_mask(self.call, self.name, self.streams, inputs, room=3 if segments is None else 0)
        widths = first.tokens.shape[-1], second.tokens.shape[-1]
        if widths[0] != widths[1]:
            raise ValueError(
                f"{self.name}: token width D changes with T: {widths[0]} at T={lengths[0]}, then {widths[1]}"
            )
        for look in range(len(_LOOK_EPOCHS)):
            if alive >= self.trained.keys():
                break
            output, inputs = self.answer(2, lengths[0], training=True, masked=takes_mask and look % 2 == 0)
            alive |= self.alive(output, inputs, (Progress(_LOOK_EPOCHS[look], look),))
        return DryRun(widths[0], tuple(key for key in self.trained if key not in alive), self.changes_inputs)

    def call(self, inputs: Mapping[str, Tensor], mask: Tensor | None) -> AnchorOutput:
        return as_output(self.run(self.network, inputs, mask), self.name)

    def answer(
        self, batch: int, length: int, *, training: bool, worked: int | None = None, masked: bool = False
    ) -> tuple[AnchorOutput, dict[str, Tensor]]:
        self.network.train(training)
        inputs = synthetic(self.network, self.streams, batch, length)
        # Copies, since a network may change its inputs in place, as it would those of a data loader.
        given = {stream: x.clone() for stream, x in inputs.items()}
        versions = [x._version for x in given.values()]
        mask = None
        if masked and length > 1:
            mask = torch.arange(length, device=next(iter(inputs.values())).device).expand(batch, -1) < length - 1
        try:
            # cuDNN refuses gradients of recurrent layers in evaluation mode.
            with torch.enable_grad(), checking_values(), torch.backends.cudnn.flags(enabled=training):
                raw = self.run(self.network, given, mask)
        except (Exception, SystemExit) as problem:
            raise ValueError(failure(self.name, problem, self.streams, batch, length, worked)) from problem
        self.changes_inputs |= versions != [x._version for x in given.values()]
        output = as_output(raw, self.name)
        check_shapes(output, self.name, batch, length, self.num_classes)
        check_values(output, self.name)
        return output, inputs

    def alive(self, output: AnchorOutput, inputs: Mapping[str, Tensor], when: tuple[Progress, ...]) -> set[str]:
        """Parameters that this answer, and the network's own loss on it, give a gradient."""
        terms: list[Tensor] = []
        pooled = output.modality_probs is None
        whole = output  # as the own loss will see it: what the network does not give is pooled
        if pooled:
            whole = dataclasses.replace(output, modality_probs=pool_segments(output.segment_probs))
        for progress in when:
            if self.own.loss:
                terms += check_own_loss(self.network, whole, inputs, self.num_classes, progress)
            if self.own.labels:
                check_modality_labels(self.network, whole, inputs, self.num_classes, progress)
        terms = [term for term in terms if term.requires_grad]
        values = [x for x in (getattr(whole, field) for field in self.own.taught) if x is not None]
        if not self.trained or not (values or terms):
            return set()
        scalar = torch.stack([(x.float() * torch.randn_like(x.float())).sum() for x in values] + terms).sum()
        gradients = gradients_of(scalar, [*self.trained.values(), *self.originals], self.name)
        self.reached_original |= any(gradient is not None for gradient in gradients[len(self.trained) :])
        return {key for key, gradient in zip(self.trained, gradients, strict=False) if gradient is not None}


@contextmanager
def sandbox_copy(network: nn.Module) -> Iterator[nn.Module]:
    """A copy of a network to try things on, under random state of its own; the network itself where it has no copy.

    Raises:
        ValueError: it has lazy parameters that no batch has made yet.
    """
    lazy = (nn.parameter.UninitializedParameter, nn.parameter.UninitializedBuffer)
    if any(isinstance(x, lazy) for x in (*network.parameters(), *network.buffers())):
        raise ValueError(f"{type(network).__name__} has lazy modules that were never run: run it once on a batch first")
    with own_random_state():
        try:
            copied = copy.deepcopy(network)
        except Exception:  # somebody's module; what it holds may be anything
            with restored(network):
                yield network
        else:
            yield copied


@contextmanager
def own_random_state() -> Iterator[None]:
    """Seeded generators; those of the caller go on afterwards as if nothing had been drawn."""
    generators = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    try:
        with torch.random.fork_rng(devices=list(devices)):
            torch.manual_seed(0)
            yield
    finally:
        random.setstate(generators[0])
        np.random.set_state(generators[1])


@contextmanager
def restored(network: nn.Module) -> Iterator[None]:
    """Afterwards the network has the parameters, buffers, submodules and attributes that it had, values and all."""
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
                x.copy_(before)


def jitter(network: nn.Module) -> None:
    """Move every parameter a little: a layer that starts at zero passes no gradient on, and is no fault.

    Others keep their sign and scale, on which a network may rely.
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
