"""Anchor, Reference and the losses that tie them, as one module with one forward (CoLeaF, ECCV 2024, Fig. 2).

Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from coleaf_framework import losses
from coleaf_framework._config import StrictConfig
from coleaf_framework.plugins import create_anchor, create_reference
from coleaf_framework.protocol import (
    PAST_EVERY_WARMUP,
    AnchorOutput,
    Batch,
    Progress,
    ReferenceOutput,
    StreamSpec,
)
from coleaf_framework.standardize import StandardizedAnchor, Standardizer
from coleaf_framework.storage import CONFIG, WEIGHTS, read_tensors, read_yaml, write_tensors, write_yaml

Adapter = Callable[..., Any]


class CoLeaFConfig(StrictConfig):
    """Which terms train the branches, how strongly and from when; the defaults are the paper's.

    Each ablation of the paper is a value here, or of the Reference:
    Table 2 `contrast`, Table 3 `self_modality_weight: 0`, Table 4 `cooccurrence_weight: 0` and the class-token
    Reference's option `class_tokens: false`, Table 5 `enabled: false`.
    """

    enabled: bool = Field(True, description="False trains the Anchor alone, by the same loop")
    contrast: Literal["event_aware", "nce", "bce", "none"] = Field(
        "event_aware", description="event_aware, nce, bce or none; Table 2"
    )
    contrast_weight: float = Field(1.0, gt=0, description="of eq. 8")
    cooccurrence_weight: float = Field(1.0, ge=0, description="of eq. 13; Table 4")
    self_modality_weight: float = Field(1.0, ge=0, description="of the BCE after eq. 12; Table 3")
    threshold: float = Field(0.5, ge=0, le=1, description="theta of eq. 9 and 12")
    temperature: float = Field(0.2, gt=0, description="tau of eq. 8")
    normalize_tokens: bool = Field(True, description="L2-normalise tokens before the contrast")
    positive_in_denominator: bool = Field(False, description="InfoNCE's sum instead of eq. 8's")
    anchor_warmup: int = Field(1, ge=0, description="epochs before the Anchor's collaborative terms start")
    reference_warmup: int = Field(3, ge=0, description="epochs before self-modality distillation starts")


def own_loss(anchor: nn.Module) -> Callable[..., Mapping[str, Tensor]] | None:
    """The Anchor's `loss(output, batch, progress)`, or None; a submodule of that name, such as BCELoss, is none."""
    own = getattr(anchor, "loss", None)
    return own if callable(own) and not isinstance(own, nn.Module) else None


class CoLeaF(nn.Module):
    """An Anchor and a Reference in contrastive-collaborative training.

    Made by `wrap`, which checks the Anchor first. `anchor` is the user's network itself; it expects
    standardised streams where `standardizer` is set.

    Args:
        anchor: see `protocol.Anchor`.
        reference: see `protocol.Reference`; None trains the Anchor alone.
        streams: the Anchor's input streams.
        num_classes: C.
        config: loss terms.
        segments: T, where the network has a fixed one; batches of another are refused.
        adapter: `(anchor, streams) -> AnchorOutput`, for a network that does not return one itself; one that has
            a parameter `mask` gets the batch's (B,T) bool or None.
        statistics: stream name -> (2, width) mean and deviation; None leaves the streams as they are.
        description: what `save` writes beside the weights, so that `load` can build the networks again.
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
        description: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.anchor, self.reference = anchor, reference
        self.streams, self.num_classes, self.config = dict(streams), num_classes, config
        self.segments, self.adapter = segments, adapter
        self.standardizer = Standardizer(statistics, streams) if statistics is not None else None
        self.description = dict(description or {})
        self.takes_mask = "mask" in inspect.signature(adapter or anchor.forward).parameters

    def forward(self, batch: Batch, progress: Progress = PAST_EVERY_WARMUP) -> dict[str, Tensor]:
        """Every loss term of a batch, weighted, by name; their sum is what training minimises.

        Each term stops gradients on its teacher's side, so one backward updates both branches as the paper's
        two do. Terms of weight 0, or before their warm-up ends, are absent.

        Args:
            batch: streams and weak labels (B,C).
            progress: epoch and step.

        Returns: names "anchor/..." and "reference/..." -> scalar.

        Raises:
            ValueError: the batch lacks a stream, has another T than the network's fixed one, or has videos of
                unequal length that the network cannot be told about.
        """
        streams = self._inputs(batch.streams)
        anchor = self._run_anchor(streams, batch.mask)
        terms = {f"anchor/{name}": term for name, term in self._anchor_loss(anchor, batch, progress).items()}
        if self.reference is not None:
            reference: ReferenceOutput = self.reference(mask=batch.mask, **streams)
            terms |= self._reference_loss(reference, batch)
            terms |= self._collaboration(anchor, reference, batch, progress)
        return terms

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
        if mask is not None and not self.takes_mask:
            told = "its forward" if self.adapter is None else "the adapter"
            raise ValueError(
                f"the videos of this batch differ in length, but {type(self.anchor).__name__} cannot be told: "
                f"give {told} a `mask` argument ((B,T) bool, True = real), or batch videos of equal length"
            )
        kwargs = {"mask": mask} if self.takes_mask else {}
        raw = self.adapter(self.anchor, dict(streams), **kwargs) if self.adapter else self.anchor(**streams, **kwargs)
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

    def _anchor_loss(self, output: AnchorOutput, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        own = own_loss(self.anchor)
        if own is not None:
            return dict(own(output, batch, progress))
        return {"video": losses.binary_cross_entropy(output.video_probs, batch.labels)}

    def _reference_loss(self, output: ReferenceOutput, batch: Batch) -> dict[str, Tensor]:
        terms = {"reference/video": losses.modality_cross_entropy(output.modality_probs, batch.labels)}
        if output.class_probs is not None:
            terms["reference/class_tokens"] = losses.modality_cross_entropy(output.class_probs, batch.labels)
        return terms

    def _collaboration(
        self, anchor: AnchorOutput, reference: ReferenceOutput, batch: Batch, progress: Progress
    ) -> dict[str, Tensor]:
        c = self.config
        assert anchor.modality_probs is not None
        terms = {}
        if progress.epoch > c.anchor_warmup:
            if c.contrast != "none":
                terms["anchor/contrast"] = c.contrast_weight * self._contrast(anchor, reference, batch.mask)
            if c.cooccurrence_weight:
                terms["anchor/cooccurrence"] = c.cooccurrence_weight * losses.cooccurrence_distillation(
                    reference.modality_probs, anchor.modality_probs
                )
        if progress.epoch > c.reference_warmup and c.self_modality_weight:
            terms["reference/self_modality"] = c.self_modality_weight * losses.self_modality_distillation(
                anchor.modality_probs, reference.modality_probs, threshold=c.threshold
            )
        return terms

    def _contrast(self, anchor: AnchorOutput, reference: ReferenceOutput, mask: Tensor | None) -> Tensor:
        c = self.config
        assert anchor.modality_probs is not None
        if c.contrast == "bce":
            return losses.pseudo_label_cross_entropy(
                anchor.modality_probs, reference.modality_probs, threshold=c.threshold
            )
        weights = losses.event_weights(reference.modality_probs, c.threshold)
        if c.contrast == "nce":
            weights = torch.ones_like(weights)
        return losses.event_aware_contrast(
            anchor.tokens,
            reference.tokens,
            weights,
            temperature=c.temperature,
            normalize=c.normalize_tokens,
            positive_in_denominator=c.positive_in_denominator,
            mask=mask,
        )

    def save(self, directory: Path | str) -> None:
        """Write `config.yaml` (how to build the networks) and `model.safetensors` (their weights), atomically."""
        write_yaml(Path(directory) / CONFIG, self.description)
        write_tensors(Path(directory) / WEIGHTS, self.state_dict())

    @classmethod
    def load(cls, directory: Path | str, *, anchor: nn.Module | None = None, adapter: Adapter | None = None) -> CoLeaF:
        """The model that `save` or a training run wrote, on the CPU, in evaluation mode.

        Args:
            directory: holds `config.yaml` and `model.safetensors`.
            anchor: the network to fill, where the Anchor was no plugin; as it was passed to `wrap`.
            adapter: as it was passed to `wrap`.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is damaged, or the weights do not fit the networks; names both.
        """
        model = _load(cls, Path(directory), anchor, adapter, with_reference=True)
        _require_adapter(model, directory)
        return model.eval()


def load_anchor(directory: Path | str, *, anchor: nn.Module | None = None, adapter: Adapter | None = None) -> nn.Module:
    """The trained Anchor alone, on the CPU, in evaluation mode; arguments and errors as in `CoLeaF.load`.

    It takes raw streams: where the run standardised them, it comes as a `StandardizedAnchor`, which then calls
    the adapter too.
    """
    model = _load(CoLeaF, Path(directory), anchor, adapter, with_reference=False).eval()
    if model.standardizer is None:
        return model.anchor
    _require_adapter(model, directory)
    return StandardizedAnchor(model.standardizer, model.anchor, adapter).eval()


def _require_adapter(model: CoLeaF, directory: Path | str) -> None:
    if model.description["model"].get("adapter") and model.adapter is None:
        raise ValueError(f"{directory}: its Anchor was wrapped with an adapter: pass adapter=<that function>")


def _load(
    cls: type[CoLeaF],
    directory: Path,
    anchor: nn.Module | None,
    adapter: Adapter | None,
    *,
    with_reference: bool,
) -> CoLeaF:
    described = read_yaml(directory / CONFIG)
    tensors = read_tensors(directory / WEIGHTS)
    try:
        about, made_of = described["model"], described["anchor"]
        segments = about.get("segments")
        streams = {name: StreamSpec(**spec) for name, spec in about["streams"].items()}
        shape = {"streams": streams, "num_classes": about["num_classes"]}
        reference_spec = described["reference"]
        config = CoLeaFConfig(**described["coleaf"])
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        raise ValueError(f"{directory / CONFIG}: not the description of a model: {problem!r}") from problem
    if anchor is None and made_of.get("name") is None:
        raise ValueError(
            f"{directory}: its Anchor is {about.get('anchor_class')}, not a plugin: pass anchor=<that network>"
        )
    if anchor is None:
        anchor = create_anchor(made_of["name"], **shape, **made_of.get("options", {}))
    reference = None
    if not with_reference:
        tensors = {name: x for name, x in tensors.items() if not name.startswith("reference.")}
    elif config.enabled:
        reference = create_reference(
            reference_spec["name"], **shape, width=about["width"], **reference_spec.get("options", {})
        )
    prefix = "standardizer."
    statistics = {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
    model = cls(
        anchor,
        reference,
        config=config,
        segments=segments,
        adapter=adapter,
        statistics=statistics or None,
        description=described,
        **shape,
    )
    _fill(model, tensors, directory / WEIGHTS)
    return model


def _fill(model: CoLeaF, tensors: Mapping[str, Tensor], source: Path) -> None:
    own = model.state_dict()
    problems = [f"{name} is missing" for name in own.keys() - tensors.keys()]
    problems += [f"{name} is unknown" for name in tensors.keys() - own.keys()]
    problems += [
        f"{name} is {tuple(tensors[name].shape)}, the network's {tuple(own[name].shape)}"
        for name in own.keys() & tensors.keys()
        if own[name].shape != tensors[name].shape
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:5]) + ("; ..." if len(problems) > 5 else "")
        raise ValueError(
            f"{source} does not fit {type(model.anchor).__name__} with {model.num_classes} classes: "
            f"{len(problems)} of {len(own)} tensors differ: {shown}"
        )
    model.load_state_dict(dict(tensors))
