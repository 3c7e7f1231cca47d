"""Group runs that differ only in their seed into rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from coleaf_framework._text import one_line
from coleaf_framework.record.config import RunConfig
from coleaf_framework.record.provenance import identity
from coleaf_framework.record.run_record import RunRecord, read_record
from coleaf_framework.results.predictions import Predictions
from coleaf_framework.results.rows import Member
from coleaf_framework.storage import CONFIG


def require_named_once(runs: Sequence[Path]) -> None:
    """Check that no run folder is given twice.

    Raises:
        ValueError: one is given twice.
    """
    if len({run.resolve() for run in runs}) < len(runs):
        raise ValueError("a run is named twice")


def group_seeds(runs: Sequence[tuple[Path, Predictions]]) -> dict[str, list[Member]]:
    """Group runs with the same configuration, code, data and decision; each group is a row.

    Args:
        runs: run folders with their predictions.

    Returns:
        Unique name of a row -> its runs, in order of their seeds.

    Raises:
        FileNotFoundError, ValueError: a run's config.yaml cannot be read.
    """
    groups: dict[str, list[tuple[Path, Member]]] = {}
    for run, predictions in runs:
        record = read_record(run)
        config = record.config(source=run / CONFIG)
        member = Member(str(run), config.trainer.seed, predictions)
        groups.setdefault(_kind(run, record, config, predictions), []).append((run, member))
    parsers = [members[0][1].predictions.parser for members in groups.values()]
    rows: dict[str, list[Member]] = {}
    for members in groups.values():
        members.sort(key=lambda member: member[1].seed)
        run, parser = members[0][0], members[0][1].predictions.parser
        name = parser if parsers.count(parser) == 1 else f"{parser} ({run.name})"
        name = one_line(name if name not in rows else f"{parser} ({run})")  # folders of one name
        rows[name] = [member for _, member in members]
    return rows


def _kind(run: Path, record: RunRecord, config: RunConfig, predictions: Predictions) -> str:
    """The same text for runs that differ in their seed alone, wherever they were trained."""
    # A network trained from Python has no name in the configuration, but its class and shape are recorded.
    about = [record.model.model_dump(mode="json"), predictions.parser, predictions.decision.model_dump(mode="json")]
    about.append(identity(record.made_of))
    if record.train is None:  # an imported checkpoint says nothing of its training, so no two are seeds of one
        about.append(str(run))
    return all_but_seed(config) + json.dumps(about)


def all_but_seed(config: RunConfig) -> str:
    """A configuration as JSON, without the seed and the settings that affect only where and how fast it is trained."""
    content = config.model_dump(mode="json", exclude={"data": {"cache"}})
    content["data"]["root"] = config.data.root and str(Path(config.data.root).resolve())
    for key in ("seed", "device", "workers", "trackers", "project", "tracked_videos"):
        del content["trainer"][key]
    return json.dumps(content)
