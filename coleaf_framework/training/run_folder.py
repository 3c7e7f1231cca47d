"""The folder of a run and its files.

config.yaml          the resolved configuration, with what is needed to build the networks again
model.safetensors    the weights of the best epoch so far
resume.safetensors   the state from which training resumes
log.jsonl            one line per epoch
decision.yaml        thresholds that `coleaf thresholds` chose, if it did
projection.safetensors  the projection of the training features, if they were projected
trace.json           where the time of some steps went, with --profile
trackers.json        where trackers keep the run, and the last epoch reported to each
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from coleaf_framework._config import validated
from coleaf_framework.data.recipe_file import PROJECTION_FILE
from coleaf_framework.record.log import LOG, write_log
from coleaf_framework.record.provenance import NOT_RECORDED, MadeOf, accepted, changes, record_accepted, rewritten
from coleaf_framework.record.run_record import RunRecord, read_record
from coleaf_framework.storage import (
    CONFIG,
    DECISION,
    WEIGHTS,
    make_folder,
    parse_state,
    require_file,
    write_atomically,
    write_state,
)
from coleaf_framework.tracking import STATE as TRACKED
from coleaf_framework.training.resuming import ResumeState

logger = logging.getLogger(__name__)

RESUME, LOCK = "resume.safetensors", ".lock"
TRACE = "trace.json"
OnExisting = Literal["refuse", "resume", "overwrite"]
# A run may go on for more epochs or on another machine; anything else would make it another run.
_MAY_CHANGE = {
    ("trainer", "epochs"),
    ("trainer", "device"),
    ("trainer", "cuda_graphs"),
    ("trainer", "workers"),
    ("trainer", "trackers"),
    ("trainer", "project"),
    ("trainer", "tracked_videos"),
    ("trainer", "checkpoint_steps"),
}


class RunFolder:
    """The files of a run: every write is atomic, and a lock admits one writing process.

    Args:
        path: created if it does not exist.
        on_existing: what to do if it holds a run: refuse, resume it, or overwrite it.
        can_resume: whether the message may advise to resume.

    Raises:
        FileExistsError: it holds a run and `on_existing` is "refuse", or another process is training into it.
        FileNotFoundError: it holds nothing to resume.
    """

    def __init__(self, path: Path | str, on_existing: OnExisting = "refuse", *, can_resume: bool = True) -> None:
        self.path, self.resuming = Path(path), False
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"{self.path} is a file, where a run folder was expected")
        make_folder(self.path)
        self._lock = FileLock(self.path / LOCK)  # released by the system even if the process is killed
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise FileExistsError(f"{self.path}: another process is training into it") from None
        try:
            self._claim(on_existing, can_resume)
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()

    def _claim(self, on_existing: OnExisting, can_resume: bool) -> None:
        held = [name for name in (CONFIG, WEIGHTS, RESUME, LOG) if (self.path / name).exists()]
        if held and on_existing == "refuse":
            instead = (
                "pass --resume to go on with it, or --overwrite" if can_resume else "pass --overwrite to replace it"
            )
            raise FileExistsError(f"{self.path} holds another run ({', '.join(held)}): {instead}")
        if held and on_existing == "overwrite":
            for name in (*held, DECISION):  # chosen thresholds are those of the weights that go
                (self.path / name).unlink(missing_ok=True)
            for name in (TRACE, PROJECTION_FILE, TRACKED):
                (self.path / name).unlink(missing_ok=True)
            for name in ("tensorboard", "wandb"):
                tracked = self.path / name
                if tracked.is_symlink():
                    tracked.unlink()
                shutil.rmtree(tracked, ignore_errors=True)
        if on_existing == "resume":
            if not held:
                raise FileNotFoundError(f"{self.path} holds no run to go on with: leave out --resume")
            if CONFIG not in held:
                raise FileNotFoundError(
                    f"{self.path / CONFIG}: no such file, so it is not known what the run was trained on; put it back"
                )
            if RESUME not in held and held != [CONFIG]:
                raise FileNotFoundError(f"{self.path / RESUME}: no such file, so the run cannot go on")
        self.resuming = on_existing == "resume"

    @property
    def weights(self) -> Path:
        """Where the best epoch's weights are."""
        return self.path / WEIGHTS

    def checked(self, record: RunRecord, *, accept_changes: bool = False) -> RunRecord:
        """The record to `begin` with; when resuming, it is checked against the one in the folder.

        Args:
            record: of the run.
            accept_changes: resume though code or data have changed; the record then says so.

        Raises:
            ValueError: resuming with another configuration, code or data; names the first difference.
        """
        path = self.path / CONFIG
        if self.resuming and path.exists():
            began = read_record(self.path)
            before, now = _with_absolute_root(began).dump(), _with_absolute_root(record).dump()
            passed_over = {"made_of"}
            if began.anchor.name is None:  # as runs of one's own network were recorded before its class was named
                passed_over.add("anchor")
            if began.features is None:  # as runs were recorded before data folders said how they were extracted
                passed_over.add("features")
            if began.model.adapter is True:
                now["model"]["adapter"] = True
            for section in sorted((before.keys() | now.keys()) - passed_over):
                _require_same(path, section, before.get(section), now.get(section))
            made = self._still_made_of(began.made_of, record.made_of or MadeOf(), accept_changes)
            record = record.changed(made_of=made)
        return record

    def begin(self, record: RunRecord, projection: Path | None = None) -> None:
        """Write the record.

        Args:
            record: of the run, from `checked`.
            projection: file by which the training features were projected, of which the run keeps a copy.
        """
        record.write(self.path)
        if projection is not None:
            write_atomically(self.path / PROJECTION_FILE, lambda file: shutil.copyfile(projection, file))

    def _still_made_of(self, before: MadeOf | None, now: MadeOf, accept_changes: bool) -> MadeOf:
        if before is None:
            logger.warning("%s: %s", self.path, NOT_RECORDED)
            return record_accepted(None, now, [NOT_RECORDED])
        changed = changes(before, now)
        if changed and not accept_changes:
            raise ValueError(
                f"{self.path}: since the run began, {'; '.join(changed)}: go on with what it began with, or accept it "
                "by --accept-changes (accept_changes=True), which is then said beside every score; or begin anew in "
                "another folder"
            )
        for clause in rewritten(before, now):
            logger.warning("%s: since the run began, %s", self.path, clause)
        return record_accepted(before, now, accepted(changed))

    def save_resume(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint: tensors and plain values only."""
        write_state(self.path / RESUME, state)

    def resume_bytes(self) -> bytes | None:
        """Content of the last checkpoint; None if there is none, or if the run is not resumed."""
        path = self.path / RESUME
        if not (self.resuming and path.exists()):
            return None
        require_file(path)
        return path.read_bytes()

    def write_log(self, history: list[dict[str, Any]]) -> None:
        """Write one line per epoch."""
        write_log(self.path / LOG, history)


def parse_resume(content: bytes | None, source: Path) -> dict[str, Any] | None:
    """What `RunFolder.save_resume` wrote, from the file's content, on the CPU.

    Raises:
        ValueError: it is damaged or holds anything but tensors and plain values; it is not executed.
    """
    if content is None:
        return None
    state = parse_state(content, source)
    validated(ResumeState, state, f"{source}: not a resume state")
    return state  # type: ignore[no-any-return]


def _with_absolute_root(record: RunRecord) -> RunRecord:
    """The record with an absolute data folder; earlier versions recorded it as it was typed."""
    if record.data is None or record.data.root is None:
        return record
    data = record.data.model_copy(update={"root": Path(record.data.root).resolve().as_posix()})
    return record.changed(data=data)


def _require_same(path: Path, section: str, before: Any, now: Any) -> None:
    if not (isinstance(before, Mapping) or isinstance(now, Mapping)):
        before, now, section = {section: before}, {section: now}, "config"
    before, now = (json.loads(json.dumps(x)) if x is not None else {} for x in (before, now))  # tuples as lists
    for key in sorted(before.keys() | now.keys()):
        if (section, key) not in _MAY_CHANGE and before.get(key) != now.get(key):
            raise ValueError(
                f"{path}: the run to resume has {section}.{key} = {before.get(key)!r}, "
                f"now it is {now.get(key)!r}: resume with the same configuration, or take another folder"
            )
