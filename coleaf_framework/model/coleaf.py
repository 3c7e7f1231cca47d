"""Anchor, Reference and the losses that tie them, as one module with one forward (CoLeaF, ECCV 2024, Fig. 2).

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from coleaf_framework import losses
from coleaf_framework.adapters import Adapter, call_anchor, takes
from coleaf_framework.collaboration import (
    CoLeaFConfig,
    MovingAverage,
    anchor_loss,
    anchor_terms,
    event_weights,
    modality_labels,
    reference_teaches,
    reference_terms,
    scale_micro_batch,
    weak_modality_labels,
    with_reference_labels,
)
from coleaf_framework.model.parts import read_parts
from coleaf_framework.model.standardize import StandardizedAnchor, Standardizer
from coleaf_framework.protocol import (
    PAST_EVERY_WARMUP,
    AnchorOutput,
    Batch,
    Progress,
    ReferenceOutput,
    StreamSpec,
)
from coleaf_framework.record.run_record import RunRecord
from coleaf_framework.storage import WEIGHTS, write_tensors

# What is frozen on a network now, so that a later `wrap` of it begins with what its owner made.
_frozen_of: WeakKeyDictionary[nn.Module, tuple[str, ...]] = WeakKeyDictionary()


def phase(name: str) -> AbstractContextManager[None]:
    """Marks a part of a training step for a profiler."""
    return record_function(f"coleaf: {name}")


def unfreeze(anchor: nn.Module) -> None:
    """Let the parameters be trained again that a model around this network froze."""
    frozen = _frozen_of.pop(anchor, ())
    for name, parameter in anchor.named_parameters():
        if name in frozen:
            parameter.requires_grad_(True)


class CoLeaF(nn.Module):
    """An Anchor and a Reference in contrastive-collaborative training.

    Made by `wrap`, which checks the Anchor first. `anchor` is the user's network itself; it expects
    standardised streams where `standardizer` is set.

    `observed` holds what the last training forward saw and did not train: "theta/audio" and "theta/visual", the means
    over videos of the weights of eq. 9-11, each this batch's fraction of its step's; nothing where they weigh nothing.

    Args:
        anchor: see `protocol.Anchor`.
        reference: see `protocol.Reference`; None trains the Anchor alone.
        streams: the Anchor's input streams.
        num_classes: C.
        config: loss terms.
        segments: T, where the network has a fixed one; batches of another are refused.
        adapter: `(anchor, streams) -> AnchorOutput`, for a network that does not return one itself; one that has
            a parameter `mask` gets the batch's (B,T) bool or None. A `Declaration` is one.
        statistics: stream name -> (2, width) mean and deviation; None leaves the streams as they are.
        record: what `save` writes beside the weights, so that `load` can build the networks again.
        frozen: parameters of the Anchor to freeze, since nothing gives them a gradient.
        changes_inputs: whether the Anchor changes its input tensors in place; then it gets copies.
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
    ) -> None:
        super().__init__()
        self.anchor, self.reference = anchor, reference
        self.streams, self.num_classes, self.config = dict(streams), num_classes, config
        self.segments, self.adapter = segments, adapter
        self.standardizer = Standardizer(statistics, streams) if statistics is not None else None
        self.record = record
        self.frozen, self.changes_inputs = frozen, changes_inputs
        self.teacher = (
            MovingAverage(reference, config.reference_ema) if reference is not None and config.reference_ema else None
        )
        self.observed: dict[str, Tensor] = {}
        self._lean_reference = reference is not None and takes(reference.forward, "need_class_probs")
        for name, parameter in anchor.named_parameters():
            if name in frozen:
                parameter.requires_grad_(False)
        _frozen_of[anchor] = frozen

    def forward(self, batch: Batch, progress: Progress = PAST_EVERY_WARMUP) -> dict[str, Tensor]:
        """Every loss term of a batch, weighted, by name; with the paper's recipe their sum is what training minimises.

        Each term stops gradients on its teacher's side, so one backward updates both branches as the paper's
        two do. Terms of weight 0, or before their warm-up ends, are absent. Those of a batch that is a part of a
        step (`batch.fraction`) are that part of the step's.

        Args:
            batch: streams and weak labels (B,C).
            progress: epoch and step.

        Returns: names "anchor/..." and "reference/..." -> scalar.

        Raises:
            ValueError: the batch lacks a stream, has another T than the network's fixed one, or has videos of
                unequal length that the network cannot be told about.
        """
        terms: dict[str, Tensor] = {}
        for update in self._updates(batch, progress, together=True):
            terms |= update
        return terms

    def updates(self, batch: Batch, progress: Progress) -> Iterator[dict[str, Tensor]]:
        """The terms of each update of a training step, in turn; the caller makes each before it asks for the next.

        One update of both branches; or, where `config.update` is "reference_first", the Reference's and then the
        Anchor's against the updated Reference. Arguments and errors as in `forward`.
        """
        return self._updates(batch, progress, together=self.config.update == "together")

    def updates_per_step(self, progress: Progress) -> int:
        """How many updates `updates` gives for a batch."""
        one = self.reference is None or self.config.update == "together"
        return 1 if one or progress.epoch <= self.head_start else 2

    @property
    def head_start(self) -> int:
        """Epochs in which the Reference is trained alone, before all others."""
        return self.config.reference_head_start if self.reference is not None else 0

    def after_step(self) -> None:
        """To be called after each training step: a teacher that is a moving average follows the Reference."""
        if self.teacher is not None and self.reference is not None:
            self.teacher.follow(self.reference)

    def _updates(self, batch: Batch, progress: Progress, *, together: bool) -> Iterator[dict[str, Tensor]]:
        c = self.config
        streams = self._inputs(batch.streams)
        if self.reference is not None:
            if progress.epoch <= self.head_start:
                yield self._head_start(streams, batch)
                return
            progress = replace(progress, epoch=progress.epoch - self.head_start)
        with phase("Anchor forward"):
            output = self._run_anchor(streams, batch.mask)
        with torch.no_grad(), phase("losses"):
            labels = modality_labels(c, self.anchor, output, batch, progress)

        def anchor_update(reference: ReferenceOutput | None) -> dict[str, Tensor]:
            with phase("losses"):
                own, own_labels = with_reference_labels(c, batch, reference, progress), labels
                if own is not batch:
                    own_labels = modality_labels(c, self.anchor, output, own, progress)
                terms = anchor_loss(c, self.anchor, output, own_labels, own, progress)
                if reference is not None:
                    terms |= anchor_terms(c, output, reference, labels, batch, progress)
                    if c.contrast == "event_aware" and reference_teaches(c, progress):
                        theta = event_weights(c, reference).mean(0) * batch.fraction
                        self.observed = dict(zip(("theta/audio", "theta/visual"), theta, strict=True))
            return scale_micro_batch(c, {f"anchor/{name}": term for name, term in terms.items()}, batch.fraction)

        if self.reference is None:
            yield anchor_update(None)
            return
        with phase("Reference forward"):
            reference: ReferenceOutput = self.reference(mask=batch.mask, **streams)
        with phase("losses"):
            terms = reference_terms(c, reference, output.modality_probs, labels, progress)
        terms = scale_micro_batch(c, {f"reference/{name}": term for name, term in terms.items()}, batch.fraction)
        teaches = reference_teaches(c, progress)
        if together:
            if teaches and self.teacher is not None:
                reference = self._teach(self.teacher, streams, batch.mask)
            yield anchor_update(reference) | terms
            return
        yield terms
        yield anchor_update(self._teach(self.teacher or self.reference, streams, batch.mask) if teaches else None)

    def _head_start(self, streams: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The terms of an epoch in which the Reference is trained alone, by labels that are not refined yet."""
        assert self.reference is not None
        with phase("Reference forward"):
            reference: ReferenceOutput = self.reference(mask=batch.mask, **streams)
        with phase("losses"):
            terms = reference_terms(self.config, reference, None, weak_modality_labels(self.config, batch), Progress(0))
        return scale_micro_batch(
            self.config, {f"reference/{name}": term for name, term in terms.items()}, batch.fraction
        )

    def _teach(self, teacher: nn.Module, streams: Mapping[str, Tensor], mask: Tensor | None) -> ReferenceOutput:
        unread = {"need_class_probs": False} if self._lean_reference else {}
        with torch.no_grad(), phase("Reference forward"):
            taught: ReferenceOutput = teacher(mask=mask, **unread, **streams)
        return taught

    def infer(self, batch: Batch) -> AnchorOutput:
        """The Anchor's answer to a batch; the Reference takes no part. `modality_probs` is always set.

        Errors as in `forward`.
        """
        return self._run_anchor(self._inputs(batch.streams), batch.mask)

    def _inputs(self, streams: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        missing = self.streams.keys() - streams.keys()
        if missing:
            raise ValueError(f"the batch lacks the streams {sorted(missing)}; it has {sorted(streams)}")
        streams = {name: streams[name] for name in self.streams}
        _, segments = self._batch_shape(streams)
        if self.segments not in (None, segments):
            raise ValueError(
                f"the batch has T = {segments} segments; "
                f"{type(self.anchor).__name__} was wrapped with segments={self.segments}"
            )
        return streams if self.standardizer is None else self.standardizer(streams)

    def _batch_shape(self, streams: Mapping[str, Tensor]) -> tuple[int, int]:
        name, spec = next(iter(self.streams.items()))
        return len(streams[name]), streams[name].shape[1] // spec.frames

    def _run_anchor(self, streams: Mapping[str, Tensor], mask: Tensor | None) -> AnchorOutput:
        given = {name: x.clone() for name, x in streams.items()} if self.changes_inputs else streams
        raw = call_anchor(self.anchor, self.adapter, given, mask)
        output = raw if isinstance(raw, AnchorOutput) else AnchorOutput(**raw)
        expected = self._batch_shape(streams)
        if output.segment_probs.shape[:2] != expected:  # a network with its T written into it, on another T
            raise ValueError(
                f"{type(self.anchor).__name__} answers (B,T) = {tuple(output.segment_probs.shape[:2])} "
                f"to a batch of (B,T) = {expected}"
            )
        if output.modality_probs is None:
            pooled = losses.pool_segments(output.segment_probs, mask)
            output = AnchorOutput(output.segment_probs, output.video_probs, output.tokens, pooled)
        return output

    def strip(self) -> nn.Module:
        """The user's network alone, as it came: same object, same state-dict keys, no hooks.

        What `wrap` froze can be trained again.

        Where the model standardises its streams, the network takes standardised ones; `load_anchor` gives it with its
        standardisation.
        """
        unfreeze(self.anchor)
        for name, parameter in self.anchor.named_parameters():  # of a copy of the model, which `unfreeze` does not know
            if name in self.frozen:
                parameter.requires_grad_(True)
        self.frozen = ()
        return self.anchor

    def save(self, directory: Path | str) -> None:
        """Write `config.yaml` (the record, by which to build the networks) and `model.safetensors`, each atomically.

        Raises:
            ValueError: the model was not made by `wrap` or `load`, so it has no record.
        """
        require_record(self).write(Path(directory))
        write_tensors(Path(directory) / WEIGHTS, self.state_dict())

    @classmethod
    def load(
        cls,
        directory: Path | str,
        *,
        anchor: nn.Module | None = None,
        adapter: Adapter | None = None,
        trust: bool = False,
    ) -> CoLeaF:
        """The model that `save` or a training run wrote, on the CPU, in evaluation mode.

        Args:
            directory: holds `config.yaml` and `model.safetensors`.
            anchor: the network to fill, where the Anchor was no plugin; as it was passed to `wrap`.
            adapter: as it was passed to `wrap`; a declaration (`outputs`, `tokens`, `inputs`) comes back by itself.
            trust: whether code that the folder names and that is no plugin, "module:Class", may be imported.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is damaged, or the weights do not fit the networks; names both. Or code is not trusted.
        """
        parts = read_parts(Path(directory), anchor=anchor, adapter=adapter, trust=trust)
        model = cls(parts.anchor, parts.reference, **parts.arguments)
        parts.fill(model)
        _require_adapter(model, directory)
        return model.eval()


def load_anchor(
    directory: Path | str, *, anchor: nn.Module | None = None, adapter: Adapter | None = None, trust: bool = False
) -> nn.Module:
    """The trained Anchor alone, on the CPU, in evaluation mode; arguments and errors as in `CoLeaF.load`.

    It takes raw streams: where the run standardised them, it comes as a `StandardizedAnchor`, which then calls
    the adapter too.
    """
    parts = read_parts(Path(directory), anchor=anchor, adapter=adapter, with_reference=False, trust=trust)
    model = CoLeaF(parts.anchor, None, **parts.arguments).eval()
    parts.fill(model)
    model.strip()
    if model.standardizer is None:
        return model.anchor
    _require_adapter(model, directory)
    return StandardizedAnchor(model.standardizer, model.anchor, model.adapter).eval()


def require_record(model: CoLeaF) -> RunRecord:
    """The record of a model.

    Raises:
        ValueError: it has none, since neither `wrap` nor `load` made it.
    """
    if model.record is None:
        raise ValueError("this CoLeaF was made without `wrap`, so it has no record of its networks: make it by `wrap`")
    return model.record


def _require_adapter(model: CoLeaF, directory: Path | str) -> None:
    if require_record(model).model.adapter and model.adapter is None:
        raise ValueError(
            f"{directory}: its Anchor was wrapped with an adapter: pass adapter=<that function, or model.adapter>"
        )
