"""The page: what it holds, and what its script computes, in a real browser."""

from __future__ import annotations

import html
import json
import re
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coleaf_framework.metrics import ALL_KEYS, COLUMNS, DecisionConfig, ModalityThresholds, all_scores
from coleaf_framework.metrics.analysis import type_table
from coleaf_framework.report import page
from coleaf_framework.report.page import STEPS, levels
from coleaf_framework.report.runs import Report
from coleaf_framework.results.predictions import Predictions
from tests.helpers.browser import BROWSER, needs_browser
from tests.helpers.command import Command
from tests.helpers.predictions import joint, made_up, write_run

NASTY = "</script><img src=x onerror=alert(1)>&\"'"
LOG = '{"epoch": 1, "losses": {"anchor/video": 1.5}, "theta": {"audio": 0.25, "visual": 0.5}}\n' * 2


def runs() -> list[Predictions]:
    """Two, with other gates and a threshold per class that is on no slider's step."""
    per_class = ModalityThresholds(audio=(0.1234, 0.5, 0.9), visual=0.3)
    return [
        made_up(1, classes=(NASTY, "Car", "Speech")),
        made_up(
            2,
            classes=(NASTY, "Car", "Speech"),
            parser="CMPAE in CoLeaF",
            decision=DecisionConfig(segment_threshold=0.25, gate="modality", gate_threshold=per_class),
        ),
    ]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    long = "of-a-network-with-a-rather-long-name-no-self-modality"
    one, other = (
        write_run(folder / f"run{i}-{long}", x, f"anchor: {{name: {name}}}\n", LOG)
        for i, (x, name) in enumerate(zip(runs(), ("han", "cmpae"), strict=True))
    )
    made = Report([one, other], "val")
    made.write_page(folder / "report.html")
    made.write_figures(folder / "figures")
    return folder


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=5), st.integers(0, STEPS))
def test_levels_decide_as_thresholds_do(probs: list[float], step: int) -> None:
    p = torch.tensor(probs)
    assert torch.equal(levels(p) >= step, p >= p.new_tensor(step / STEPS))


def test_every_step_itself_is_reached() -> None:
    steps = torch.tensor([i / STEPS for i in range(STEPS + 1)])
    assert torch.equal(levels(steps), torch.arange(STEPS + 1, dtype=torch.uint8))


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.pointed: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.loaded += [str(found[name]) for name in ("src", "srcset", "data", "poster") if name in found]
        self.loaded += [str(found["href"])] if tag == "link" else []
        self.ids += [str(found["id"])] if "id" in found else []
        self.pointed += [str(found["href"])[1:]] if tag == "a" else []


def test_the_page_is_one_file_that_loads_nothing(report: Path) -> None:
    text = (report / "report.html").read_text()
    links = _Links()
    links.feed(text)
    assert links.loaded
    assert all(source.startswith("data:image/svg+xml;base64,") for source in links.loaded)
    assert "link" not in links.tags
    assert len(set(links.ids)) == len(links.ids)
    assert set(links.pointed) <= set(links.ids)
    assert "default-src 'none'" in text
    assert "@import" not in text
    assert "url(" not in text
    assert len(text.encode()) < 5_000_000


def test_names_of_videos_and_classes_cannot_end_the_script(report: Path) -> None:
    text = (report / "report.html").read_text()
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["classes"][0] == NASTY
    assert "<img src=x" not in text


def test_the_same_figures_are_written_as_png_and_svg(report: Path) -> None:
    names = {"classes", "types", "reliability", "differences", "losses", "theta"}
    files = {path.name for path in (report / "figures").iterdir()}
    assert files == {f"{n}.{e}" for n in names for e in ("png", "svg")} | {"numbers.json"}
    numbers = json.loads((report / "figures/numbers.json").read_text())
    one = runs()[0]
    assert numbers["rows"]["HAN"]["type_table"] == type_table(one.decided(), one.truth, one.mask).tolist()
    assert numbers["rows"]["CMPAE in CoLeaF"]["history"][0]["theta"] == {"audio": 0.25, "visual": 0.5}
    assert "Speech" in (report / "figures/classes.svg").read_text()
    assert (report / "figures/types.png").read_bytes().startswith(b"\x89PNG")


def test_a_page_that_would_be_too_large_is_refused(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "LARGEST", 50_000)
    with pytest.raises(ValueError, match=r"the page would have \d.\d MB, at most 0 are allowed: name fewer runs"):
        Report(sorted(report.glob("run?-*")), "val").write_page(report / "none.html")
    assert not (report / "none.html").exists()


def test_the_command_goes_from_predictions_to_a_page(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    tiny = ("--set", "trainer.epochs=1", "--set", "trainer.device=cpu", "--set", "anchor.options.width=8")
    coleaf("train", "--data", data_root, "--anchor", "han", "--out", "run", *tiny)
    assert "has no predictions of split 'test': run `coleaf predict run --split test` first" in coleaf(
        "report", "run", fails=True
    )
    coleaf("predict", "run", "--split", "test")
    assert (tmp_path / "run/predictions-test.json").exists()
    printed = coleaf("report", "run", "--out", "page.html", "--figures", "figures")
    assert "page.html, 0." in printed
    assert "HAN in CoLeaF has " in printed
    assert "te01" in (tmp_path / "page.html").read_text()


PROBE = f"<script>{(Path(__file__).parent / 'probe.js').read_text()}</script></body>"


def dumped(path: Path, *flags: str) -> str:
    """The page's elements after its scripts ran, in headless Chromium."""
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *flags,
               "--virtual-time-budget=20000", f"--user-data-dir={path.parent / 'profile'}", "--dump-dom"]  # fmt: skip
    return subprocess.run([*command, path.as_uri()], capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.fixture(scope="module")
def seen(report: Path) -> dict[str, Any]:
    """What a user of the page sees after each of their moves."""
    needs_browser()
    text = (report / "report.html").read_text()
    (report / "probed.html").write_text(text.replace("</body>", PROBE))
    found = re.search(r'<pre id="out">(.*?)</pre>', dumped(report / "probed.html"), re.DOTALL)
    assert found is not None
    content: dict[str, Any] = json.loads(html.unescape(found[1]))
    return content


def expected(predictions: Predictions, decision: DecisionConfig) -> list[float]:
    decided = predictions.decided(decision)
    scores = all_scores(decided, predictions.truth)
    return [scores[key] for key in ALL_KEYS]


def held(cells: dict[str, float | None], r: int, predictions: Predictions, decision: DecisionConfig) -> None:
    for i, value in enumerate(expected(predictions, decision)):
        cell = cells[f"{r}/{i // len(COLUMNS)}/{i % len(COLUMNS)}"]
        assert cell == (None if value != value else pytest.approx(value, abs=1e-9)), ALL_KEYS[i]
    table = type_table(predictions.decided(decision), predictions.truth, predictions.mask).double()
    for i, j in [(i, j) for i in range(4) for j in range(4)]:
        share = (100 * table[i, j] / table[i].sum()).item()
        assert cells[f"types/{r}/{i}/{j}"] == pytest.approx(share, abs=1e-9)


def test_scores_in_the_page_are_those_of_the_runs(seen: dict[str, Any]) -> None:
    for r, predictions in enumerate(runs()):
        held(seen["own"], r, predictions, predictions.decision)


def test_sliders_change_the_scores_to_what_the_metrics_give(seen: dict[str, Any]) -> None:
    assert seen["unchecked"]
    assert seen["shown"] == "0.61"
    for r, predictions in enumerate(runs()):
        gates = ModalityThresholds(audio=0.22, visual=0.47)
        if predictions.decision.gate == "video":  # one gate for both modalities, of which each slider moves one
            predictions = replace(predictions, modality_probs=predictions.video_probs[:, None].expand(-1, 2, -1))
        held(
            seen["moved"], r, predictions, DecisionConfig(segment_threshold=0.61, gate="modality", gate_threshold=gates)
        )
    assert seen["moved"] != seen["own"]
    assert seen["back"] == seen["own"]


def test_timelines_show_truth_and_runs_and_follow_the_sliders(seen: dict[str, Any]) -> None:
    who = [label.split(":")[0] for label in seen["tracks"]]
    assert who == [f"{name}, {m}" for name in ("ground truth", "HAN", "CMPAE in CoLeaF") for m in ("audio", "visual")]
    truth = runs()[0].truth[0]
    for m, label in enumerate(seen["tracks"][:2]):
        for c, name in enumerate(runs()[0].classes):
            assert (f"{name}, " in label) == bool(truth[:, m, c].any())
    assert seen["movedTracks"][:2] == seen["tracks"][:2]
    assert seen["movedTracks"][2:] != seen["tracks"][2:]


def test_videos_are_searched_and_sorted_by_gain(seen: dict[str, Any]) -> None:
    one, other = runs()
    gains = {}
    for n, name in enumerate(one.ids):
        scores = [all_scores(x.decided()[n : n + 1], x.truth[n : n + 1]) for x in (other, one)]
        of_video = [each["support/segment/Type@AVo"] for each in scores]
        gains[name] = of_video[0] - of_video[1]
    assert seen["all"] == list(one.ids)
    assert [gains[v] for v in seen["gain"]] == pytest.approx(sorted(gains.values(), reverse=True))
    assert [gains[v] for v in seen["loss"]] == pytest.approx(sorted(gains.values()))
    assert seen["found"] == ["video3"]
    assert seen["count"].startswith("1 of 6 videos")
    assert sorted(seen["withCar"]) == [v for n, v in enumerate(one.ids) if one.truth[n, :, :, 1].any()]


def joint_runs() -> list[Predictions]:
    return [joint(1), joint(2, parser="CMPAE in CoLeaF")]


@pytest.fixture(scope="module")
def joint_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page on data whose ground truth has only the columns AV, of segments of 0.32 s."""
    folder = tmp_path_factory.mktemp("joint")
    runs = [
        write_run(folder / f"run{i}", x, f"anchor: {{name: {name}}}\n", LOG)
        for i, (x, name) in enumerate(zip(joint_runs(), ("han", "cmpae"), strict=True))
    ]
    Report(runs, "val").write_page(folder / "report.html")
    return folder / "report.html"


def test_a_page_on_joint_truth_shows_only_columns_that_exist(joint_report: Path) -> None:
    text = joint_report.read_text()
    shown, script = re.sub(r"src=\"data:[^\"]*\"", "", text).split('<script type="application/json" id="data">')
    assert shown.count('<th scope="col">AV</th>') == 4
    assert not re.search(r"Type@|Event@|T@|E@|>Ao<|>Vo<|>A<|>V<|Reliability", shown)
    data = json.loads(script.partition("</script>")[0])
    assert (data["columns"], data["kept"], data["true_types"], data["seconds"]) == (["AV"], [4], [2], 0.32)
    known = [i for i, value in enumerate(data["trivial"][1]["columns"]) if value is not None]
    assert [ALL_KEYS[i] for i in known] == ["segment/AV", "event/AV", "support/segment/AV", "support/event/AV"]


def test_the_script_scores_joint_truth_by_av_and_labels_events_in_seconds(joint_report: Path) -> None:
    needs_browser()
    probed = joint_report.with_name("probed.html")
    probed.write_text(joint_report.read_text().replace("</body>", PROBE))
    found = re.search(r'<pre id="out">(.*?)</pre>', dumped(probed), re.DOTALL)
    assert found is not None
    seen = json.loads(html.unescape(found[1]))
    for r, predictions in enumerate(joint_runs()):
        scores = predictions.scores()
        for b, column in enumerate(("segment/AV", "event/AV", "support/segment/AV", "support/event/AV")):
            assert seen["own"][f"{r}/{b}/0"] == pytest.approx(scores[column], abs=1e-9)
        assert [key for key in seen["own"] if key.startswith(f"types/{r}/")] == [f"types/{r}/2/{j}" for j in range(4)]
    events = joint_runs()[0].events()[0].ground_truth or []
    for event in events:
        assert f"{event.label}, {event.onset:g} to {event.offset:g} s" in seen["tracks"][0]


@pytest.mark.parametrize(("ci", "outcome"), [("1", "Failed"), ("", "Skipped")])
def test_without_a_browser_ci_fails_and_others_skip(monkeypatch: pytest.MonkeyPatch, ci: str, outcome: str) -> None:
    monkeypatch.setattr("tests.helpers.browser.BROWSER", None)
    monkeypatch.setenv("CI", ci)
    with pytest.raises(BaseException, match="needs Chromium") as raised:
        needs_browser()
    assert type(raised.value).__name__ == outcome


def test_every_control_is_reached_by_keyboard(seen: dict[str, Any]) -> None:
    assert seen["focusable"]


def test_a_phone_need_not_scroll_sideways(report: Path) -> None:
    needs_browser()
    framed = report / "framed.html"
    framed.write_text(
        '<iframe src="report.html" style="width:360px;height:700px;border:0"></iframe><pre id="out"></pre><script>'
        "onload = () => setTimeout(() => { const d = document.querySelector('iframe').contentDocument.documentElement;"
        "document.getElementById('out').textContent = d.clientWidth + ' ' + d.scrollWidth; }, 500)</script>"
    )
    found = re.search(r'<pre id="out">(\d+) (\d+)</pre>', dumped(framed, "--allow-file-access-from-files"))
    assert found is not None
    assert int(found[2]) <= int(found[1])
