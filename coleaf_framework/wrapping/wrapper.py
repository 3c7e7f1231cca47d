"""`wrap`: make a CoLeaF model from a network, its class or a plugin's name. Shape letters: see `protocol.py`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Literal

from torch import Tensor, nn

from coleaf_framework._config import is_plain, without_namespaces
from coleaf_framework.adapters import (
    Adapter,
    Declaration,
    DeclarationFile,
    Inputs,
    Out,
    Path,
    Tap,
    WrapArguments,
    is_declaration_file,
    read_declaration,
    takes_mask,
)
from coleaf_framework.collaboration import CoLeaFConfig, LabelLoss, RawLoss, supervised_outputs
from coleaf_framework.data.store import StreamEntry
from coleaf_framework.model.coleaf import CoLeaF
from coleaf_framework.model.freezing import unfreeze
from coleaf_framework.model.given_loss import named
from coleaf_framework.plugins import create_reference, importable_name
from coleaf_framework.protocol import StreamSpec
from coleaf_framework.record.run_record import AnchorEntry, ModelEntry, PluginEntry, RunRecord
from coleaf_framework.wrapping.dry_run import DryRun, dry_run
from coleaf_framework.wrapping.making import (
    declared,
    declared_segments,
    make_network,
    plain_options,
    require_classes,
    require_shape,
    require_types,
)
from coleaf_framework.wrapping.measuring import checked_signal, runner, still_dead
from coleaf_framework.wrapping.summary import summarize

logger = logging.getLogger(__name__)


def wrap(
    network: nn.Module | Callable[..., nn.Module] | str | DeclarationFile,
    *,
    adapter: Adapter | None = None,
    outputs: Mapping[str, Out | Path | tuple[Path, Path]] | None = None,
    tokens: Tap | tuple[Tap, Tap] | Out | Path | tuple[Path, Path] | None = None,
    inputs: Inputs | None = None,
    follow_device: bool = False,
    streams: Mapping[str, StreamSpec] | None = None,
    num_classes: int | None = None,
    segments: int | None = None,
    reference: str = "class_token",
    config: CoLeaFConfig | None = None,
    statistics: Mapping[str, Tensor] | None = None,
    anchor_options: Mapping[str, Any] | None = None,
    reference_options: Mapping[str, Any] | None = None,
    loss: RawLoss | None = None,
    dead_parameters: Literal["freeze", "error", "ignore"] = "freeze",
) -> CoLeaF:
    """Put a network into CoLeaF, after a dry run that checks it.

    Args:
        network: a network that returns an `AnchorOutput` or a mapping with its fields; its class, which is constructed
            with `anchor_options` and, if it takes them, `streams` and `num_classes`; a function that makes it from the
            same arguments; the name of an Anchor plugin; or a declaration file (see `read_declaration`) or its path,
            whose arguments then must not be given here too.
        adapter: `(network, streams) -> AnchorOutput`, for a network that returns something else. With a further
            parameter `mask` it supports videos of unequal length. It may return no tokens if `tokens` is a `Tap`.
        outputs: where the probabilities are in the network's outputs, instead of an adapter; see `Declaration` and
            docs/wrapping.md. Not needed for fields that the network returns by their own names.
        tokens: where the tokens are in the network's outputs, or a `Tap`; see `Declaration`.
        inputs: which stream each argument of the network gets; see `Declaration`.
        follow_device: redirect hard-coded "cuda" devices to the device of the inputs; see `Declaration`.
        streams: input streams; with None, the network's attribute `streams`.
        num_classes: number of classes, C; with None, the network's attribute `num_classes`. It may differ from that
            attribute if `outputs` or an adapter says where the C classes are.
        segments: number of segments, T, for a network that works for one T only; with None, the network's attribute
            `fixed_segments` if it has one.
        reference: name of a Reference plugin; its width is the Anchor's token width, read in the dry run.
        config: the loss terms; with None, those of the paper.
        statistics: stream -> (2, width), mean and standard deviation from `dataset.statistics()`, to standardise the
            streams; with None they are used as they are.
        anchor_options: further arguments of the network's constructor; may hold an `argparse.Namespace`.
        reference_options: further arguments of the Reference's constructor.
        loss: `(raw, batch)` or `(raw, batch, progress)` -> a scalar, or named ones, each a mean over videos; it
            replaces the network's own loss. `raw` is what the network itself returns, before a declaration or adapter.
        dead_parameters: what to do with parameters that get no gradient from any loss in any epoch, which make plain
            DistributedDataParallel fail: "freeze" (until `model.strip()`; they are logged and listed in
            `model.frozen`), "error" or "ignore".

    Returns:
        A `CoLeaF` model whose `anchor` is the network itself.

    Raises:
        ValueError, TypeError: an argument is missing or invalid, or the network fails a check of the dry run.

    Example:
        >>> import torch
        >>> class Net(nn.Module):  # returns (segment probabilities, tokens)
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.audio, self.visual, self.fc = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        ...
        ...     def forward(self, audio, visual):
        ...         a, v = self.audio(audio), self.visual(visual)
        ...         tokens = torch.stack([a + 0.1 * v, v + 0.1 * a], dim=2)
        ...         return self.fc(tokens).sigmoid(), tokens
        >>> net = Net()
        >>> model = wrap(
        ...     net,
        ...     outputs={"segment_probs": 0, "modality_probs": "derive", "video_probs": "derive"},
        ...     tokens=1,
        ...     streams={"audio": StreamSpec(6, "audio"), "visual": StreamSpec(8, "visual")},
        ...     num_classes=3,
        ... )
        >>> model.anchor is net
        True
    """
    if isinstance(network, DeclarationFile) or is_declaration_file(network):
        file = network if isinstance(network, DeclarationFile) else read_declaration(str(network))
        given: dict[str, Any] = {
            "adapter": adapter,
            "outputs": outputs,
            "tokens": tokens,
            "inputs": inputs,
            "segments": segments,
            "loss": loss,
        }
        given |= {"follow_device": follow_device, "streams": streams, "num_classes": num_classes}
        return wrap(
            file.network,
            **file.fitted(given, "the declaration file" if file is network else network),
            reference=reference,
            config=config,
            statistics=statistics,
            anchor_options={**file.arguments, **plain_options("anchor_options", anchor_options)},
            reference_options=reference_options,
            dead_parameters=dead_parameters,
        )
    config = config if config is not None else CoLeaFConfig()
    require_types(config, adapter, reference, loss)
    shape = {"streams": streams, "num_classes": num_classes}
    set_elsewhere = [key for key, value in shape.items() if value is not None and _is_plugin(network)]
    options = plain_options("anchor_options", anchor_options, set_elsewhere)
    reference_options = plain_options("reference_options", reference_options, ("streams", "num_classes", "width"))
    if num_classes is not None:
        require_classes("num_classes", num_classes)
    anchor = make_network(network, streams, num_classes, options)
    name = type(anchor).__name__
    streams = declared(anchor, name, "streams", streams)
    says_where = outputs is not None or adapter is not None
    num_classes = declared(anchor, name, "num_classes", num_classes, given_wins=says_where)
    require_shape(name, streams, num_classes)
    num_classes, given_segments = int(num_classes), segments
    segments = declared_segments(anchor, name, segments)

    if outputs is not None or tokens is not None or inputs is not None or follow_device:
        adapter = Declaration(outputs, tokens, inputs, streams=streams, follow_device=follow_device, adapter=adapter)

    run = runner(adapter)
    unfreeze(anchor)
    label_loss = LabelLoss(loss)
    checked = dry_run(
        anchor,
        run,
        streams,
        num_classes,
        segments,
        takes_mask(anchor, adapter),
        uses_custom_loss=config.anchor_loss != "video",
        uses_labels=config.enabled and config.labels == "refined",
        supervised=supervised_outputs(config, anchor, label_loss),
        label_loss=label_loss,
        teaches=config.enabled,
    )
    measured = run, streams, num_classes, segments, config, label_loss
    checks = checked_signal(anchor, *measured, dead=checked.dead, on_original=checked.on_original)
    found = checks.found
    dead = still_dead(checked.dead, found, supervised_outputs(config, anchor, found.label_loss))
    checks.run_on_dead(dead)
    frozen = _dead_to_freeze(anchor, dead, dead_parameters)
    shared = {"streams": streams, "num_classes": num_classes}
    branch = create_reference(reference, width=checked.width, **shared, **reference_options) if config.enabled else None
    record = RunRecord(
        anchor=_anchor_entry(network, options, adapter, streams, given_segments, named(loss)),
        reference=PluginEntry(name=reference, options=without_namespaces(reference_options)),
        coleaf=config,
        model=_model_entry(anchor, streams, num_classes, segments, adapter, checked, frozen, found.label_loss),
    )
    return CoLeaF(
        anchor,
        branch,
        streams=streams,
        num_classes=num_classes,
        config=config,
        segments=segments,
        adapter=adapter,
        statistics=statistics,
        record=record,
        frozen=frozen,
        changes_inputs=checked.changes_inputs,
        label_loss=found.label_loss,
        signal=found.table(anchor),
    )


def _is_plugin(network: object) -> bool:
    """Whether a network is given by a plugin's name; one's own code may count other classes than the data's."""
    return isinstance(network, str) and ":" not in network


def _anchor_entry(
    network: Any,
    options: dict[str, Any],
    adapter: Adapter | None,
    streams: Mapping[str, StreamSpec],
    segments: int | None,
    loss: bool | str,
) -> AnchorEntry:
    """What a run records to construct the network again; empty for an instance, or if nothing can be imported."""
    name = network if isinstance(network, str) else None if isinstance(network, nn.Module) else importable_name(network)
    options, declaration = without_namespaces(options), _plain_declaration(adapter, streams)
    whole = is_plain(options) and loss is not True and (adapter is None or declaration is not None)
    if name is None or not (whole or isinstance(network, str)):
        return AnchorEntry()
    content = dict(declaration or {}) | ({} if segments is None else {"segments": segments})
    content |= {"loss": loss} if loss else {}
    return AnchorEntry(name=name, options=options, declaration=WrapArguments(**content) if content else None)


def _plain_declaration(adapter: Adapter | None, streams: Mapping[str, StreamSpec]) -> dict[str, Any] | None:
    """An adapter or declaration as plain values; None where there is none, or no file can hold it."""
    if adapter is None:
        return None
    declared = (
        adapter if isinstance(adapter, Declaration) else Declaration(None, None, streams=streams, adapter=adapter)
    )
    return declared.to_dict()


def _model_entry(
    anchor: nn.Module,
    streams: Mapping[str, StreamSpec],
    num_classes: int,
    segments: int | None,
    adapter: Adapter | None,
    checked: DryRun,
    frozen: tuple[str, ...],
    label_loss: LabelLoss,
) -> ModelEntry:
    declaration = _plain_declaration(adapter, streams)
    return ModelEntry(
        anchor_class=f"{type(anchor).__module__}:{type(anchor).__qualname__}",
        streams={stream: StreamEntry(**asdict(spec)) for stream, spec in streams.items()},
        num_classes=num_classes,
        width=checked.width,
        segments=segments,
        adapter=declaration if declaration is not None else adapter is not None,
        frozen=list(frozen),
        changes_inputs=checked.changes_inputs,
        loss=named(label_loss.raw),
        default_loss=label_loss.default,
    )


def _dead_to_freeze(anchor: nn.Module, dead: tuple[str, ...], how: str) -> tuple[str, ...]:
    if how not in ("freeze", "error", "ignore"):
        raise ValueError(f"dead_parameters={how!r} is neither 'freeze' nor 'error' nor 'ignore'")
    if not dead or how == "ignore":
        return ()
    parameters = dict(anchor.named_parameters())
    what = f"{len(dead)} of its {len(parameters)} parameters receive no gradient: {summarize(anchor, dead)}"
    if how == "error":
        raise ValueError(f"{type(anchor).__name__}: {what}: remove or freeze them, or pass dead_parameters='freeze'")
    logger.warning("%s: %s; they are frozen", type(anchor).__name__, what)
    return dead
