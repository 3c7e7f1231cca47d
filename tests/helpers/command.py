"""The command line, as a user calls it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from coleaf_framework.cli.main import main

TINY = [
    x
    for setting in ("trainer.epochs=2", "trainer.batch_size=4", "trainer.device=cpu", "anchor.options.width=8")
    for x in ("--set", setting)
]
"""Options of a training that takes a second."""


class Command:
    """`coleaf` in this process; a call returns what it printed."""

    def __init__(self, cwd: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys
        monkeypatch.chdir(cwd)

    def __call__(self, *arguments: object, fails: bool = False) -> str:
        self.monkeypatch.setattr(sys, "argv", ["coleaf", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = self.capsys.readouterr()
        assert bool(ended.value.code) == fails, printed
        self.printed = printed.out
        return printed.err if fails else printed.out
