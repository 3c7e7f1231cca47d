"""MLflow. The extra `mlflow`; its environment variables (MLFLOW_TRACKING_URI, ...) hold here too."""

from __future__ import annotations

import csv
import io
import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from coleaf_framework._extras import require_library
from coleaf_framework.tracking.protocol import Plain, Status, TrackedRun

_STATUS: dict[Status, str] = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_MOST_PARAMS = 100  # that MLflow takes at once


class MLflow:
    """Sends a run to the MLflow server of MLFLOW_TRACKING_URI, or into the local folder that it names.

    Raises:
        ImportError: mlflow is not installed; says how to.
    """

    def __init__(self) -> None:
        self._mlflow = require_library("mlflow", "the tracker mlflow", "mlflow")

    def start(self, run: TrackedRun) -> Mapping[str, str]:
        """Begin the run, or go on with the one of the same id."""
        self._client = self._mlflow.MlflowClient()
        if "run_id" in run.begun:
            self._id = run.begun["run_id"]
            known = dict(self._client.get_run(self._id).data.params)
            self._client.set_terminated(self._id, "RUNNING")
        else:
            experiment = run.project or os.environ.get("MLFLOW_EXPERIMENT_NAME", "coleaf")
            tags = {} if run.group is None else {"group": run.group}
            self._id, known = self._new(experiment, run.name, tags), {}
        values = {allowed(key): str(value) for key, value in run.hyperparameters.items()}
        # MLflow lets no parameter change; of a run that goes on, a few may.
        changed = {f"resumed.{key}": x for key, x in values.items() if known.get(key, x) != x}
        for key, value in changed.items():
            self._client.set_tag(self._id, key, value)
        new = [self._mlflow.entities.Param(key, value) for key, value in values.items() if key not in known]
        for i in range(0, len(new), _MOST_PARAMS):
            self._client.log_batch(self._id, params=new[i : i + _MOST_PARAMS])
        return {"run_id": self._id}

    def _new(self, experiment: str, name: str, tags: Mapping[str, str]) -> str:
        found = self._client.get_experiment_by_name(experiment)
        where = self._client.create_experiment(experiment) if found is None else found.experiment_id
        return str(self._client.create_run(where, run_name=name, tags=dict(tags)).info.run_id)

    def scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        """Log an epoch's numbers, as step `epoch`."""
        now = int(1000 * time.time())
        metrics = [self._mlflow.entities.Metric(allowed(name), x, now, epoch) for name, x in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def picture(self, epoch: int, name: str, figure: Any) -> None:
        """Keep an epoch's picture as the artefact NAME/epoch-003.png."""
        self._client.log_figure(self._id, figure, f"{allowed(name)}/epoch-{epoch:03d}.png")

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Plain]]) -> None:
        """Keep a table as the artefact NAME.csv."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([columns, *rows])
        self._client.log_text(self._id, text.getvalue(), f"{allowed(name)}.csv")

    def finish(self, status: Status) -> None:
        """Set the run's status."""
        self._client.set_terminated(self._id, _STATUS[status])


def allowed(name: str) -> str:
    """A name of MLflow's alphabet.

    Example:
        >>> allowed("val/segment/Type@AVo")
        'val/segment/Type-AVo'
    """
    return re.sub(r"[^\w./\- ]", "-", name)
