"""A leaderboard of run folders: single runs and grids."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from coleaf_framework._config import reason
from coleaf_framework._text import one_line
from coleaf_framework.experiments.costs import measure_inference, name_of
from coleaf_framework.experiments.grid import CELL, DONE
from coleaf_framework.model.coleaf import CoLeaF
from coleaf_framework.record.config import RunConfig
from coleaf_framework.record.run_record import read_record
from coleaf_framework.results.caveats import merge_caveats
from coleaf_framework.results.columns import primary_column, require_column
from coleaf_framework.results.cost import Cost
from coleaf_framework.results.grouping import all_but_seed, group_seeds, require_named_once
from coleaf_framework.results.leaderboard import Leaderboard, Standing, make_leaderboard
from coleaf_framework.results.predictions import Predictions, require_same_videos
from coleaf_framework.results.predictions_file import predictions_path, read_predictions
from coleaf_framework.results.published import PUBLISHED, is_published_split
from coleaf_framework.results.rows import Member, Pair, Row
from coleaf_framework.storage import CONFIG
from coleaf_framework.training.device import choose_device

_VIDEOS = 32  # of a batch whose costs are measured
_IN_COLEAF = " in CoLeaF"


def find_runs(folders: Sequence[Path], split: str) -> tuple[list[Path], list[str]]:
    """The runs that folders hold.

    Args:
        folders: each a run folder, or a folder of run folders as `coleaf compare` writes.
        split: the scored split.

    Returns:
        The run folders; and a sentence on the runs of a folder that are left out, since they are not finished or have
        no predictions of the split.

    Raises:
        FileNotFoundError: a folder is not there or holds no run.
        ValueError: a run is named twice.
    """
    runs, notes = [], []
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder")
        if (folder / CONFIG).is_file():
            runs.append(folder)
            continue
        inside = sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
        ready = [run for run in inside if _is_ready(run, split)]
        if not ready:
            if any(predictions_path(run, split).is_file() for run in inside):
                raise FileNotFoundError(f"{folder}: no run with predictions of {split!r} is finished yet")
            what = "none of its runs has" if inside else "holds no run with"
            raise FileNotFoundError(f"{folder}: {what} predictions of {split!r}: `coleaf predict RUN --split {split}`")
        if left := [run.name for run in inside if run not in ready]:
            notes.append(f"{folder}: left out, unfinished or without predictions of {split!r}: {', '.join(left)}")
        runs += ready
    require_named_once(runs)
    return runs, notes


def _is_ready(run: Path, split: str) -> bool:
    finished = (run / DONE).is_file() or not (run / CELL).is_file()
    return finished and predictions_path(run, split).is_file()


def leaderboard(
    folders: Sequence[Path], split: str, column: str | None = None, *, costs: bool = True, trust: bool = False
) -> Leaderboard:
    """Compare all runs of some folders in one table.

    Runs that differ only in their seed share a row. A system in CoLeaF is compared to the same one alone, where there
    is one with the same seeds.

    Args:
        folders: as for `find_runs`.
        split: the scored split.
        column: to sort by; `results.columns.primary_column` where None.
        costs: whether to load the networks and measure their inference.
        trust: whether to import code that a run names and that is no plugin, to measure it.

    Raises:
        FileNotFoundError: as `find_runs` does; or a run has no predictions of the split.
        ValueError: runs are named twice or scored on different videos; or there is no such column.
    """
    runs, notes = find_runs(folders, split)
    groups = group_seeds([(run, read_predictions(run, split)) for run in runs])
    named = [(member.run, member.predictions) for members in groups.values() for member in members]
    require_same_videos(named)
    first = named[0][1]
    column = column or primary_column(first.truth_kind)
    require_column(column, "--sort", first.truth_kind, first.where)
    rows = {name: Row.of(name, members) for name, members in groups.items()}
    measured, where, unmeasured = _costs(groups, first, trust=trust) if costs else ({}, None, [])
    gains = _gains(rows)
    standings = [Standing.of(row, gains.get(name), measured.get(name)) for name, row in rows.items()]
    standings += [Standing(name, "trivial", scores, {}) for name, scores in first.trivial_scores().items()]
    caveats = merge_caveats({run: predictions.caveats for run, predictions in named})
    return make_leaderboard(
        standings,
        PUBLISHED if first.truth_kind == "modalities" else (),
        column,
        first.columns,
        one_line(f"{first.where}, {len(first.ids)} videos"),
        comparable=is_published_split(first.data, first.split, len(first.ids)),
        costs=where,
        notes=(*notes, *caveats, *unmeasured),
    )


def _gains(rows: Mapping[str, Row]) -> dict[str, Pair]:
    """Name of a row in CoLeaF -> its difference to the same system alone, for those that have one with the same seeds.

    That is the row whose runs were trained alike but for CoLeaF; where there is none, or there are several, the one of
    the same name, as of a recipe that trains longer alone.
    """
    configs = {name: read_record(Path(row.runs[0])).config() for name, row in rows.items()}
    alike: dict[str, list[str]] = {}
    for name, config in configs.items():
        if not config.coleaf.enabled:
            alike.setdefault(_but_for_coleaf(config), []).append(name)
    gains = {}
    for name, config in configs.items():
        found = alike.get(_but_for_coleaf(config), []) if config.coleaf.enabled else []
        control = found[0] if len(found) == 1 else name.removesuffix(_IN_COLEAF)
        if control != name and control in rows and rows[control].seeds == rows[name].seeds:
            gains[name] = Pair.of(rows[name], rows[control])
    return gains


def _but_for_coleaf(config: RunConfig) -> str:
    """The same text for runs that were trained alike, alone and in CoLeaF."""
    same = RunConfig()
    sections = ("coleaf", "reference", "decision", "recipe")
    return all_but_seed(config.model_copy(update={section: getattr(same, section) for section in sections}))


def _costs(
    groups: Mapping[str, Sequence[Member]], predictions: Predictions, *, trust: bool
) -> tuple[dict[str, Cost], str, list[str]]:
    """Name of a row -> what inference costs; what it was measured on; and a sentence on each that cannot be measured.

    Rows of the same network, such as alone and in CoLeaF, share a measurement.
    """
    models: dict[str, CoLeaF] = {}
    kinds, notes = {}, []
    for name, members in groups.items():
        run = Path(members[0].run)
        record = read_record(run)
        about = record.model.model_dump(mode="json", include={"streams", "num_classes", "adapter", "segments"})
        kind = json.dumps([record.anchor.model_dump(mode="json"), about, record.model.anchor_class])
        try:
            if kind not in models:
                models[kind] = CoLeaF.load(run, trust=trust)
            kinds[name] = kind
        except (ValueError, TypeError, OSError, ImportError) as problem:
            notes.append(f"{name}: its costs are not measured: {reason(problem)}")
    device, segments = choose_device("auto"), predictions.mask.shape[1]
    found = measure_inference(models, device, videos=_VIDEOS, segments=segments) if models else {}
    where = f"in batches of {_VIDEOS} videos of {segments} segments, on {name_of(device)}"
    return {name: found[kind] for name, kind in kinds.items()}, where, notes
