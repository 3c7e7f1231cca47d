"""Data sets, model and trainer from a configuration; a trainer again from a run folder."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from coleaf_framework.adapters import Declaration, DeclarationFile, is_declaration_file, read_declaration
from coleaf_framework.data import AveragedFrames, AVVPDataset, SyntheticLLP, open_folder
from coleaf_framework.data.dataset import digests_of
from coleaf_framework.data.labels import WithPseudoLabels
from coleaf_framework.data.opening import SPLITS, has_own_streams, splits_of
from coleaf_framework.model.coleaf import CoLeaF, require_record
from coleaf_framework.plugins import create_anchor, find_plugin, import_function, loaded_function
from coleaf_framework.record.config import DataConfig, RunConfig
from coleaf_framework.record.provenance import MadeOf, data_changes, made_of
from coleaf_framework.record.run_record import RunRecord, read_record
from coleaf_framework.storage import CONFIG
from coleaf_framework.training.device import choose_device, seed_everything
from coleaf_framework.training.distributed import DistributedContext
from coleaf_framework.training.graphs import require_graphs
from coleaf_framework.training.run_folder import OnExisting
from coleaf_framework.training.trainer import CoLeaFTrainer
from coleaf_framework.wrapping import wrap_configured

# What scoring a trained run reads; any other setting would silently change nothing.
_AFTER_TRAINING = (
    "data.root",
    "data.synthetic_test",
    "data.synthetic_val",
    "data.synthetic_seed",
    "data.cache",
    "data.average_frames",
    "data.streams",
    "data.skip_incomplete",
    "decision.segment_threshold",
    "decision.gate",
    "decision.gate_threshold",
    "decision.classes",
    "trainer.device",
    "trainer.batch_size",
    "trainer.workers",
    "trainer.precision",
)


def open_split(config: DataConfig, split: str, classes: Sequence[str] | None = None) -> AVVPDataset:
    """One split of a run's data: synthetic LLP without a root, LLP or a folder in its layout with one.

    Args:
        config: which data.
        split: "train", "val" or "test".
        classes: those of the model that will answer for a folder of videos without annotations.

    Raises:
        FileNotFoundError, ValueError: as `AVVPFolder` does.
    """
    if config.root is None:
        sizes = {"train": config.synthetic_train, "val": config.synthetic_val, "test": config.synthetic_test}
        data: AVVPDataset = SyntheticLLP(split, sizes.get(split), config.synthetic_seed)
    else:
        data = open_folder(
            config.root, split, streams=config.streams, skip_incomplete=config.skip_incomplete, classes=classes
        )
    return AveragedFrames(data) if config.average_frames else data


def open_training_split(config: RunConfig) -> AVVPDataset:
    """The training split of a run, with its pseudo-labels if it has any.

    Raises:
        FileNotFoundError, ValueError: as `open_split` and `WithPseudoLabels` do.
    """
    data = open_split(config.data, "train")
    return WithPseudoLabels(data, config.labels) if config.labels.sources else data


def has_split(config: DataConfig, split: str) -> bool:
    """Whether the data has videos of `split`; a broken split raises, a missing file does not."""
    if config.root is None:
        return True
    return split in splits_of(config.root)


def train(
    config: RunConfig,
    out: Path,
    on_existing: OnExisting = "refuse",
    *,
    quiet: bool = False,
    profile: bool = False,
    accept_changes: bool = False,
    group: str | None = None,
) -> CoLeaFTrainer:
    """Train as configured into the folder `out`; returns the trainer, its model with the best weights.

    Under torchrun every process calls this. Arguments as in `CoLeaFTrainer`.

    Raises:
        ValueError: the Anchor is no plugin; or as `wrap`, `AVVPFolder` and `CoLeaFTrainer.fit` do.
    """
    if config.trainer.cuda_graphs:  # before data are read, which may take minutes
        require_graphs(choose_device(config.trainer.device), DistributedContext.join().size)
    data = open_training_split(config)
    val = open_split(config.data, "val") if has_split(config.data, "val") else None
    statistics = _statistics(data) if config.data.standardize else None
    seed_everything(config.trainer.seed)
    model = build_model(config, data, statistics)
    absolute = config.with_absolute_root()
    labels = absolute.labels if absolute.labels.sources else None
    model.record = require_record(model).changed(recipe=config.recipe, data=absolute.data, labels=labels)
    trainer = CoLeaFTrainer(
        model,
        config.trainer,
        decision=config.decision,
        out=out,
        on_existing=on_existing,
        cache=config.data.cache,
        quiet=quiet,
        profile=profile,
        accept_changes=accept_changes,
        group=group,
    )
    test = None
    with contextlib.suppress(ValueError, OSError):  # a broken test split is an error when it is scored, not here
        test = open_split(config.data, "test") if has_split(config.data, "test") else None
    trainer.fit(data, val, test=test)
    return trainer


def run_made_of(config: RunConfig) -> MadeOf:
    """The current code and data of a configuration whose Anchor has a name; see `provenance.made_of`.

    Raises:
        ValueError, ImportError, OSError: as `open_split` and `plugins.find_plugin` do.
    """
    anchor = find_plugin("anchor", str(config.anchor.name))
    reference = find_plugin("reference", config.reference.name) if config.coleaf.enabled else None
    if not all(inspect.isclass(maker) for maker in (anchor, reference) if maker is not None):
        model = build_model(config, open_split(config.data, "train"))  # a function says nothing of what it makes
        anchor, reference = model.anchor, model.reference
    opened = [
        open_training_split(config) if split == "train" else open_split(config.data, split)
        for split in SPLITS
        if has_split(config.data, split)
    ]
    functions: dict[str, object | None] = {"maker": loaded_function(str(config.anchor.name))}
    declared = config.anchor.declaration
    for what in ("adapter", "loss"):
        name = getattr(declared, what, None)
        functions[what] = import_function(name, what) if name is not None else None
    return made_of(anchor, reference, opened, functions)


def build_model(config: RunConfig, data: AVVPDataset, statistics: Mapping[str, Tensor] | None = None) -> CoLeaF:
    """The model of a configuration, for the streams and classes of a split, with fresh weights.

    Raises:
        ValueError: as `wrap_configured` does.
    """
    return wrap_configured(config, data.streams, len(data.classes), statistics)


def _statistics(data: AVVPDataset) -> dict[str, Tensor]:
    """Mean and deviation of the training split; rank 0 reads it and broadcasts them."""
    distributed = DistributedContext.join()
    if distributed.first:
        statistics = data.statistics()
    else:
        statistics = {name: torch.empty(2, spec.width) for name, spec in data.streams.items()}
    distributed.from_first(statistics.values())
    return statistics


def data_of(run: Path, config: RunConfig, root: Path | None) -> DataConfig:
    """The data to score a run on: `root` if given, else the data that it was trained on.

    Raises:
        ValueError: the run was trained from Python, on data that only its author knows; or its folder of data is
            relative to a folder that is not known any more.
    """
    if root is not None:
        own = {"streams": None} if has_own_streams(root) else {}
        return config.data.model_copy(update={"root": str(root), **own})
    if read_record(run).data is None:
        raise ValueError(f"{run}: was trained from Python or imported, so its config.yaml names no data: pass --data")
    if config.data.root is not None and not Path(config.data.root).is_absolute():
        raise ValueError(
            f"{run}: its data.root is {config.data.root!r}, and relative to which folder is not known any more: pass "
            "--data"
        )
    return config.data


Digests = dict[tuple[str | None, str], dict[str, str]]
"""Root and split -> digests, as a command has taken them."""


def caveats_of_data(run: Path, scored: DataConfig, known: Digests | None = None) -> list[str]:
    """Caveats of scoring a run on other data than it was trained on.

    Splits that either lacks are ignored.

    Args:
        run: its folder.
        scored: the data.
        known: grows by what is taken here, for runs that are scored on the same.

    Raises:
        FileNotFoundError, ValueError: the run's config.yaml cannot be read.
    """
    record = read_record(run)
    before = record.made_of.data if record.made_of is not None else {}
    root = record.data.root if record.data is not None else None
    known = {} if known is None else known
    for split in before:
        if (scored.root, split) not in known:
            known[scored.root, split] = _digests(scored, split)
    now = {split: found for split in before if (found := known[scored.root, split])}
    if not (changed := data_changes(before, now)):
        return []
    moved = scored.root is None or root != Path(scored.root).resolve().as_posix()
    where = f"{scored.root or 'synthetic LLP'}, not {root or 'what it was trained on'}" if moved else "others now"
    return [f"its data are {where}: {'; '.join(changed)}"]


def _digests(data: DataConfig, split: str) -> dict[str, str]:
    """Digests of a split; empty if it cannot be opened, since only the scored split must be valid."""
    with contextlib.suppress(ValueError, OSError):
        return digests_of(open_split(data, split))
    return {}


def _require_declared_so(source: Path, file: DeclarationFile, record: RunRecord) -> None:
    """Check that a declaration file declares the outputs as the run's record does, where the record has them."""
    recorded = record.model.adapter
    if recorded is True:
        return
    streams = {name: entry.spec for name, entry in record.model.streams.items()}
    of_file = {key: x for key, x in file.wrap_arguments().items() if key in ("outputs", "tokens", "inputs", "adapter")}
    declared = Declaration(
        of_file.get("outputs"), of_file.get("tokens"), of_file.get("inputs"),
        streams=streams, adapter=of_file.get("adapter"), follow_device=file.follow_device,
    ).to_dict() if of_file or file.follow_device else False  # fmt: skip
    if (declared or False) != (recorded or False) or file.segments not in (None, record.model.segments):
        raise ValueError(
            f"{source}: declares other outputs, tokens, inputs, adapter or segments than the run was trained with: a "
            "trained run keeps its own, so leave them out of the file, or use the file that it was trained with"
        )


def load_run(
    run: Path, settings: tuple[str, ...] = (), *, trust: bool = False, declaration: Path | None = None
) -> tuple[RunConfig, CoLeaFTrainer]:
    """The configuration of a run, and a trainer with its best weights so far.

    Args:
        run: its folder.
        settings: changes to its configuration, such as "decision.gate=modality".
        trust: as in `CoLeaF.load`.
        declaration: a declaration file that says how the run's Anchor is made, and its adapter if it has one.

    Raises:
        ValueError: a setting that would need another training; the declaration does not fit the run; or as
            `read_record`, `read_declaration` and `CoLeaF.load` do.
    """
    for setting in settings:
        if setting.partition("=")[0] not in _AFTER_TRAINING:
            raise ValueError(f"--set {setting!r}: a trained run can only change {', '.join(_AFTER_TRAINING)}")
    record = read_record(run)
    config = record.config(settings, run / CONFIG)
    anchor, adapter = None, None
    if declaration is not None:
        if not is_declaration_file(str(declaration)):
            raise ValueError(f"--anchor {declaration}: expected a declaration file, such as wrap.yaml")
        file = read_declaration(declaration)
        streams = {name: entry.spec for name, entry in record.model.streams.items()}
        given = {"streams": streams, "num_classes": record.model.num_classes}
        declared = file.fitted(given, declaration)
        _require_declared_so(declaration, file, record)
        anchor = create_anchor(file.network, **{**given, **file.arguments})
        adapter = declared.get("adapter")
        if adapter is not None and file.tokens is not None:
            adapter = Declaration(None, declared["tokens"], streams=streams, adapter=adapter)
    model = CoLeaF.load(run, anchor=anchor, adapter=adapter, trust=trust)
    trainer = CoLeaFTrainer(model, config.trainer, decision=config.decision, cache=config.data.cache, quiet=True)
    return config, trainer
