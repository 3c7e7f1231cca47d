"""The folder of a run: what it holds, and how a run goes on after an interrupt.

config.yaml          the resolved configuration, with what is needed to build the networks again
model.safetensors    the weights of the best epoch so far
resume.pt            everything the next epoch starts from
log.jsonl            one line per epoch
decision.yaml        thresholds that `coleaf thresholds` chose, if it did
"""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from coleaf_framework.storage import CONFIG, WEIGHTS, read_yaml, to_json, write_atomically, write_yaml

RESUME, LOG, DECISION = "resume.pt", "log.jsonl", "decision.yaml"
OnExisting = Literal["refuse", "resume", "overwrite"]
# A run may go on for more epochs or on another machine; anything else would make it another run.
_MAY_CHANGE = {
    ("trainer", "epochs"),
    ("trainer", "device"),
    ("trainer", "workers"),
    ("trainer", "tensorboard"),
}


class RunFolder:
    """A run's files; every write is whole or not there.

    Args:
        path: made if need be.
        on_existing: what to do if it holds a run: refuse, resume it, or overwrite it.

    Raises:
        FileExistsError: it holds a run and `on_existing` is "refuse".
    """

    def __init__(self, path: Path | str, on_existing: OnExisting = "refuse") -> None:
        self.path, self.resuming = Path(path), False
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"{self.path} is a file, where a run folder was expected")
        held = [name for name in (CONFIG, WEIGHTS, RESUME, LOG) if (self.path / name).exists()]
        if held and on_existing == "refuse":
            raise FileExistsError(
                f"{self.path} holds another run ({', '.join(held)}): pass --resume to go on with it, or --overwrite"
            )
        if held and on_existing == "overwrite":
            for name in (*held, DECISION):  # chosen thresholds are those of the weights that go
                (self.path / name).unlink(missing_ok=True)
            shutil.rmtree(self.path / "tensorboard", ignore_errors=True)
        self.resuming = bool(held) and on_existing == "resume"
        self.path.mkdir(parents=True, exist_ok=True)

    @property
    def weights(self) -> Path:
        """Where the best epoch's weights are."""
        return self.path / WEIGHTS

    def begin(self, config: Mapping[str, Any]) -> None:
        """Write the configuration, or check that it is the one that the folder's run began with.

        Raises:
            ValueError: resuming with another configuration; names the first difference.
        """
        path = self.path / CONFIG
        if self.resuming and path.exists():
            before = read_yaml(path)
            for section in sorted(before.keys() | config.keys()):
                _require_same(path, section, before.get(section), config.get(section))
        write_yaml(path, config)

    def save_resume(self, state: Mapping[str, Any]) -> None:
        """Write what the next epoch starts from: tensors and plain values only."""
        write_atomically(self.path / RESUME, lambda file: torch.save(dict(state), file))

    def load_resume(self) -> dict[str, Any] | None:
        """What `save_resume` wrote last, on the CPU; None where the run stopped before its first epoch ended.

        Raises:
            ValueError: the file is damaged or holds anything but tensors and plain values; it is not executed.
        """
        path = self.path / RESUME
        if not self.resuming or not path.exists():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as problem:
            reason = (str(problem) or type(problem).__name__).splitlines()[0]
            raise ValueError(f"{path}: damaged, the run cannot go on from it: {reason}") from problem
        if not isinstance(state, dict) or not {"model", "optimizer", "schedule", "history", "best"} <= state.keys():
            raise ValueError(f"{path}: expected a resume state, found something else")
        return state

    def write_log(self, history: list[dict[str, Any]]) -> None:
        """Write one line per epoch."""
        text = "".join(to_json(entry) + "\n" for entry in history)
        write_atomically(self.path / LOG, lambda file: file.write_text(text, encoding="utf-8"))


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
