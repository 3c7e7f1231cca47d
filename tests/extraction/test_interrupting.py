"""Ctrl-C in a terminal, which reaches every process of the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.helpers.media import make_media

COMMAND = """
import sys
from coleaf_framework.extraction import recipes
from coleaf_framework.__main__ import main
recipes.RECIPES["slow"] = "tests.helpers.recipes:Slow"
if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["while the processes start", "once a file is done"])
def test_ends_the_command_in_one_sentence(tmp_path: Path, moment: str) -> None:
    clips = [make_media(tmp_path / f"{i}.mp4", seconds=3 if i else 1) for i in range(3)]
    (tmp_path / "command.py").write_text(COMMAND)
    command = [sys.executable, "command.py", "extract", *map(str, clips), "--features", "slow", "--out", "out"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    begun = subprocess.Popen(
        [*command, "--jobs", "2"], cwd=tmp_path, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        # Whoever runs the tests in the background has SIGINT ignored, which a process inherits.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    rows = 1 if moment == "while the processes start" else 2
    listed = tmp_path / "out" / "videos.tsv"
    while begun.poll() is None and not (listed.exists() and len(listed.read_text().splitlines()) >= rows):
        time.sleep(0.02)
    time.sleep(0.5)
    os.killpg(begun.pid, signal.SIGINT)
    _, said = begun.communicate(timeout=60)
    assert said == "coleaf: interrupted; finished files are kept; the same command goes on with the others\n"
    assert begun.returncode == 130
    assert not list((tmp_path / "out").glob(".unfinished*"))
