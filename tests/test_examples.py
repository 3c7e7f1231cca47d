"""The examples run; `plugin_package` in `tests/release`, where it is installed."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*command: object, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_network_of_ones_own(tmp_path: Path) -> None:
    assert "to deploy: MyNet" in run(sys.executable, ROOT / "examples/my_network.py", cwd=tmp_path)


@pytest.mark.parametrize("name", ["train_han", "train_cmpae"])
def test_training_from_python(
    name: str, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One epoch of a tiny data set; without arguments the file itself takes its time, on TuxAV mini."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    example = importlib.import_module(name)
    assert (example.MINI / "index.json").is_file()
    example.main(data_root, str(tmp_path / "run"), epochs=1)
    assert (tmp_path / "run/model.safetensors").exists()
    printed = capsys.readouterr().out
    assert "empty parser" in printed
    assert ("where the visual gates were chosen" in printed) == (name == "train_cmpae")


def test_wrap_unmodified(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import wrap_unmodified

    wrap_unmodified.main(videos=8, epochs=1)
    printed = capsys.readouterr().out
    assert 'tokens=Tap("fc_prob", at="input", order=("visual", "audio"))' in printed
    assert "taken out again: True" in printed
