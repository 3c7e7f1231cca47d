"""A configuration -> data sets, model, trainer; what the commands share."""

from __future__ import annotations

from pathlib import Path

from coleaf_framework.data import LLP, LLP_CLASSES, AVVPDataset, AVVPFolder, SyntheticLLP
from coleaf_framework.data.annotations import WEAK_FILES, find_annotations
from coleaf_framework.model import CoLeaF
from coleaf_framework.storage import CONFIG
from coleaf_framework.training.config import DataConfig, RunConfig, load_config
from coleaf_framework.training.device import seed_everything
from coleaf_framework.training.run_folder import OnExisting
from coleaf_framework.training.trainer import CoLeaFTrainer
from coleaf_framework.wrapping import wrap


def classes_of(root: Path) -> tuple[str, ...] | None:
    """None where `root` has a `classes.txt`; LLP's classes otherwise."""
    folder = find_annotations(root)
    has_own = (root / "classes.txt").is_file() or (folder / "classes.txt").is_file()
    return None if has_own else LLP_CLASSES


def open_split(config: DataConfig, split: str) -> AVVPDataset:
    """One split of a run's data: synthetic LLP without a root, LLP or a folder in its layout with one.

    Errors as in `AVVPFolder`.
    """
    if config.root is None:
        sizes = {"train": config.synthetic_train, "val": config.synthetic_val, "test": config.synthetic_test}
        return SyntheticLLP(split, sizes.get(split), config.synthetic_seed)
    root = Path(config.root)
    return AVVPFolder(root, split) if classes_of(root) is None else LLP(root, split)


def has_split(config: DataConfig, split: str) -> bool:
    """Whether the data has videos of `split`; a broken split raises, a missing file does not."""
    if config.root is None:
        return True
    return (find_annotations(Path(config.root)) / WEAK_FILES[split]).is_file()


def train(config: RunConfig, out: Path, on_existing: OnExisting = "refuse", *, quiet: bool = False) -> CoLeaFTrainer:
    """Train as configured into the folder `out`; returns the trainer, its model with the best weights.

    Errors as in `wrap`, `AVVPFolder` and `CoLeaFTrainer.fit`.
    """
    if config.anchor.name is None:
        raise ValueError("anchor.name: a run with a network of your own is trained from Python, by CoLeaFTrainer")
    data = open_split(config.data, "train")
    val = open_split(config.data, "val") if has_split(config.data, "val") else None
    statistics = data.statistics() if config.data.standardize else None
    seed_everything(config.trainer.seed)
    model = wrap(
        config.anchor.name,
        streams=data.streams,
        num_classes=len(data.classes),
        reference=config.reference.name,
        config=config.coleaf,
        statistics=statistics,
        anchor_options=config.anchor.options,
        reference_options=config.reference.options,
    )
    model.description["data"] = config.data.model_dump(mode="json")
    trainer = CoLeaFTrainer(
        model,
        config.trainer,
        decision=config.decision,
        out=out,
        on_existing=on_existing,
        cache=config.data.cache,
        quiet=quiet,
    )
    trainer.fit(data, val)
    return trainer


def load_run(run: Path, settings: tuple[str, ...] = ()) -> tuple[RunConfig, CoLeaFTrainer]:
    """A finished or running run's configuration and a trainer with its best weights.

    Args:
        run: its folder.
        settings: changes to its configuration, such as "decision.gate=modality".
    """
    config = load_config(run / CONFIG, settings)
    trainer = CoLeaFTrainer(CoLeaF.load(run), config.trainer, decision=config.decision, quiet=True)
    return config, trainer


def row_name(config: RunConfig) -> str:
    """How tables call a run: its Anchor, and whether it was trained in CoLeaF."""
    name = (config.anchor.name or "anchor").upper()
    return f"{name} in CoLeaF" if config.coleaf.enabled else name
