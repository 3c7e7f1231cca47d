"""Measure which loss term trains which parameters of an Anchor, on synthetic batches.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

import torch
from torch import Tensor, nn

from coleaf_framework.adapters import flatten, values_returned_by
from coleaf_framework.collaboration import (
    CoLeaFConfig,
    LabelLoss,
    anchor_loss,
    anchor_terms,
    contrast,
    has_custom_loss,
    modality_labels,
    uses_default_loss,
)
from coleaf_framework.losses import pool_segments
from coleaf_framework.protocol import (
    PAST_EVERY_WARMUP,
    AnchorOutput,
    Batch,
    Progress,
    ReferenceOutput,
    StreamSpec,
)
from coleaf_framework.wrapping.checks import FIELDS, Run, as_output, gradients_of
from coleaf_framework.wrapping.loss_checks import EXTRA_EPOCHS, LOSS_PROGRESS, labelled_batch
from coleaf_framework.wrapping.measured import Measured
from coleaf_framework.wrapping.reach import measure_reach
from coleaf_framework.wrapping.sandbox import isolated_random_state, jitter, restored, sandbox_copy, synthetic

_VIDEOS, _SEGMENTS = 3, 10
_MORE_PASSES = 1
_PASSES_TO_DECIDE = 3
# A gradient of contrast to the tokens below this, times the tokens, is rounding.
_NO_CONTRAST = 1e-5


def measure(
    network: nn.Module,
    run: Run,
    streams: Mapping[str, StreamSpec],
    num_classes: int,
    segments: int | None,
    config: CoLeaFConfig,
    label_loss: LabelLoss,
    *,
    dead: tuple[str, ...] = (),
    on_original: bool = False,
    decide: bool = True,
) -> Measured:
    """Measure a network that has passed the dry run, on a copy; random state and gradients do not change.

    Contrast is measured with theta = 1 against random tokens, and the other terms of the Reference against random
    probabilities. The default loss is decided too: BCE on video probabilities, and also on those of both modalities
    if some parameter gets a gradient from the segment probabilities but not from the video probabilities.

    Args:
        network: the Anchor.
        run: `(network, streams, mask) -> raw outputs`.
        streams: its input streams.
        num_classes: number of classes, C.
        segments: number of segments, T, where it has a fixed one.
        config: the loss terms.
        label_loss: holds the loss that was given to `wrap`.
        dead: parameters that no loss reaches; the raw outputs that depend on them are searched for.
        decide: whether to decide the default loss; False keeps the one of `label_loss`.
        on_original: run the network itself and restore it, since no copy can stand for it (`DryRun.on_original`).

    Returns:
        What each loss term and each field of the output reaches, as parameter names, and which default loss is used.
    """
    with ExitStack() as stack:
        if on_original:
            measured = network
            stack.enter_context(isolated_random_state())
            stack.enter_context(restored(network))
        else:
            measured = stack.enter_context(sandbox_copy(network))
        arguments = run, streams, num_classes, segments or _SEGMENTS, config, label_loss, dead, decide
        found = _Measuring(measured, *arguments).measure()
    if not on_original and found.sizes and not any(found.fields.values()):  # the adapter refers to the original
        given = run, streams, num_classes, segments, config, label_loss
        return measure(network, *given, dead=dead, on_original=True, decide=decide)
    return found


class _Measuring:
    def __init__(
        self,
        network: nn.Module,
        run: Run,
        streams: Mapping[str, StreamSpec],
        num_classes: int,
        length: int,
        config: CoLeaFConfig,
        label_loss: LabelLoss,
        dead: tuple[str, ...],
        decide: bool,
    ) -> None:
        self.decide = decide
        self.network, self.run, self.streams = network, run, streams
        # Weights of positive labels come with the data, and change nothing of what a term reaches.
        self.config = config.model_copy(update={"segment_label_balance": 1.0})
        self.num_classes, self.length = num_classes, length
        self.name = type(network).__name__
        self.trained = {name: x for name, x in network.named_parameters() if x.requires_grad}
        self.dead = {name: self.trained[name] for name in dead}
        sizes = {name: x.numel() for name, x in self.trained.items()}
        fields, moving = ({field: set[str]() for field in FIELDS} for _ in range(2))
        self.missing: dict[tuple[str, int], set[str]] = {}  # of a term in an epoch: depended on, and not reached yet
        self.found = Measured(sizes, fields, moving, {}, (), {}, label_loss)

    def measure(self) -> Measured:
        jitter(self.network)
        output, raw, inputs = self.forward(training=False)
        self.see_fields(output)
        self.see_raw(raw)
        if self.length > 1:
            self.found.reach = measure_reach(output, inputs, self.streams, self.name)
        output, raw, inputs = self.forward(training=True)
        self.see_fields(output)
        self.see_raw(raw)
        if self.decide:
            self.decide_default()
        self.see_terms(output, raw, inputs)
        for _ in range(_MORE_PASSES):
            if not any(self.missing.values()):
                break
            self.see_terms(*self.forward(training=True))
        for step, epoch in enumerate(EXTRA_EPOCHS):  # perhaps a term of its own loss is on in these epochs alone
            untrained = self.found.segment_head - self.found.reached_by(self.found.label_terms)
            if not untrained or not has_custom_loss(self.config, self.network, self.found.label_loss):
                break
            self.see_labels(*self.forward(training=True), (Progress(epoch, step),))
        return self.found

    def forward(self, *, training: bool) -> tuple[AnchorOutput, object, dict[str, Tensor]]:
        """The answer, with modality probabilities; what the network itself returned; and the streams."""
        self.network.train(training)
        inputs = synthetic(self.network, self.streams, _VIDEOS, self.length)
        given = {stream: x.clone() for stream, x in inputs.items()}  # the network may change them in place
        on_gpu = torch.backends.cudnn.flags(enabled=training)  # cuDNN refuses gradients of recurrent layers otherwise
        with values_returned_by(self.network) as values, torch.enable_grad(), on_gpu:
            output = as_output(self.run(self.network, given, None), self.name)
        if output.modality_probs is None:
            output = replace(output, modality_probs=pool_segments(output.segment_probs))
        return output, values[-1] if values else None, inputs

    def reached(self, scalar: Tensor) -> tuple[set[str], set[str]]:
        """Parameters that a scalar depends on, and those whose gradient is not zero."""
        if not scalar.requires_grad or not self.trained:
            return set(), set()
        gradients = gradients_of(scalar, list(self.trained.values()), self.name)
        found = {name: x for name, x in zip(self.trained, gradients, strict=True) if x is not None}
        return set(found), {name for name, x in found.items() if x.any()}

    def see_fields(self, output: AnchorOutput) -> None:
        for field in FIELDS:
            value = getattr(output, field).float()
            depends, moves = self.reached((value * torch.randn_like(value)).sum())
            self.found.fields[field] |= depends
            self.found.moving[field] |= moves

    def see_raw(self, raw: object) -> None:
        if not self.dead:
            return
        for path, x in flatten(raw):
            if x.requires_grad and x.is_floating_point():
                gradients = gradients_of((x * torch.randn_like(x)).sum(), list(self.dead.values()), self.name)
                found = {name for name, gradient in zip(self.dead, gradients, strict=True) if gradient is not None}
                self.found.raw[path] = tuple(x.shape), self.found.raw.get(path, ((), set()))[1] | found

    def decide_default(self) -> None:
        how, found = self.found.label_loss, self.found
        found.label_loss = replace(how, default="video")
        if not uses_default_loss(self.config, self.network, how):
            return
        for _ in range(_PASSES_TO_DECIDE):  # rectified units may be off, and rounding may be zero, in one of them
            if not found.missed_by_video & found.fields["video_probs"]:
                break
            self.see_fields(self.forward(training=True)[0])
        if found.missed_by_video:
            found.label_loss = replace(how, default="modalities")

    def see_terms(self, output: AnchorOutput, raw: object, inputs: Mapping[str, Tensor]) -> None:
        labels, batch = self.see_labels(output, raw, inputs, LOSS_PROGRESS)
        if self.config.enabled:
            reference, late = _random_reference(output), PAST_EVERY_WARMUP
            for name, term in anchor_terms(self.config, output, reference, labels, batch, late).items():
                value = self.contrast(output, reference) if name == "contrast" else term.value
                self.see_term(name, late.epoch, value)

    def see_labels(
        self, output: AnchorOutput, raw: object, inputs: Mapping[str, Tensor], when: tuple[Progress, ...]
    ) -> tuple[Tensor, Batch]:
        """Note what the terms of labels reach; returns the labels of either modality, and the batch."""
        plain = self.labels_as_in_training(output, raw, inputs)
        labels, found = plain.each_modality_labels(), self.found
        for progress in when:
            with torch.no_grad():
                labels = modality_labels(self.config, self.network, output, plain, progress)
            batch = WatchedBatch(**vars(plain))
            terms = anchor_loss(self.config, self.network, output, labels, batch, progress, found.label_loss, raw)
            found.reads_modality_labels |= batch.read
            found.label_terms = tuple(dict.fromkeys((*found.label_terms, *terms)))
            for name, term in terms.items():
                self.see_term(name, progress.epoch, term.value)
        return labels, plain

    def labels_as_in_training(self, output: AnchorOutput, raw: object, inputs: Mapping[str, Tensor]) -> Batch:
        """A labelled batch, with pseudo-labels only where training reads them or the network's own loss needs them.

        A loss may have other terms without them, as VALOR's has.
        """
        batch = labelled_batch(output, {stream: x.detach() for stream, x in inputs.items()}, self.num_classes)
        if self.config.reads_segment_labels:
            return batch
        weak, labels = replace(batch, pseudo_labels=None), batch.each_modality_labels()
        try:
            with torch.no_grad():
                for progress in LOSS_PROGRESS:
                    how = self.found.label_loss
                    anchor_loss(self.config, self.network, output, labels, weak, progress, how, raw)
        except Exception:  # somebody else's loss; with pseudo-labels it has passed the dry run
            return batch
        return weak

    def see_term(self, name: str, epoch: int, value: Tensor) -> None:
        """Note which parameters a term reaches; skipped once it has reached all that it depends on."""
        reached = self.found.terms.setdefault(name, set())
        if self.missing.get((name, epoch)) == set():
            return
        depends, moves = self.reached(value)
        reached |= moves
        # Dropped units, and rectified ones that are off, pass no gradient on in this pass, but in another.
        self.missing[name, epoch] = depends - reached

    def contrast(self, output: AnchorOutput, reference: ReferenceOutput) -> Tensor:
        """Contrast with theta = 1; notes whether it depends on the values of the tokens."""
        theta = output.tokens.new_ones(_VIDEOS, 2)
        value = contrast(self.config, output, reference, None, theta)
        of = output.modality_probs if self.config.contrast == "bce" else output.tokens
        assert of is not None
        (gradient,) = torch.autograd.grad(value, [of], retain_graph=True, allow_unused=True)
        if gradient is not None and (gradient * of).abs().sum() > _NO_CONTRAST:
            self.found.contrast_is_constant = False
        return value


def _random_reference(output: AnchorOutput) -> ReferenceOutput:
    """Random outputs of a Reference."""
    assert output.modality_probs is not None
    probs = torch.rand_like(output.modality_probs.float())
    return ReferenceOutput(torch.rand_like(output.segment_probs), probs, torch.randn_like(output.tokens))


class WatchedBatch(Batch):
    """A batch that notes whether its labels of either modality were read, in `read`."""

    read: bool = False

    def __getattribute__(self, name: str) -> object:
        if name == "modality_labels":
            object.__setattr__(self, "read", True)
        return super().__getattribute__(name)
