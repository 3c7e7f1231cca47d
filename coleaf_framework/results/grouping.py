"""Group runs that differ only in their seed into rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from coleaf_framework._text import one_line
from coleaf_framework.record.config import RunConfig, recorded_config
from coleaf_framework.record.provenance import identity
from coleaf_framework.results.predictions import Predictions
from coleaf_framework.results.rows import Member
from coleaf_framework.storage import CONFIG, read_yaml


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
        config = recorded_config(run)
        member = Member(str(run), config.trainer.seed, predictions)
        groups.setdefault(_kind(run, config, predictions), []).append((run, member))
    parsers = [members[0][1].predictions.parser for members in groups.values()]
    rows: dict[str, list[Member]] = {}
    for members in groups.values():
        members.sort(key=lambda member: member[1].seed)
        run, parser = members[0][0], members[0][1].predictions.parser
        name = parser if parsers.count(parser) == 1 else f"{parser} ({run.name})"
        name = one_line(name if name not in rows else f"{parser} ({run})")  # folders of one name
        rows[name] = [member for _, member in members]
    return rows


def _kind(run: Path, config: RunConfig, predictions: Predictions) -> str:
    """A key that is equal for runs that differ only in their seed."""
    recorded = read_yaml(run / CONFIG)
    # A network trained from Python has no name in the configuration, but there is a description of its model.
    about = [recorded.get("model"), predictions.parser, predictions.decision.model_dump(mode="json")]
    about.append(identity(recorded.get("made_of")))
    if "train" not in recorded:  # imported checkpoints have unknown seeds, so each is a row of its own
        about.append(str(run))
    return all_but_seed(config) + json.dumps(about)


def all_but_seed(config: RunConfig) -> str:
    """A configuration as JSON, without the seed and the settings that affect only where and how fast it is trained."""
    content = config.model_dump(mode="json", exclude={"data": {"cache"}})
    content["data"]["root"] = config.data.root and str(Path(config.data.root).resolve())
    for key in ("seed", "device", "workers", "tensorboard"):
        del content["trainer"][key]
    return json.dumps(content)
