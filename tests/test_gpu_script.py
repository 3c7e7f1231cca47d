"""`benchmarks/gpu.sh`, which needs a GPU: what of it can be held without one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu import all_checks
from benchmarks.gpu_checks import Refused, Sizes, require_below
from benchmarks.gpu_report import GpuResults

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


@pytest.mark.slow
def test_the_whole_script_runs_on_a_cpu(tmp_path: Path) -> None:
    """At tiny sizes: what compares the CPU with itself finds no difference, and what needs a GPU is refused."""
    path = tmp_path / "gpu.json"
    assert gpu.main(["--device", "cpu", "--quick", "--json", str(path)]) == 0
    report = GpuResults.model_validate_json(path.read_text())
    outcomes = {check.name: check.outcome for check in report.checks}
    assert set(outcomes) == set(all_checks(Sizes(torch.device("cpu"), quick=True)))
    assert outcomes["waiting/han/eager"] == outcomes["graphs/cmpae"] == outcomes["memory/han/eager"] == "refused"
    for check in report.checks:
        if check.name.startswith(("parity", "resume")) and check.outcome == "passed":
            assert {value for name, value in check.numbers.items() if name != "bit for bit"} == {0.0}
    assert outcomes["parity/han"] == outcomes["resume/cmpae/eager"] == outcomes["epoch/han/paper/eager"] == "passed"


def test_a_check_that_fails_stops_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def wrong(numbers: dict[str, float]) -> None:
        numbers["x"] = float("nan")
        require_below(numbers, {"x": 1.0})

    def refused(numbers: dict[str, float]) -> None:
        raise Refused("not here")

    checks = {"a": ("x at most 1", wrong), "b": ("", refused), "c": ("", lambda numbers: None)}
    monkeypatch.setattr(gpu, "all_checks", lambda sizes: checks)
    path = tmp_path / "gpu.json"
    common = ["--device", "cpu", "--quick", "--json", str(path)]
    assert gpu.main(common) == 1
    report = GpuResults.model_validate_json(path.read_text())
    assert [check.outcome for check in report.checks] == ["failed", "refused", "passed"]
    assert report.checks[0].told == "AssertionError: x nan is not at most 1"
    assert gpu.main([*common, "--only", "c"]) == 0
    assert gpu.main([*common, "--minutes", "-1"]) == 0
    assert {check.outcome for check in GpuResults.model_validate_json(path.read_text()).checks} == {"skipped"}


@NO_GPU
def test_without_a_gpu_it_says_so_in_a_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = str(tmp_path / "gpu.json")
    assert gpu.main(["--json", path]) == 2
    assert "there is no device 'cuda' here" in capsys.readouterr().err
    assert gpu.main(["--device", "cpu", "--json", path]) == 2
    assert "add --quick" in capsys.readouterr().err
    assert gpu.main(["--device", "cpu", "--quick", "--only", "nothing", "--json", path]) == 2
    assert "no check's name begins so" in capsys.readouterr().err
