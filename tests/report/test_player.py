"""The player's HTML: what it holds, and whatever names it is given."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlparse

import numpy as np
import pytest

from coleaf_framework.metrics import DecisionConfig, ModalityThresholds
from coleaf_framework.report import player
from coleaf_framework.report.player import embedded, linked, make_player
from tests.helpers.parsed import CLIP, answer, parsed

NASTY = "</script><img src=x onerror=alert(1)>&\"'é\U0001f600\u2028$title"
NAMES = ("a b.mp4", "100%41.mp4", "what?#1.mp4", "é\U0001f600.mp4", "a:b.mp4", "'\"&<img>.mp4", "-x.mp4", "a\\b.mp4")


class _Parts(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.inputs: list[str] = []
        self.labelled: list[str] = []
        self._inside = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [str(found[name]) for name in ("src", "srcset", "href", "poster", "action") if name in found]
        self._inside += tag == "label"
        if tag in ("input", "select"):
            (self.labelled if self._inside else self.inputs).append(str(found.get("id")))

    def handle_endtag(self, tag: str) -> None:
        self._inside -= tag == "label"


def data(page: str) -> list[dict[str, Any]]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])


@pytest.fixture(scope="module")
def page() -> str:
    videos = [parsed(answer(i), (NASTY, "Car", "Speech"), id=f"{NASTY}{i}", notes=(NASTY,)) for i in range(2)]
    return make_player(NASTY, videos, {video.id: "clip.mp4" for video in videos})


def test_the_page_refers_to_nothing_outside(page: str) -> None:
    parts = _Parts(page)
    assert parts.links == ["#events"]
    assert "events" in parts.ids
    assert not {"link", "iframe", "object", "img"} & set(parts.tags)
    assert "default-src 'none'" in page
    assert not re.search(r"url\(|@import|https?://", page)


def test_ids_are_unique_and_every_input_has_a_label(page: str) -> None:
    parts = _Parts(page)
    assert len(set(parts.ids)) == len(parts.ids)
    assert parts.inputs == []
    assert {"video", "own", "segment", "audio", "visual", "search", "keys"} <= set(parts.labelled)


def test_names_can_neither_end_the_script_nor_be_tags(page: str) -> None:
    assert _Parts(page).tags.count("script") == 2
    assert "<img" not in page
    assert [(v["id"], v["classes"][0], v["notes"]) for v in data(page)] == [
        (f"{NASTY}{i}", NASTY, [NASTY]) for i in range(2)
    ]


def test_without_javascript_a_table_holds_the_events() -> None:
    video = parsed(answer(1), ("Dog", "Car", "Speech"), notes=("It has no sound.",))
    inside = make_player("t", [video], {"clip": "x"}).split("<noscript>")[1].split("</noscript>")[0]
    words = {"audible-only": "heard", "visible-only": "seen", "audible-visible": "both"}
    cells = re.findall(r"<tr><td>(.*?)</td></tr>", inside)
    expected = [(e.label, words[e.modality], str(e.onset), str(e.offset), str(e.confidence)) for e in video.events()]
    assert [tuple(row.split("</td><td>")) for row in cells] == expected
    assert expected
    assert "It has no sound." in inside


def test_own_thresholds_start_the_sliders_at_the_nearest_step() -> None:
    gates = ModalityThresholds(audio=(0.1234, 0.5, 0.9), visual=0.333)
    decision = DecisionConfig(segment_threshold=0.25, gate="modality", gate_threshold=gates)
    (held,) = data(make_player("t", [parsed(answer(1), ("Dog", "Car", "Speech"), decision=decision)], {"clip": "x"}))
    assert held["start"] == {"segment": 25, "audio": 51, "visual": 33}
    assert held["own"] == {
        "segment": "0.25",
        "audio": "one per class",
        "visual": "0.333",
        "gate": "modality probabilities",
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("folder", ["", "clips # 1", ".."])
def test_a_link_leads_from_the_page_to_the_file(tmp_path: Path, name: str, folder: str) -> None:
    page = tmp_path / "pages ?" / "page.html"
    file = page.parent / folder / name
    url = urlparse(urljoin(page.as_uri(), linked(file, page)))
    assert (url.scheme, url.query, url.fragment) == ("file", "", "")
    assert Path(unquote(url.path)) == Path(*(file.parent.resolve() / name).parts)


def test_an_embedded_file_is_whole_and_has_its_type(tmp_path: Path) -> None:
    for name, kind in (("a.MP4", "video/mp4"), ("a.wav", "audio/wav"), ("a.mkv", "video/x-matroska")):
        (tmp_path / name).write_bytes(b"\x00\xff!")
        assert embedded(tmp_path / name) == f"data:{kind};base64,AP8h"
    (tmp_path / "without").write_bytes(b"")
    assert embedded(tmp_path / "without") == "data:application/octet-stream;base64,"


def test_what_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player, "LARGEST_EMBEDDED", 200_000)
    with pytest.raises(ValueError, match=r"tuxva000000.mp4: 0\.2 MB are too much to embed in a page"):
        embedded(CLIP)
    monkeypatch.setattr(player, "LARGEST", 20_000)
    with pytest.raises(ValueError, match=r"the page would have 0\.0 MB, at most 0 are allowed: name fewer videos, or"):
        make_player("t", [parsed(answer(1), ("Dog", "Car", "Speech"))], {"clip": "x"})


def test_a_missing_file_cannot_be_embedded(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none.mp4"):
        embedded(tmp_path / "none.mp4")


def test_videos_need_ids_and_sources_of_their_own() -> None:
    video = parsed(answer(1), ("Dog", "Car", "Speech"))
    with pytest.raises(ValueError, match="at least one parsed video"):
        make_player("t", [], {})
    with pytest.raises(ValueError, match="sources has no URL for video 'clip'"):
        make_player("t", [video], {"other": "x"})
    with pytest.raises(ValueError, match="two videos have the id 'clip'"):
        make_player("t", [video, replace(video, notes=("other",))], {"clip": "x"})


def test_three_hours_of_25_classes_make_a_page_of_some_megabytes() -> None:
    decision = DecisionConfig(segment_threshold=0.99, gate="modality", gate_threshold=0.4)
    video = parsed(answer(1, windows=1080, classes=25), tuple(f"class {i}" for i in range(25)), decision=decision)
    page = make_player("t", [video], {"clip": "x"})
    assert np.prod(video.segment_probs.shape) == 540_000
    assert len(page) < 10_000_000
