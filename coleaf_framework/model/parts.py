"""The networks of a saved model, built and checked from its folder. Shape letters: see `protocol.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from coleaf_framework._config import WrongTypeError, reason, shown
from coleaf_framework.adapters import Adapter, Declaration
from coleaf_framework.collaboration import LabelLoss, RawLoss
from coleaf_framework.model.given_loss import recorded_loss
from coleaf_framework.plugins import create_anchor, create_reference
from coleaf_framework.protocol import StreamSpec
from coleaf_framework.record.run_record import RunRecord, read_record
from coleaf_framework.storage import CONFIG, WEIGHTS, read_tensors


@dataclass(frozen=True)
class SavedParts:
    """Parts of a saved model: the arguments of `CoLeaF`, and the weights to load into it.

    Args:
        anchor: with fresh weights, or the one that was given.
        reference: with fresh weights; None if not asked for, or if the Anchor was trained alone.
        arguments: the other arguments of `CoLeaF`.
        tensors: name -> weights.
        source: the file of the weights.
    """

    anchor: nn.Module
    reference: nn.Module | None
    arguments: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    source: Path

    def fill(self, model: nn.Module) -> None:
        """Load the weights into the model made of these parts.

        Raises:
            ValueError: they do not fit it, or parameters are to be frozen that it lacks; names the file and up to five
                tensors.
        """
        own, tensors = model.state_dict(), self.tensors
        problems = [f"{name} is missing" for name in own.keys() - tensors.keys()]
        problems += [f"{name} is unknown" for name in tensors.keys() - own.keys()]
        problems += [
            f"{name} is {tuple(tensors[name].shape)}, the network's {tuple(own[name].shape)}"
            for name in own.keys() & tensors.keys()
            if own[name].shape != tensors[name].shape
        ]
        problems += [
            f"{name} is {tensors[name].dtype}, the network's {own[name].dtype}"
            for name in own.keys() & tensors.keys()
            if own[name].is_floating_point() != tensors[name].is_floating_point()
        ]
        if problems:
            first = "; ".join(sorted(problems)[:5]) + ("; ..." if len(problems) > 5 else "")
            raise ValueError(
                f"{self.source} does not fit {type(self.anchor).__name__} with {self.arguments['num_classes']} "
                f"classes: {len(problems)} of {len(own)} tensors differ: {first}"
            )
        model.load_state_dict(dict(tensors))
        if unknown := set(self.arguments["frozen"]) - {name for name, _ in self.anchor.named_parameters()}:
            file = self.source.with_name(CONFIG)
            raise ValueError(f"{file}: model.frozen names {min(unknown)!r}, which is no parameter of the Anchor")


def read_parts(
    directory: Path,
    *,
    anchor: nn.Module | None = None,
    adapter: Adapter | None = None,
    loss: RawLoss | None = None,
    with_reference: bool = True,
    trust: bool = False,
) -> SavedParts:
    """Read a folder that `CoLeaF.save` or a training run wrote, and build its networks.

    Args:
        directory: the folder.
        anchor: the network to fill, where the Anchor was no plugin.
        adapter: as it was passed to `wrap`.
        loss: as it was passed to `wrap`.
        with_reference: whether the Reference is wanted too.
        trust: whether code that the folder names and that is no plugin may be imported.

    Returns:
        Networks with fresh weights, the arguments of `CoLeaF`, and the saved weights, with which `fill` fills it.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or code is not trusted; names the folder.
    """
    source = directory / CONFIG
    record = read_record(directory)
    tensors = read_tensors(directory / WEIGHTS)
    about = record.model
    streams = {name: entry.spec for name, entry in about.streams.items()}
    if anchor is not None and not isinstance(anchor, nn.Module):
        raise WrongTypeError(f"anchor is {shown(anchor)}, where the network itself was expected")
    if adapter is not None and not callable(adapter):
        raise WrongTypeError(f"adapter is {shown(adapter)}, where a function (network, streams) was expected")
    with_reference = with_reference and record.coleaf.enabled
    _require_known_code(directory, record, needs_anchor=anchor is None, needs_reference=with_reference, trust=trust)
    anchor, reference = _networks(source, record, streams, anchor, with_reference=with_reference)
    if reference is None:
        tensors = {name: x for name, x in tensors.items() if not name.startswith(("reference.", "teacher."))}
    prefix = "standardizer."
    statistics = {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
    arguments = {
        "streams": streams,
        "num_classes": about.num_classes,
        "config": record.coleaf,
        "segments": about.segments,
        "adapter": adapter or _declared(source, about.adapter, streams, trust=trust),
        "statistics": statistics or None,
        "record": record,
        "frozen": tuple(about.frozen),
        "changes_inputs": about.changes_inputs,
        "label_loss": LabelLoss(_loss(source, record, loss, trust=trust), about.default_loss),
    }
    return SavedParts(anchor, reference, arguments, tensors, directory / WEIGHTS)


def _loss(source: Path, record: RunRecord, given: RawLoss | None, *, trust: bool) -> RawLoss | None:
    """The loss that the Anchor was wrapped with: as given, or imported by its recorded name."""
    if given is None:
        return recorded_loss(source, record.model.loss, trust=trust)
    if record.model.loss is False:
        raise ValueError(f"{source}: its Anchor was wrapped without a loss: leave out loss=...")
    return given


def _require_known_code(
    directory: Path, record: RunRecord, *, needs_anchor: bool, needs_reference: bool, trust: bool
) -> None:
    if needs_anchor and record.anchor.name is None:
        made = str(record.model.anchor_class)
        local = made.startswith("__main__:") or "<locals>" in made
        why = "a class of a script or of a function, which cannot be imported" if local else "not a plugin"
        raise ValueError(
            f"{directory}: its Anchor is {made}, {why}: pass anchor=<that network>, or on the command line --anchor "
            "with a declaration file (wrap.yaml) that says how it is made"
        )
    for what, name, needed in (
        ("Anchor", record.anchor.name, needs_anchor),
        ("Reference", record.reference.name, needs_reference),
    ):
        if needed and not trust and ":" in str(name):
            raise ValueError(
                f"{directory}: its {what} is {name!r}, code that is no plugin and would be imported: pass --trust, or "
                "from Python trust=True, if you know it"
            )


def _networks(
    source: Path,
    record: RunRecord,
    streams: Mapping[str, StreamSpec],
    anchor: nn.Module | None,
    *,
    with_reference: bool,
) -> tuple[nn.Module, nn.Module | None]:
    shape: dict[str, Any] = {"streams": streams, "num_classes": record.model.num_classes}
    reference = None
    try:
        if anchor is None:
            anchor = create_anchor(str(record.anchor.name), **(shape | record.anchor.options))
        if with_reference:
            options = record.reference.options | shape | {"width": record.model.width}
            reference = create_reference(str(record.reference.name), **options)
    except (ValueError, ImportError) as problem:
        raise ValueError(f"{source}: {problem}") from problem
    return anchor, reference


def _declared(source: Path, adapter: Any, streams: Mapping[str, StreamSpec], *, trust: bool) -> Adapter | None:
    """The declaration that a folder describes; None where it describes none, or has an adapter that is not trusted."""
    if not isinstance(adapter, Mapping) or (adapter.get("adapter") is not None and not trust):
        return None
    try:
        return Declaration.from_dict(adapter, streams, trust=trust)
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise ValueError(f"{source}: model.adapter is no declaration: {reason(problem)}") from problem
