"""Anchor, Reference and the losses that tie them, as one module with one forward (CoLeaF, ECCV 2024, Fig. 2).

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from coleaf_framework.adapters import Adapter, takes
from coleaf_framework.collaboration import (
    VIDEO_ALONE,
    AnchorPass,
    CoLeaFConfig,
    LabelLoss,
    MovingAverage,
    StepOutput,
    Update,
    anchor_update,
    head_start_update,
    mix_videos,
    modality_labels,
    reference_teaches,
    reference_update,
    teaching_labels,
    with_teachers_labels,
)
from coleaf_framework.model.freezing import freeze, unfreeze
from coleaf_framework.model.persistence import PersistentModule
from coleaf_framework.model.recorded import require_record as require_record
from coleaf_framework.model.running import batch_shape, phase, run_anchor, take_streams
from coleaf_framework.model.signal import TrainingSignal
from coleaf_framework.model.standardize import Standardizer
from coleaf_framework.protocol import PAST_EVERY_WARMUP, AnchorOutput, Batch, Progress, ReferenceOutput, StreamSpec
from coleaf_framework.record.run_record import RunRecord


class CoLeaF(PersistentModule):
    """An Anchor and a Reference in contrastive-collaborative training.

    Made by `wrap`, which checks the Anchor first. `anchor` is the user's network itself; it expects
    standardised streams where `standardizer` is set.

    Three ways to train it, from the shortest to the most detailed:

    - `CoLeaFTrainer`, which does all of the following.
    - A loop of one's own: `losses = model(batch)`, one backward of their sum, one update; both branches at once.
    - A loop that follows the whole configuration, which `config.update` "reference_first" and `config.mixup` need::

        batch = model.mix(batch)
        shared = model.shared_pass(batch, progress)
        for update in model.updates(progress):
            losses, observations = model.update(batch, progress, update, shared)
            ...  # zero the gradients, the sum of the losses backward, update the weights
        model.after_step()

    Args:
        anchor: see `protocol.Anchor`.
        reference: see `protocol.Reference`; None trains the Anchor alone.
        streams: the Anchor's input streams.
        num_classes: number of classes, C.
        config: loss terms.
        segments: number of segments, T, where the network has a fixed one; batches of another are refused.
        adapter: `(anchor, streams) -> AnchorOutput`, for a network that does not return one itself; one that has
            a parameter `mask` gets the batch's (B,T) bool or None. A `Declaration` is one.
        statistics: stream name -> (2, width) mean and deviation; None leaves the streams as they are.
        record: what `save` writes beside the weights, so that `load` can build the networks again.
        frozen: parameters of the Anchor to freeze, since nothing gives them a gradient.
        changes_inputs: whether the Anchor changes its input tensors in place; then it gets copies.
        label_loss: the loss given to `wrap`, and the default of an Anchor without one.
        signal: which loss term trains which submodule, as `wrap` measured it.
    """

    def __init__(
        self,
        anchor: nn.Module,
        reference: nn.Module | None,
        *,
        streams: Mapping[str, StreamSpec],
        num_classes: int,
        config: CoLeaFConfig,
        segments: int | None = None,
        adapter: Adapter | None = None,
        statistics: Mapping[str, Tensor] | None = None,
        record: RunRecord | None = None,
        frozen: tuple[str, ...] = (),
        changes_inputs: bool = False,
        label_loss: LabelLoss = VIDEO_ALONE,
        signal: TrainingSignal | None = None,
    ) -> None:
        super().__init__()
        self.anchor, self.reference = anchor, reference
        self.streams, self.num_classes, self.config = dict(streams), num_classes, config
        self.segments, self.adapter = segments, adapter
        self.standardizer = Standardizer(statistics, streams) if statistics is not None else None
        self.record = record
        self.frozen, self.changes_inputs = frozen, changes_inputs
        self.label_loss, self._signal = label_loss, signal
        self.teacher = (
            MovingAverage(reference, config.reference_ema) if reference is not None and config.reference_ema else None
        )
        self.label_teacher = MovingAverage(anchor, config.label_teacher_ema) if config.label_teacher_ema else None
        self._lean_reference = reference is not None and takes(reference.forward, "need_class_probs")
        freeze(anchor, frozen)

    def forward(self, batch: Batch, progress: Progress = PAST_EVERY_WARMUP) -> dict[str, Tensor]:
        """Every loss term of a batch, weighted, by name; with the paper's recipe their sum is what training minimises.

        Each term stops gradients on its teacher's side, so one backward updates both branches as the paper's
        two do. Terms of weight 0, or before their warm-up ends, are absent. The terms of a micro-batch are scaled
        (`batch.fraction`), so that those of all micro-batches add up to the step's.

        Args:
            batch: streams and weak labels (B,C).
            progress: epoch and step.

        Returns:
            Names "anchor/..." and "reference/..." -> scalar.

        Raises:
            ValueError: the batch lacks a stream, has another T than the network's fixed one, or has videos of
                unequal length that the network cannot be told about.
        """
        return self.update(batch, progress).losses

    def updates(self, progress: Progress) -> tuple[Update, ...]:
        """The updates of a training step, in their order.

        One update of both branches; or, if `config.update` is "reference_first", the Reference's and then the
        Anchor's against the updated Reference. One branch alone in the head start, and without a Reference.
        """
        if self.reference is None:
            return ("anchor",)
        if progress.epoch <= self.head_start:
            return ("reference",)
        return ("both",) if self.config.update == "together" else ("reference", "anchor")

    def update(
        self,
        batch: Batch,
        progress: Progress = PAST_EVERY_WARMUP,
        which: Update = "both",
        shared: AnchorPass | None = None,
    ) -> StepOutput:
        """The forward of one update: its losses, and observations to be logged.

        Args:
            batch: streams and weak labels (B,C).
            progress: epoch and step.
            which: the branches to train, one of `updates`. In the head start the Reference's terms come in any case,
                and without a Reference the Anchor's.
            shared: from `shared_pass`, for a step of two updates; where None the Anchor runs here.

        Returns:
            `(losses, observations)`, see `StepOutput`.

        Raises:
            ValueError: as in `forward`.
        """
        c = self.config
        if self.reference is not None and progress.epoch <= self.head_start:
            reference = self._run_reference(self._inputs(batch.streams), batch)
            with phase("losses"):
                return head_start_update(c, reference, batch)
        own = shared if shared is not None else self._anchor_pass(batch, progress)
        progress = self._after_head_start(progress)
        if which != "reference" and teaching_labels(c, progress):
            batch = with_teachers_labels(batch, self._teachers_segments(own.streams, batch.mask))
        if self.reference is None:
            with phase("losses"):
                return anchor_update(c, self.anchor, own, None, batch, progress, self.label_loss)
        trained = self._run_reference(own.streams, batch) if which != "anchor" else None
        of_reference: dict[str, Tensor] = {}
        if trained is not None:
            with phase("losses"):
                of_reference = reference_update(c, trained, own, batch, progress).losses
        if which == "reference":
            return StepOutput(of_reference, {})
        teacher = trained
        if reference_teaches(c, progress) and (trained is None or self.teacher is not None):
            teacher = self._teach(self.teacher or self.reference, own.streams, batch.mask)
        with phase("losses"):
            losses, observations = anchor_update(c, self.anchor, own, teacher, batch, progress, self.label_loss)
        return StepOutput(losses | of_reference, observations)

    def mix(self, batch: Batch) -> Batch:
        """The batch that a step trains on, with mixed videos if `config.mixup` is set; see `mix_videos`."""
        return mix_videos(batch, self.config.mixup) if self.config.mixup else batch

    def shared_pass(self, batch: Batch, progress: Progress) -> AnchorPass | None:
        """The Anchor's forward pass, shared by all updates of a step; None if there is one update, which runs its own.

        In a step of several micro-batches each has its own, kept until its last update. Errors as in `forward`.

        Args:
            batch: the videos, on the model's device.
            progress: epoch and step, which say how many updates there are.

        Returns:
            The pass, for the argument `shared` of `update`; or None.
        """
        return self._anchor_pass(batch, progress) if len(self.updates(progress)) > 1 else None

    @property
    def head_start(self) -> int:
        """Epochs in which the Reference is trained alone, before all others."""
        return self.config.reference_head_start if self.reference is not None else 0

    def after_step(self) -> None:
        """To be called after each training step: teachers that are moving averages follow their network."""
        if self.teacher is not None and self.reference is not None:
            self.teacher.follow(self.reference)
        if self.label_teacher is not None:
            self.label_teacher.follow(self.anchor)

    def _after_head_start(self, progress: Progress) -> Progress:
        """The same, with epochs counted from the first that trains the Anchor."""
        return replace(progress, epoch=progress.epoch - self.head_start)

    def _anchor_pass(self, batch: Batch, progress: Progress) -> AnchorPass:
        streams = self._inputs(batch.streams)
        with phase("Anchor forward"):
            output, raw = self._run(streams, batch.mask, keeps_raw=self.label_loss.raw is not None)
        with torch.no_grad(), phase("losses"):
            labels = modality_labels(self.config, self.anchor, output, batch, self._after_head_start(progress))
        return AnchorPass(streams, output, labels, raw)

    def _run_reference(self, streams: Mapping[str, Tensor], batch: Batch) -> ReferenceOutput:
        assert self.reference is not None
        with phase("Reference forward"):
            output: ReferenceOutput = self.reference(mask=batch.mask, **streams)
        return output

    def _teach(self, teacher: nn.Module, streams: Mapping[str, Tensor], mask: Tensor | None) -> ReferenceOutput:
        unread = {"need_class_probs": False} if self._lean_reference else {}
        with torch.no_grad(), phase("Reference forward"):
            taught: ReferenceOutput = teacher(mask=mask, **unread, **streams)
        return taught

    def _teachers_segments(self, streams: Mapping[str, Tensor], mask: Tensor | None) -> Tensor:
        assert self.label_teacher is not None
        with torch.no_grad(), phase("label teacher forward"):
            shape, copies = batch_shape(streams, self.streams), self.changes_inputs
            output, _ = run_anchor(self.label_teacher.average, self.adapter, streams, mask, shape, copies=copies)
        return output.segment_probs

    def infer(self, batch: Batch) -> AnchorOutput:
        """The Anchor's answer to a batch; the Reference takes no part. `modality_probs` is always set.

        Errors as in `forward`.
        """
        return self._run(self._inputs(batch.streams), batch.mask)[0]

    def _inputs(self, streams: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        own = take_streams(streams, self.streams, self.segments, self.anchor)
        return own if self.standardizer is None else self.standardizer(own)

    def _run(
        self, streams: Mapping[str, Tensor], mask: Tensor | None, *, keeps_raw: bool = False
    ) -> tuple[AnchorOutput, object]:
        how = {"copies": self.changes_inputs, "keeps_raw": keeps_raw}
        return run_anchor(self.anchor, self.adapter, streams, mask, batch_shape(streams, self.streams), **how)

    def training_signal(self) -> TrainingSignal:
        """Which loss term trains which submodule of the Anchor, as `wrap` measured it; `print` it as a table.

        Raises:
            ValueError: the model was loaded, so nothing was measured.
        """
        if self._signal is None:
            raise ValueError(
                "a loaded model has no training signal yet: coleaf_framework.training_signal(model) measures it"
            )
        return self._signal

    def strip(self) -> nn.Module:
        """The user's network alone, unchanged: same object, same state-dict keys, no hooks.

        What `wrap` froze can be trained again.

        Where the model standardises its streams, the network takes standardised ones; `load_anchor` gives it with its
        standardisation.
        """
        unfreeze(self.anchor, self.frozen)
        self.frozen = ()
        return self.anchor
