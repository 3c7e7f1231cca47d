"""The code on pages and in the README runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from coleaf_framework import AnchorOutput, StreamSpec, wrap
from coleaf_framework.data.writing import write_synthetic_features
from coleaf_framework.tracking import TrackedRun, Trackers
from tests.helpers.data import write_tsv
from tests.helpers.parsing import CLIPS, write_run

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    path.relative_to(ROOT).as_posix() for path in DOCS.rglob("*.md") if "_build" not in path.relative_to(DOCS).parts
)
HOW_TO = {"Train your network", "Own videos", "Data and labels"}  # captions of the landing page
AS_PRINTED = "docs/results/"  # as commands wrote them
LANDING = "docs/index.md"  # its code is the README's


class MyNet(nn.Module):
    """The README's network of the reader's own."""

    streams = {"audio": StreamSpec(128, "audio"), "visual": StreamSpec(2048, "visual", frames=8)}
    num_classes = 25

    def __init__(self) -> None:
        super().__init__()
        self.audio, self.visual, self.classify = nn.Linear(128, 8), nn.Linear(2048, 8), nn.Linear(8, 25)

    def forward(self, audio: torch.Tensor, visual: torch.Tensor) -> AnchorOutput:
        a, v = self.audio(audio), self.visual(visual.unflatten(1, (-1, 8)).mean(2))
        tokens = torch.stack([a + 0.1 * v, v + 0.1 * a], dim=2)
        segment_probs = self.classify(tokens).sigmoid()
        return AnchorOutput(segment_probs, segment_probs.mean((1, 2)), tokens)


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def llp_annotations(tmp_path: Path) -> Path:
    """Two videos of each split, as LLP annotates them."""
    root = tmp_path / "annotations"
    root.mkdir()
    for split in ("train", "val_pd", "test_pd"):
        rows = [f"{split[:5]:x<11}_0_10 Speech", f"{split[:5]:y<11}_0_10 Dog,Cat"]
        write_tsv(root / f"AVVP_{split}.csv", "filename event_labels", rows)
    rows = [f"{split:x<11}_0_10 2 7 Speech" for split in ("val_p", "test_")]
    for modality in ("audio", "visual"):
        write_tsv(root / f"AVVP_eval_{modality}.csv", "filename onset offset event_labels", rows)
    return root


def test_the_readmes_example_runs_as_written(
    llp_annotations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_synthetic_features(llp_annotations, Path("data/llp"))
    names: dict[str, Any] = {"MyNet": MyNet}
    for example in blocks("README.md"):
        assert len(example.splitlines()) <= 12
        exec(example, names)
    assert set(names["losses"]) >= {"anchor/contrast", "reference/self_modality"}
    assert "LLP, synthetic features test, 2 videos" in capsys.readouterr().out


def table(page: str, header: str) -> str:
    """The table of a page whose first cell begins with `header`."""
    text = (ROOT / page).read_text()
    return text[text.index(f"| {header}") :].split("\n\n")[0]


def test_the_landing_page_shows_the_readmes_code_and_results() -> None:
    assert set(blocks(LANDING)) < set(blocks("README.md"))
    assert table(LANDING, "TuxAV test") == table("README.md", "TuxAV test")


def test_every_how_to_page_is_on_the_page_that_lists_them() -> None:
    toctrees = re.findall(
        r"^```\{toctree\}\n:hidden:\n:caption: (.*)\n\n((?:\w+\n)+)```", (ROOT / LANDING).read_text(), re.M
    )
    listed = [page for caption, inside in toctrees for page in inside.split() if caption in HOW_TO]
    linked = re.findall(r"\]\((\w+)\.md", (DOCS / "howto.md").read_text())
    assert len({caption for caption, _ in toctrees} & HOW_TO) == len(HOW_TO)
    assert sorted(set(listed) - set(linked)) == []


@pytest.mark.parametrize("page", [page for page in PAGES if page != LANDING and blocks(page)])
def test_code_on_a_page_runs(
    page: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    """And prints what the page shows, where it shows something."""
    monkeypatch.chdir(tmp_path)
    if page == "docs/deploy.md":
        pytest.importorskip("onnxruntime")
        wrap("han", anchor_options={"width": 8}).save("runs/han")
    if page in ("docs/parsing.md", "docs/extraction.md"):
        pytest.importorskip("av", reason="needs the extra `video`")
        shutil.copyfile(CLIPS[0], "holiday.mp4")
        write_run(Path("runs/demo/han-coleaf"))
    if page == "docs/hub.md":
        request.getfixturevalue("hub")
        wrap("han", anchor_options={"width": 8}).push_to_hub("ada/han-llp")
    names: dict[str, object] = {}
    for block in blocks(page):
        exec(block, names)
    printed = capsys.readouterr().out
    assert not printed or printed in (ROOT / page).read_text()


@pytest.mark.parametrize(
    "page",
    ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", *(page for page in PAGES if not page.startswith(AS_PRINTED))],
)
def test_lines_are_short_enough_for_two_beside_each_other(page: str) -> None:
    """100 characters; aside from tables, pictures and printed output, whose fences name no language."""
    fence, long = "", []
    for line in (ROOT / page).read_text().splitlines():
        if line.startswith("```"):
            fence = "" if fence else line
        elif len(line) > 100 and not line.startswith(("|", "![")) and fence != "```":
            long.append(line)
    assert long == []


def test_links_and_named_files_exist() -> None:
    for page in ["README.md", "CONTRIBUTING.md", *PAGES]:
        for name in re.findall(
            r"`((?:tests|docs|examples|benchmarks|coleaf_framework)/[\w/.]+)`", (ROOT / page).read_text()
        ):
            assert (ROOT / name).exists(), f"{page}: {name}"
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
            if not target.startswith("http"):
                assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


def test_the_tracker_of_ones_own_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    exec(blocks("docs/tracking.md")[-1], made)
    trackers = Trackers({"own": made["PrintTracker"]()}, tmp_path)
    trackers.start(TrackedRun("run", {}), resuming=False)
    trackers.scalars([(1, {"loss/total": 1.0})])
    trackers.table("validation", ["parser"], [["HAN"]])
    trackers.finish("finished")
    assert Trackers({"own": made["PrintTracker"]()}, tmp_path).done(1)
