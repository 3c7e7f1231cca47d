"""The trained Anchor of a run folder, alone."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from coleaf_framework.adapters import Adapter
from coleaf_framework.model.coleaf import CoLeaF
from coleaf_framework.model.parts import read_parts
from coleaf_framework.model.recorded import require_adapter
from coleaf_framework.model.standardize import StandardizedAnchor
from coleaf_framework.record.hub import find_run


def load_anchor(
    directory: Path | str, *, anchor: nn.Module | None = None, adapter: Adapter | None = None, trust: bool = False
) -> nn.Module:
    """The trained Anchor alone, on the CPU, in evaluation mode; arguments and errors as in `CoLeaF.load`.

    Instead of a folder, "user/name" or "user/name@revision" names a repository of the Hugging Face Hub, which is then
    fetched; see `record.hub.find_run`, also for the errors.

    It takes raw streams: where the run standardised them, it comes as a `StandardizedAnchor`, which then calls
    the adapter too.

    Args:
        directory: the run folder, or the repository.
        anchor: the network to fill, where a network was passed to `wrap`, or a class that cannot be imported.
        adapter: as it was passed to `wrap`.
        trust: whether code that the folder names and that is no plugin, "module:Class", may be imported.

    Returns:
        The network, with its own outputs; where its streams are standardised, with the standardisation in front, and
        returning an `AnchorOutput`.
    """
    directory = find_run(directory).folder
    parts = read_parts(directory, anchor=anchor, adapter=adapter, with_reference=False, trust=trust)
    model = CoLeaF(parts.anchor, None, **parts.arguments).eval()
    parts.fill(model)
    model.strip()
    if model.standardizer is None:
        return model.anchor
    require_adapter(model, directory)
    return StandardizedAnchor(model.standardizer, model.anchor, model.adapter).eval()
