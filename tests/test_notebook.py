"""The notebook runs from top to bottom, as a reader opens it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs the extra `dev`")
NOTEBOOK = Path(__file__).resolve().parents[1] / "examples/quickstart.ipynb"


def test_it_is_shared_without_outputs() -> None:
    """Outputs would be those of one machine, and age; the reader's own run shows them."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.id for cell in code if cell.outputs or cell.execution_count is not None] == []
    assert notebook.metadata.kernelspec.name == "python3"


def test_its_links_lead_to_files_of_the_repository() -> None:
    named = re.findall(r"coleaf-framework/coleaf_framework/blob/main/([\w./]+)", NOTEBOOK.read_text())
    assert "examples/quickstart.ipynb" in named  # the badge that opens it in Colab
    assert [name for name in named if not (NOTEBOOK.parents[1] / name).exists()] == []


def executed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The notebook after a run in a folder that has the examples, by this interpreter's kernel."""
    nbclient = pytest.importorskip("nbclient", reason="needs the extra `dev`")
    pytest.importorskip("ipykernel", reason="needs the extra `dev`")
    for name in ("tuxav_mini", "clips"):
        (folder / name).symlink_to(NOTEBOOK.parent / name)
    # A kernel of its own, since "python3" may be another interpreter's where one is installed for the user.
    spec = folder / "jupyter/kernels/this_interpreter"
    spec.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="this_interpreter", resources={"metadata": {"path": str(folder)}}
    )
    return client.execute()  # raises CellExecutionError where a cell fails


@pytest.mark.slow
def test_every_cell_runs_and_shows_table_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra `plot`")
    pytest.importorskip("av", reason="needs the extra `video`")
    notebook = executed(tmp_path, monkeypatch)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [output.data for output in outputs if "data" in output]
    (table,) = (data["text/markdown"] for data in shown if "text/markdown" in data)
    for row in (
        "| HAN |",
        "| HAN in CoLeaF |",
        "| empty parser |",
        "| video-label parser |",
        "support/segment/Type@AVo",
    ):
        assert row in table
    assert sum("image/png" in data for data in shown) == 3  # losses, a timeline, the parsed clip
    assert 'install "ipywidgets"' not in json.dumps(notebook)  # which Rich would advise at every step
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    for line in ("Conclusion, in support/segment/Type@AVo on tuxav_mini test", "MyNet in CoLeaF", "own test, 8 videos"):
        assert line in printed
    assert list(tmp_path.glob("runs/quickstart/*/model.safetensors"))


if __name__ == "__main__":  # leaves the notebook, with its pictures, in a new folder
    place = Path(sys.argv[1]).resolve()
    place.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        nbformat.write(executed(place, patch), place / "executed.ipynb")
