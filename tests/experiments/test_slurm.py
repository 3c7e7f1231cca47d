"""The options of SLURM, and what sbatch is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coleaf_framework.experiments.slurm import minutes_of, parse_slurm, slurm_executor
from tests.helpers.clusters import cell_in, make_slurm
from tests.helpers.command import Command


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("=3", "--slurm '=3': expected KEY=VALUE, an option of sbatch such as partition=gpu"),
        ("partition=", "expected KEY=VALUE"),
        ("--partition=gpu", "expected KEY=VALUE"),
        ("array=0-3", "--slurm 'array=0-3': array is set by the grid, whose runs are one process each"),
        ("open_mode=append", "open-mode is set by the grid"),
        ("time=soon", "--slurm time=soon: expected minutes, H:M:S or D-H:M:S, such as 12:00:00"),
        ("time=5", "--slurm time=5: 5 minutes; at least 10"),
    ],
)
def test_a_bad_option_is_told_in_a_sentence(option: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        parse_slurm([option])


def test_an_option_is_given_once() -> None:
    with pytest.raises(ValueError, match="mem is given twice"):
        parse_slurm(["mem=3G", "mem=4G"])


@given(st.integers(0, 9), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_each_spelling_of_a_time_limit_is_read(days: int, hours: int, minutes: int, seconds: int) -> None:
    whole = (days * 24 + hours) * 60 + minutes
    assert minutes_of(f"{days}-{hours:02}:{minutes:02}:{seconds:02}") == whole
    assert minutes_of(f"{days}-{hours}:{minutes}") == whole
    assert minutes_of(f"{days}-{hours}") == whole - minutes
    assert minutes_of(f"{days * 24 + hours}:{minutes}:{seconds}") == whole
    assert minutes_of(f"{whole}:{seconds:02}") == whole
    assert minutes_of(f"{whole}") == whole


@pytest.mark.parametrize(
    ("device", "options", "expected"),
    [
        ("auto", [], ["gpus-per-node=1", "time=240"]),
        ("cuda:0", [], ["gpus-per-node=1"]),
        ("cpu", ["exclusive"], ["exclusive\n"]),
        ("auto", ["gres=gpu:a100:1", "time=1-2"], ["gres=gpu:a100:1", "time=1560"]),
        ("auto", ["cpus_per_task=8", "job-name=mine"], ["cpus-per-task=8", "job-name=mine", "gpus-per-node=1"]),
    ],
)
def test_sbatch_is_given_the_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, options: list[str], expected: list[str]
) -> None:
    pytest.importorskip("submitit", reason="needs the extra `slurm`")
    make_slurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    grid = type("Grid", (), {"cells": [cell_in(tmp_path / "a", device)], "out": tmp_path})
    backend: Any = slurm_executor(grid, parse_slurm(options), 4)._backend
    script = backend._make_submission_file_text("RUN", "1")
    for text in expected:
        assert f"#SBATCH --{text}" in script
    assert "#SBATCH --signal=USR2@120" in script
    assert script.count("#SBATCH --job-name=") == 1
    assert ("gpus-per-node" in script) == ("gpus-per-node=1" in expected)
    assert ("--cpus-per-task=8 RUN" in script) == ("cpus_per_task=8" in options)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--executor", "ray"), "--executor 'ray': local or slurm; for any other scheduler take --plan"),
        (("--slurm", "mem=3G"), "--slurm 'mem=3G': goes with --executor slurm alone"),
        (("--executor", "slurm", "--plan"), "--plan and --executor slurm exclude each other"),
        (("--executor", "slurm"), "--executor slurm: no command sbatch on this machine"),
    ],
)
def test_bad_words_are_told_before_anything_is_planned(
    coleaf: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    pytest.importorskip("submitit", reason="needs the extra `slurm`")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert message in coleaf("compare", "--anchors", "nobody", "--out", "grid", *words, fails=True)
    assert not (tmp_path / "grid").exists()
