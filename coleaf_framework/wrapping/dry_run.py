"""The dry run: run a network on synthetic batches and check its outputs and gradients.

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from coleaf_framework.adapters import values_returned_by
from coleaf_framework.adapters.outputs import checking_values
from coleaf_framework.collaboration import VIDEO_ALONE, LabelLoss
from coleaf_framework.losses import pool_segments
from coleaf_framework.protocol import AnchorOutput, Progress, StreamSpec
from coleaf_framework.wrapping.checks import (
    FIELDS,
    Run,
    as_output,
    check_gradients,
    check_mask,
    check_shapes,
    check_values,
    check_videos_apart,
    check_width,
    failure,
    gradients_of,
)
from coleaf_framework.wrapping.loss_checks import (
    EXTRA_EPOCHS,
    LOSS_PROGRESS,
    check_label_loss,
    check_modality_labels,
    labelled_batch,
)
from coleaf_framework.wrapping.mode_checks import (
    check_both_modes,
    check_modalities_apart,
    check_repeatable,
    returned_in_evaluation,
)
from coleaf_framework.wrapping.sandbox import isolated_random_state, jitter, restored, sandbox_copy, synthetic

__all__ = ["DryRun", "dry_run", "isolated_random_state", "jitter", "restored", "sandbox_copy", "synthetic"]


@dataclass(frozen=True)
class DryRun:
    """Result of a dry run.

    Args:
        width: width, D, the token width.
        dead: names of the parameters that get no gradient from any loss.
        changes_inputs: whether the network changes its input tensors in place.
        on_original: whether the network itself was run, since no copy can stand for it.
    """

    width: int
    dead: tuple[str, ...]
    changes_inputs: bool
    on_original: bool = False


def dry_run(
    network: nn.Module,
    run: Run,
    streams: Mapping[str, StreamSpec],
    num_classes: int,
    segments: int | None,
    takes_mask: bool,
    *,
    uses_custom_loss: bool = True,
    uses_labels: bool = True,
    supervised: tuple[str, ...] = FIELDS,
    label_loss: LabelLoss = VIDEO_ALONE,
    teaches: bool = True,
) -> DryRun:
    """Run a copy of `network` on synthetic batches and check every requirement of the protocol.

    Runs at T = 10 and T = 20 in training mode, and at T = 20 in evaluation mode, also with a single video. (T = 20,
    since networks with 10 hard-coded segments fold it into the batch without an error.) A network that cannot be
    copied, or whose copy shares parameters with it, is run itself; its parameters, buffers, attributes and modes are
    restored afterwards. Random state and gradients do not change.

    Args:
        network: the network that `run` runs.
        run: `(network, streams, mask) -> raw outputs`; a `Declaration` is one.
        streams: its input streams.
        num_classes: number of classes, C.
        segments: number of segments, T, if the network has a fixed one; all runs then use it.
        takes_mask: whether the network takes a mask; if so, its outputs must not depend on the padding.
        uses_custom_loss: whether its method `loss` will be used, or the loss that `wrap` was given.
        uses_labels: whether its method `modality_labels` will be used.
        supervised: the fields of its output that losses of CoLeaF read.
        label_loss: has the loss that `wrap` was given.
        teaches: whether a Reference will teach it through its tokens.

    Returns:
        Token width D, the parameters without a gradient, and what the run found out about the network.

    Raises:
        ValueError, TypeError: the first requirement that is not met, in one sentence.
    """

    def attempt(net: nn.Module, original: nn.Module | None) -> tuple[DryRun, bool]:
        runner = _DryRunner(net, run, streams, num_classes, used, original)
        return runner.check_all(segments, takes_mask), runner.reached_original

    used = UsedParts(uses_custom_loss, uses_labels, supervised, label_loss, teaches)
    with sandbox_copy(network) as copied:
        if copied is network:
            return dataclasses.replace(attempt(network, None)[0], on_original=True)
        try:
            found, reached_original = attempt(copied, network)
        except (ValueError, TypeError):  # perhaps a function of the network refers to the original
            reached_original = True
    if not reached_original:
        return found
    with isolated_random_state(), restored(network):
        return dataclasses.replace(attempt(network, None)[0], on_original=True)


@dataclass(frozen=True)
class UsedParts:
    """Which parts of a network training will use.

    Args:
        loss: whether its custom loss.
        labels: whether its modality labels.
        supervised: the output fields that losses of CoLeaF read.
        given: holds the loss that was given to `wrap`.
        tokens: whether a Reference will teach its tokens.
    """

    loss: bool
    labels: bool
    supervised: tuple[str, ...]
    given: LabelLoss
    tokens: bool


class _DryRunner:
    """The dry run of one network (the original or a copy), which raises at the first failed check."""

    def __init__(
        self,
        network: nn.Module,
        run: Run,
        streams: Mapping[str, StreamSpec],
        num_classes: int,
        used: UsedParts,
        original: nn.Module | None,
    ) -> None:
        self.network, self.run, self.streams = network, run, streams
        self.num_classes, self.used, self.reached_original = num_classes, used, False
        self.originals = list(original.parameters()) if original is not None else []
        self.originals = [x for x in self.originals if x.requires_grad]
        self.name = type(network).__name__
        self.trained = {key: x for key, x in network.named_parameters() if x.requires_grad}
        self.changes_inputs = False
        self.returned: list[Any] = []  # by the network itself in the last forward, once for each run

    def check_all(self, segments: int | None, takes_mask: bool) -> DryRun:
        lengths = (10, 20) if segments is None else (segments, segments)
        worked_at = lengths[0] if segments is None else None
        first, inputs = self.forward(3, lengths[0], training=True)
        check_gradients(first, self.name, inputs, lengths[0], final=False)
        parameters_with_gradient = self.parameters_with_gradient(first, inputs, LOSS_PROGRESS)
        jitter(self.network)
        second, inputs = self.forward(2, lengths[1], training=True, worked_at=worked_at)
        check_gradients(second, self.name, inputs, lengths[1], final=False)
        parameters_with_gradient |= self.parameters_with_gradient(second, inputs, LOSS_PROGRESS)
        in_training = self.returned
        evaluated, inputs = self.forward(2, lengths[1], training=False, worked_at=worked_at)
        check_both_modes(
            self.run, self.name, in_training, self.returned, lambda: self.returned_by_many(lengths[1], worked_at)
        )
        check_gradients(evaluated, self.name, inputs, lengths[1], final=True)  # without dropout of a whole stream
        check_modalities_apart(evaluated, self.name, inputs)
        check_videos_apart(evaluated, self.name, inputs)
        parameters_with_gradient |= self.parameters_with_gradient(evaluated, inputs, ())
        self.forward(1, lengths[1], training=False, worked_at=worked_at)
        check_repeatable(self.call, self.name, inputs)
        if takes_mask:
            check_mask(self.call, self.name, self.streams, inputs, room=3 if segments is None else 0)
        widths = first.tokens.shape[-1], second.tokens.shape[-1]
        if widths[0] != widths[1]:
            raise ValueError(
                f"{self.name}: token width D changes with T: {widths[0]} at T={lengths[0]}, then {widths[1]}"
            )
        if self.used.tokens:
            check_width(self.name, widths[0])
        for step, epoch in enumerate(EXTRA_EPOCHS):
            if parameters_with_gradient >= self.trained.keys():
                break
            output, inputs = self.forward(2, lengths[0], training=True, masked=takes_mask and step % 2 == 0)
            parameters_with_gradient |= self.parameters_with_gradient(output, inputs, (Progress(epoch, step),))
        return DryRun(
            widths[0], tuple(key for key in self.trained if key not in parameters_with_gradient), self.changes_inputs
        )

    def returned_by_many(self, length: int, worked_at: int | None) -> list[Any]:
        self.forward(16, length, training=False, worked_at=worked_at)
        return self.returned

    def call(self, inputs: Mapping[str, Tensor], mask: Tensor | None) -> AnchorOutput:
        return as_output(self.run(self.network, inputs, mask), self.name)

    def forward(
        self, batch: int, length: int, *, training: bool, worked_at: int | None = None, masked: bool = False
    ) -> tuple[AnchorOutput, dict[str, Tensor]]:
        self.network.train(training)
        inputs = synthetic(self.network, self.streams, batch, length)
        # Copies, since a network may change its inputs in place.
        given = {stream: x.clone() for stream, x in inputs.items()}
        versions = [x._version for x in given.values()]
        mask = None
        if masked and length > 1:
            mask = torch.arange(length, device=next(iter(inputs.values())).device).expand(batch, -1) < length - 1
        name = self.name if training else f"{self.name} in evaluation mode"
        with values_returned_by(self.network) as self.returned:
            try:
                # cuDNN refuses gradients of recurrent layers in evaluation mode.
                with torch.enable_grad(), checking_values(), torch.backends.cudnn.flags(enabled=training):
                    raw = self.run(self.network, given, mask)
            except (Exception, SystemExit) as problem:
                there = "" if training else returned_in_evaluation(self.returned)
                raise ValueError(failure(name, problem, self.streams, batch, length, worked_at) + there) from problem
        self.changes_inputs |= versions != [x._version for x in given.values()]
        output = as_output(raw, name)
        check_shapes(output, name, batch, length, self.num_classes)
        check_values(output, f"{self.name} in {'training' if training else 'evaluation'} mode")
        return output, inputs

    def parameters_with_gradient(
        self, output: AnchorOutput, inputs: Mapping[str, Tensor], when: tuple[Progress, ...]
    ) -> set[str]:
        """Names of the parameters that get a gradient from these outputs and from the network's custom loss on them."""
        terms: list[Tensor] = []
        pooled = output.modality_probs is None
        whole = output  # as the custom loss will get it, with pooled modality probabilities if the network has none
        if pooled:
            whole = dataclasses.replace(output, modality_probs=pool_segments(output.segment_probs))
        for progress in when:
            if self.used.loss:
                batch = labelled_batch(whole, inputs, self.num_classes)
                terms += check_label_loss(self.network, self.used.given, whole, self.returned, batch, progress)
            if self.used.labels:
                check_modality_labels(self.network, whole, inputs, self.num_classes, progress)
        terms = [term for term in terms if term.requires_grad]
        values = [x for x in (getattr(whole, field) for field in self.used.supervised) if x is not None]
        if not self.trained or not (values or terms):
            return set()
        scalar = torch.stack([(x.float() * torch.randn_like(x.float())).sum() for x in values] + terms).sum()
        gradients = gradients_of(scalar, [*self.trained.values(), *self.originals], self.name)
        self.reached_original |= any(gradient is not None for gradient in gradients[len(self.trained) :])
        return {key for key, gradient in zip(self.trained, gradients, strict=False) if gradient is not None}
