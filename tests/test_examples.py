"""The examples run, and a plugin in a distribution of its own is found once it is installed."""

from __future__ import annotations

import importlib
import subprocess
import sys
import venv
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


@pytest.mark.slow
def test_an_installed_plugin_is_found(tmp_path: Path) -> None:
    """A temporary environment on top of this one, into which only the plugin is installed."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env/bin/python"
    site = run(python, "-c", "import site; print(site.getsitepackages()[0])", cwd=tmp_path).strip()
    here = [path for path in sys.path if path.endswith("site-packages")] + [str(ROOT), str(ROOT / "backbones")]
    (Path(site) / "this_environment.pth").write_text("\n".join(here) + "\n")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", site]
    run(*install, ROOT / "examples/plugin_package", cwd=tmp_path)
    listed = run(python, "-m", "coleaf_framework", "plugins", cwd=tmp_path, env={"COLUMNS": "200", "PATH": ""})
    assert "tinyparser 1.0" in listed
    assert "works" in next(line for line in listed.splitlines() if "tinyparser" in line)
    code = "from coleaf_framework import wrap; print(type(wrap('tinyparser').anchor).__name__)"
    assert run(python, "-c", code, cwd=tmp_path).strip() == "TinyParser"
    tests = ROOT / "examples/plugin_package/tests"
    run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests, cwd=tmp_path)
