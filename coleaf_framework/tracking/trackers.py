"""The trackers of one run: started together, told the same, and never the reason why a training ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from coleaf_framework._config import WrongTypeError, nearest, reason, shown
from coleaf_framework.storage import read_json, write_json
from coleaf_framework.tracking.mlflow import MLflow
from coleaf_framework.tracking.protocol import Plain, Status, TrackedRun, Tracker
from coleaf_framework.tracking.tensorboard import TensorBoard
from coleaf_framework.tracking.trackio import Trackio
from coleaf_framework.tracking.wandb import WandB

logger = logging.getLogger(__name__)

STATE = "trackers.json"
"""Name of the file in a run folder that says where each tracker keeps the run, and what it was told."""
_KNOWN: dict[str, Callable[[], Tracker]] = {
    "tensorboard": TensorBoard, "wandb": WandB, "trackio": Trackio, "mlflow": MLflow,
}  # fmt: skip
_ADVICE = {
    "tensorboard": "see that the run folder can be written",
    "wandb": "log in by `wandb login`, set WANDB_MODE=offline, or see WANDB_ENTITY and the project",
    "trackio": "see TRACKIO_DIR, TRACKIO_SPACE_ID or TRACKIO_SERVER_URL",
    "mlflow": "set MLFLOW_TRACKING_URI to your server, or to a local folder (file:///...) with "
    "MLFLOW_ALLOW_FILE_STORE=true",
}
_METHODS = ("start", "scalars", "picture", "table", "finish")

Named = Mapping[str, Tracker]
"""Name in messages and in trackers.json -> tracker."""


def require_known(names: Sequence[str]) -> None:
    """Check the names of trackers.

    Raises:
        ValueError: one is unknown (says the nearest), or named twice.
    """
    for name in names:
        if name not in _KNOWN:
            raise ValueError(f"no tracker {name!r}.{nearest(name, _KNOWN)} Known: {', '.join(_KNOWN)}")
        if names.count(name) > 1:
            raise ValueError(f"the tracker {name!r} is named twice")


def require_trackers(given: Sequence[str | Tracker]) -> None:
    """Check what a user gives as trackers, without importing their libraries.

    Raises:
        ValueError: a name is unknown, or two have one name.
        WrongTypeError: one is neither a name nor a tracker; names the method that it lacks.
    """
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise WrongTypeError(f"trackers is {shown(given)}, where a list such as ['wandb'] was expected")
    require_known([tracker for tracker in given if isinstance(tracker, str)])
    for tracker in given:
        lacking = [name for name in _METHODS if not callable(getattr(tracker, name, None))]
        if not isinstance(tracker, str) and (lacking or isinstance(tracker, type)):
            lacks = f"it has no method {lacking[0]}" if lacking else "it is a class, not an object of it"
            raise WrongTypeError(
                f"trackers has {shown(tracker)}, neither a known name nor a Tracker: {lacks} (docs/tracking.md)"
            )
    names = [_name(tracker) for tracker in given]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"trackers has two called {twice[0]!r}, the name of their class: give one a class of its own")


def make_trackers(given: Sequence[str | Tracker]) -> Named:
    """Trackers by name; known ones are made.

    Raises:
        ImportError: the library of one is not installed; says how to.
    """
    return {_name(x): _KNOWN[x]() if isinstance(x, str) else x for x in given}


def _name(tracker: str | Tracker) -> str:
    return tracker if isinstance(tracker, str) else type(tracker).__name__


def _begun(said: object) -> dict[str, str]:
    """What a tracker's `start` returned, if a run folder can keep it."""
    if not isinstance(said, Mapping) or not all(isinstance(x, str) for pair in said.items() for x in pair):
        raise WrongTypeError(f"its start returned {shown(said)}, where texts such as {{'id': '3f2a'}} were expected")
    return dict(said)


class Trackers:
    """Tells every tracker of a run the same.

    Args:
        trackers: by name; none does nothing.
        folder: the run folder, which keeps what finds the tracked runs again; None keeps nothing.
    """

    def __init__(self, trackers: Named, folder: Path | None) -> None:
        self._running: dict[str, Tracker] = {}
        self._trackers, self._path = dict(trackers), None if folder is None else folder / STATE
        self._state: dict[str, dict[str, Any]] = {}

    def __bool__(self) -> bool:
        return bool(self._trackers)

    def start(self, run: TrackedRun, *, resuming: bool) -> None:
        """Start all trackers, those that were started before with what they said then.

        Args:
            run: the run; its `epochs` and `begun` are told to each tracker as the run folder keeps them.
            resuming: whether the run goes on.

        Raises:
            ValueError: one cannot start, or trackers.json is damaged; those that did are ended. Says what to do.
        """
        if resuming and self._path is not None and self._path.exists():
            self._state = read_json(self._path)
        for name, tracker in self._trackers.items():
            before = self._state.get(name, {})
            told = replace(run, epochs=before.get("epoch", 0), begun=before.get("run", {}))
            try:
                begun = _begun(tracker.start(told))
            except Exception as problem:
                self.finish("failed")
                raise ValueError(self._refusal(name, problem, gone=bool(before))) from problem
            self._running[name] = tracker
            self._state[name] = {"epoch": before.get("epoch", 0), "run": begun}

    def _refusal(self, name: str, problem: Exception, *, gone: bool) -> str:
        advice = [_ADVICE[name]] if name in _ADVICE else []
        if gone:
            advice.append(f"delete {self._path}, if the tracked run is gone, to track this one anew")
        advice.append(f"leave {name} out of trainer.trackers")
        return f"the tracker {name} cannot start: {reason(problem).rstrip('.')}; {'; or '.join(advice)}"

    def done(self, epochs: int) -> bool:
        """Whether a run folder says that every tracker was told of so many epochs and of the run's end."""
        if self._path is None or not self._path.exists():
            return not self
        state = read_json(self._path)
        told = [state.get(name, {}) for name in self._trackers]
        return all(one.get("epoch") == epochs and one.get("status") == "finished" for one in told)

    def scalars(self, epochs: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Tell each tracker of the epochs that it was not told of.

        Args:
            epochs: each epoch of the run so far with its numbers.
        """

        def tell(name: str, tracker: Tracker) -> None:
            for epoch, values in epochs:
                if epoch > self._state[name]["epoch"]:
                    tracker.scalars(epoch, dict(values))  # which is its own to change
                    self._state[name]["epoch"] = epoch

        self._each(tell, f"epoch {epochs[-1][0]}" if epochs else "the start")
        self._keep()

    def picture(self, epoch: int, name: str, figure: Any) -> None:
        """Give each tracker a picture of an epoch."""
        self._each(lambda _, tracker: tracker.picture(epoch, name, figure), f"epoch {epoch}")

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Plain]]) -> None:
        """Give each tracker a table."""
        self._each(lambda _, tracker: tracker.table(name, columns, rows), "the end")

    def finish(self, status: Status) -> None:
        """End the tracked runs."""

        def end(name: str, tracker: Tracker) -> None:
            tracker.finish(status)
            self._state[name]["status"] = status

        self._each(end, "the end")
        if self._running:
            self._keep()
        self._running = {}

    def _each(self, tell: Callable[[str, Tracker], None], when: str) -> None:
        for name, tracker in list(self._running.items()):
            try:
                tell(name, tracker)
            except Exception as problem:
                del self._running[name]
                logger.warning(
                    "the tracker %s failed at %s and is left out from now on (%s); training goes on, and --resume "
                    "tells it later of the epochs that it lacks", name, when, reason(problem),
                )  # fmt: skip

    def _keep(self) -> None:
        if self._path is None:
            return
        try:
            write_json(self._path, self._state)
        except OSError as problem:
            logger.warning("%s cannot be written (%s), so --resume would tell trackers twice", self._path, problem)
