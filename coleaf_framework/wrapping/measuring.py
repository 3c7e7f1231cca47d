"""`training_signal`: which loss term trains which submodule of an Anchor, checked as `wrap` checks it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from coleaf_framework.adapters import Adapter, Declaration, call_anchor
from coleaf_framework.collaboration import VIDEO_ALONE, CoLeaFConfig, LabelLoss, RawLoss
from coleaf_framework.model.coleaf import CoLeaF
from coleaf_framework.model.freezing import freeze, unfreeze
from coleaf_framework.model.signal import TrainingSignal
from coleaf_framework.protocol import StreamSpec
from coleaf_framework.wrapping.checks import Run
from coleaf_framework.wrapping.making import declared, declared_segments
from coleaf_framework.wrapping.measured import Measured
from coleaf_framework.wrapping.measurement import measure
from coleaf_framework.wrapping.reach import readers_of_mixed_segments
from coleaf_framework.wrapping.signal_checks import SignalChecks, log_default


def training_signal(
    network: nn.Module,
    adapter: Adapter | None = None,
    *,
    streams: Mapping[str, StreamSpec] | None = None,
    num_classes: int | None = None,
    segments: int | None = None,
    config: CoLeaFConfig | None = None,
    loss: RawLoss | None = None,
) -> TrainingSignal:
    """Measure which loss term trains which submodule, on synthetic batches and a copy of the network.

    Args:
        network: an Anchor that passes the dry run; or a `CoLeaF` model, such as a loaded one, which needs nothing else.
        adapter: its adapter or `Declaration`, as for `wrap`.
        streams: as for `wrap`.
        num_classes: as for `wrap`.
        segments: as for `wrap`.
        config: as for `wrap`.
        loss: as for `wrap`.

    Returns:
        A table, to be printed.

    Raises:
        ValueError: a loss term does not reach what it should, as `wrap` says it.
    """
    if isinstance(network, CoLeaF):
        return _signal_of_model(network)
    name = type(network).__name__
    specs, classes = declared(network, name, "streams", streams), declared(network, name, "num_classes", num_classes)
    segments = declared_segments(network, name, segments)
    config = config if config is not None else CoLeaFConfig()
    checks = checked_signal(network, runner(adapter), specs, int(classes), segments, config, LabelLoss(loss))
    return checks.found.table(network)


def _signal_of_model(model: CoLeaF) -> TrainingSignal:
    anchor, frozen = model.anchor, model.frozen
    unfreeze(anchor, frozen)
    try:
        run = runner(model.adapter)
        shape = run, model.streams, model.num_classes, model.segments
        found = measure(anchor, *shape, model.config, model.label_loss, decide=False)
    finally:
        freeze(anchor, frozen)
    return found.table(anchor)


def runner(adapter: Adapter | None) -> Run:
    """How the dry run calls a network: a declaration as it is, or `call_anchor` with the adapter."""
    if isinstance(adapter, Declaration):
        return adapter

    def run(network: nn.Module, streams: Mapping[str, Tensor], mask: Tensor | None) -> object:
        return call_anchor(network, adapter, streams, mask)

    return run


def checked_signal(
    anchor: nn.Module,
    run: Run,
    streams: Mapping[str, StreamSpec],
    num_classes: int,
    segments: int | None,
    config: CoLeaFConfig,
    label_loss: LabelLoss = VIDEO_ALONE,
    *,
    dead: tuple[str, ...] = (),
    on_original: bool = False,
) -> SignalChecks:
    """Measure a network and check what was found; see `measurement.measure`.

    Args:
        anchor: the Anchor.
        run: `(network, streams, mask) -> raw outputs`.
        streams: its input streams.
        num_classes: number of classes, C.
        segments: number of segments, T, where it has a fixed one.
        config: the loss terms.
        label_loss: has the loss that `wrap` was given.
        dead: parameters that no loss reaches; which outputs of the network depend on them is measured.
        on_original: run the network itself and restore it, since no copy can stand for it.

    Returns:
        The checks, which have passed, and the measurement. `run_on_dead` is left to the caller, who knows the
        parameters to freeze only later.

    Raises:
        ValueError: a loss term does not reach what it should.
    """

    def mixing(among: set[str]) -> tuple[bool, str | None]:
        how = {"on_original": on_original}
        return readers_of_mixed_segments(anchor, run, streams, num_classes, segments or 10, among, **how)

    given = run, streams, num_classes, segments, config, label_loss
    found = measure(anchor, *given, dead=dead, on_original=on_original)
    checks = SignalChecks(anchor, config, found, mixing)
    checks.run()
    log_default(anchor, found)
    return checks


def still_dead(dead: tuple[str, ...], found: Measured, supervised: tuple[str, ...]) -> tuple[str, ...]:
    """The parameters that the dry run found dead and that the supervised outputs do not depend on either.

    The default loss is decided after the dry run, and may read more than it knew of.

    Args:
        dead: names of the parameters that the dry run found dead.
        found: what was measured since.
        supervised: fields of the output that losses read.

    Returns:
        Names, in the order of `dead`.
    """
    read = set().union(*(found.fields[field] for field in supervised))
    return tuple(name for name in dead if name not in read)
