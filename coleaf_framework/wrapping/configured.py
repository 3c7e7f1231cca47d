"""`wrap` with the arguments of a run's configuration. Shape letters: see `protocol.py`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from coleaf_framework.adapters import WrapArguments, is_declaration_file
from coleaf_framework.model.coleaf import CoLeaF, require_record
from coleaf_framework.protocol import StreamSpec
from coleaf_framework.record.config import RunConfig
from coleaf_framework.record.run_record import AnchorEntry
from coleaf_framework.wrapping.wrapper import wrap


def wrap_configured(
    config: RunConfig,
    streams: Mapping[str, StreamSpec],
    num_classes: int,
    statistics: Mapping[str, Tensor] | None = None,
) -> CoLeaF:
    """The model of a configuration, with fresh weights.

    Args:
        config: the Anchor, its declaration if it has one, the Reference and the loss terms.
        streams: of the data; a declaration may name some of them.
        num_classes: number of classes, C.
        statistics: as for `wrap`.

    Returns:
        Model with fresh weights and a record of how it was made.

    Raises:
        ValueError: the Anchor has no name, or its declaration does not fit the data; or as `wrap` does.
    """
    anchor = config.anchor
    if anchor.name is None:
        raise ValueError("anchor.name: a run with a network of your own is trained from Python, by CoLeaFTrainer")
    given = {"streams": streams, "num_classes": num_classes}
    model = wrap(
        anchor.name,
        **(anchor.declaration or WrapArguments()).fitted(given, f"the declaration of {anchor.name}"),
        reference=config.reference.name,
        config=config.coleaf,
        statistics=statistics,
        anchor_options=anchor.options,
        reference_options=config.reference.options,
    )
    if not is_declaration_file(anchor.name):
        entry = AnchorEntry(name=anchor.name, options=anchor.options, declaration=anchor.declaration)
        model.record = require_record(model).changed(anchor=entry)
    return model
