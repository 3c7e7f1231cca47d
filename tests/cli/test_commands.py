"""The command itself: help, errors, interrupts, plugins, inspect and synth."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from coleaf_framework.cli.main import COMMANDS, main
from coleaf_framework.cli.options import CONCLUDING
from coleaf_framework.data import LLP
from coleaf_framework.plugins import Plugin, list_plugins
from tests.helpers.command import TINY, Command
from tests.helpers.data import write_data_set


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("train", "--anchor", "hun"), "coleaf: no anchor is called 'hun'. Did you mean 'han'?"),
        (("train", "--set", "trainer.epoch=3"), "Did you mean 'epochs'?"),
        (("train", "--data", "nowhere"), "coleaf: nowhere: no such folder"),
        (("evaluate", "nowhere"), "config.yaml: no such file"),
        (("plot", "nowhere.json", "--video", "x"), "coleaf: nowhere.json: no such file"),
        (("check-data", "nowhere"), "coleaf: nowhere: no such folder"),
    ],
)
def test_a_mistake_ends_in_one_sentence(coleaf: Command, arguments: tuple[str, ...], sentence: str) -> None:
    printed = coleaf(*arguments, fails=True)
    assert sentence in printed.strip().splitlines()[-1]


def test_plugins_names_each_distribution(coleaf: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    printed = coleaf("plugins")
    assert "class_token" in printed
    assert "coleaf-framework 0.1.0" in " ".join(printed.split())


def test_plugins_names_paper_and_licence_in_80_columns(coleaf: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Plugin("anchor", "silent", "a:B", "dist 1.0")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("coleaf_framework.plugins.list_plugins", lambda kind: [*list_plugins(kind), silent])
    printed = coleaf("plugins")
    assert all(len(line) <= 80 for line in printed.splitlines())
    flat = " ".join(printed.split())
    assert "paper: Gao, Chen, Xu: Collecting Cross-Modal Presence-Absence Evidence for" in flat
    assert "silent works; a:B, from dist 1.0 paper: - licence: -" in flat
    assert "CoLeaF: A Contrastive-Collaborative Learning Framework" in flat


def test_inspect_says_how_to_wrap(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(
        "from tests.helpers.published_style import PositionalTuple\n"
        "class Theirs(PositionalTuple):\n    def __init__(self, extra=0): super().__init__()\n"
    )
    streams = ("--stream", "audio=6", "--stream", "visual=8x2")
    printed = coleaf("inspect", "theirs:Theirs", *streams, "--classes", "3", "--option", "extra=1")
    assert 'tokens=Tap("fc_prob", at="input"' in printed
    assert "wrap(\n        net" in coleaf("inspect", "han", "--data", data_root, "--option", "width=8")
    assert "Did you mean 'Theirs'" in coleaf("inspect", "theirs:Their", fails=True)
    assert "leave out --stream" in coleaf("inspect", "han", "--data", data_root, "--classes", "3", fails=True)


def test_synth_writes_the_official_layout(coleaf: Command, published_llp: Path, tmp_path: Path) -> None:
    coleaf("synth", "--annotations", published_llp, "--out", "llp", "--limit", "3")
    root = tmp_path / "llp"
    assert len(list((root / "feats/res152").glob("*.npy"))) == 9
    data = LLP(root, "test")
    assert len(data) == 3
    assert data[0].streams["visual"].shape == (80, 2048)
    assert data.issues.strangers == {"audio": 0, "visual": 0}
    for out in ("llp", published_llp):  # never over what is there, least of all over the annotations themselves
        assert "exists already" in coleaf("synth", "--annotations", published_llp, "--out", out, fails=True)
    coleaf("train", "--data", root, *TINY, "--out", "run")
    assert "LLP, synthetic features test, 3 videos" in coleaf("evaluate", "run", "--data", root, "--split", "test")


@pytest.mark.slow
def test_the_module_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "coleaf_framework", "evaluate", "nowhere"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "coleaf: nowhere/config.yaml: no such file"


def test_classes_with_markup_in_their_names_are_shown_as_they_are(
    coleaf: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    root = write_data_set(tmp_path / "data", classes=("[/]", "[red]x", ":dog:"))
    coleaf("train", "--data", root, "--anchor", "han", "--out", "run", *TINY)
    printed = coleaf("thresholds", "run")
    assert all(name in printed for name in ("[/]", "[red]x", ":dog:"))


def test_plugins_with_markup_in_their_errors_are_listed(coleaf: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Plugin("anchor", "[/]", "a:B", "dist\x1b", "ImportError: [/b]")
    monkeypatch.setattr("coleaf_framework.plugins.list_plugins", lambda kind: [broken])
    monkeypatch.setenv("COLUMNS", "200")
    printed = coleaf("plugins")
    assert all(text in printed for text in ("[/]", "[/b]", r"dist\x1b"))


def test_an_error_shows_control_characters_as_escapes(coleaf: Command) -> None:
    assert coleaf("evaluate", "no\x1b[31m", fails=True) == "coleaf: no\\x1b[31m/config.yaml: no such file\n"


@pytest.mark.parametrize(
    ("where", "command", "reason", "said"),
    [
        ("data.check.check_folder", ("check-data", "x"), "", "coleaf: interrupted\n"),
        (
            "experiments.steps.train_recipe",
            ("train",),
            "",
            "coleaf: interrupted; nothing of the step under way was saved\n",
        ),
        ("experiments.steps.train_recipe", ("train",), "all is kept", "coleaf: interrupted; all is kept\n"),
    ],
)
def test_ctrl_c_ends_any_command_in_a_sentence(
    where: str,
    command: tuple[str, ...],
    reason: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt(reason)

    monkeypatch.setattr(f"coleaf_framework.{where}", interrupted)
    monkeypatch.setattr(sys, "argv", ["coleaf", *command])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (130, said)


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize("then", ["", "except BaseException: raise ImportError('multiarray failed to import')"])
def test_ctrl_c_while_pytorch_is_imported_ends_in_a_sentence(tmp_path: Path, then: str) -> None:
    """A module that interrupts itself stands for PyTorch, with and without hiding the interrupt as NumPy does."""
    interrupt = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"
    (tmp_path / "torch.py").write_text(f"try: {interrupt}\n{then or 'finally: pass'}\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "coleaf_framework", "plugins"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=50,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),  # a job in the background ignores it
    )
    assert (done.returncode, done.stderr) == (130, "coleaf: interrupted\n")


WITHOUT_PYTORCH = """
import sys
sys.modules |= dict.fromkeys(("torch", "numpy", "scipy"))  # importing one of these fails
from coleaf_framework.__main__ import main
main()
"""


@pytest.mark.parametrize(
    "arguments", [("--help",), ("trian",), ("--dbug",), ("train", "--epochs", "3"), ("train", "--seed")]
)
def test_help_and_typing_errors_need_no_pytorch(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", WITHOUT_PYTORCH, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "Usage: " in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == (0 if "--help" in arguments else 2)


def test_the_version_needs_no_pytorch() -> None:
    command = [sys.executable, "-c", WITHOUT_PYTORCH, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == (f"coleaf-framework {version('coleaf-framework')}\n", 0), done.stderr


def test_every_command_tells_its_help_without_pytorch() -> None:
    everything = (
        WITHOUT_PYTORCH.replace("main()\n", "")
        + """
from coleaf_framework.cli.main import COMMANDS, app
for command in COMMANDS:
    app([command, "--help"], standalone_mode=False)
"""
    )
    done = subprocess.run([sys.executable, "-c", everything], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: ") == len(COMMANDS)


def test_the_default_column_is_that_of_comparisons() -> None:
    from coleaf_framework.results.columns import PRIMARY

    assert CONCLUDING == PRIMARY


@pytest.mark.slow
def test_the_installed_command_is_called_coleaf() -> None:
    script = "import sys; sys.argv = ['/bin/coleaf', '--help']; from coleaf_framework.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert "Usage: coleaf [OPTIONS]" in done.stdout


def test_an_unexpected_error_is_told_in_its_first_line(coleaf: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("something of PyTorch\nException raised from ... at ...:1")

    monkeypatch.setattr("coleaf_framework.experiments.costs.measure_costs", fails)
    said = coleaf("flops", "--anchor", "han", fails=True)
    assert len(said.strip().splitlines()) == 2  # the other one says how to see more
