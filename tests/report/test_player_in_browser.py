"""The player in a real browser, in real time: the video plays, and the events are those of `metrics`."""

from __future__ import annotations

import csv
import functools
import http.server
import io
import json
import re
import shutil
import threading
import wave
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from coleaf_framework.metrics import DecisionConfig, Event
from coleaf_framework.report.player import embedded, linked, make_player
from coleaf_framework.results.events_file import VideoEvents, read_video_events, write_events
from coleaf_framework.results.parsed_video import ParsedVideo
from tests.helpers.browser import Browser, needs_browser
from tests.helpers.parsed import CLIP, answer, events_at, parsed

# The second comes after the third by UTF-16 units, and before it by code points.
NASTY = ('Dog "A", <b>&amp; 1 --> 2', "\ufb01re", "\U0001f600")
PLAIN = ("Dog", "Car", "Speech")
WORDS = {"audible-only": "heard", "visible-only": "seen", "audible-visible": "both"}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    needs_browser()
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def show(browser: Browser, folder: Path, videos: Sequence[ParsedVideo], source: str | None = None) -> None:
    """Open a page of the videos, which all have the same source; the clip, linked, if None."""
    page = folder / "page.html"
    url = linked(CLIP, page) if source is None else source
    page.write_text(make_player("Some events", videos, {video.id: url for video in videos}), encoding="utf-8")
    browser.open(page.as_uri())
    browser.until(f"document.body.dataset.ready === {videos[0].id!r}")


def show_clip(browser: Browser, folder: Path, classes: tuple[str, ...] = PLAIN) -> ParsedVideo:
    """Open a page of the clip with random events, and wait until the browser knows its length."""
    video = parsed(answer(5), classes)
    show(browser, folder, [video])
    browser.until("state.media.readyState > 0")
    return video


def shown(browser: Browser) -> list[Event]:
    """The events that the script holds, of which timeline, table and exports are made."""
    return [Event(**event) for event in browser.run("state.events")]


def move(browser: Browser, slider: str, value: int) -> None:
    browser.run(f"$('{slider}').value = {value}; $('{slider}').dispatchEvent(new Event('input', {{bubbles: true}}))")
    browser.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def at(browser: Browser) -> float:
    browser.until("!state.media.seeking && state.aim === null")
    return browser.run("state.media.currentTime")


@pytest.mark.parametrize("way", ["linked", "embedded", "served"])
def test_the_clip_loads(browser: Browser, tmp_path: Path, way: str) -> None:
    clip = tmp_path / 'my clips #1/a 100%41 "é"?.mp4'
    clip.parent.mkdir()
    shutil.copy(CLIP, clip)
    source = embedded(clip) if way == "embedded" else linked(clip, tmp_path / "page.html")
    show(browser, tmp_path, [parsed(answer(1), PLAIN)], source)
    if way == "served":
        serve = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
        serve.log_message = lambda *_: None  # type: ignore[attr-defined]
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            browser.open(f"http://127.0.0.1:{server.server_port}/page.html")
            browser.until("document.body.dataset.ready && state.media.readyState > 0")
            server.shutdown()
    browser.until("state.media.readyState > 0")
    assert browser.run("state.media.duration") == pytest.approx(10, abs=0.1)
    assert browser.run("state.media.videoWidth") == 160
    assert browser.run("$('problem').hidden")
    assert browser.faults() == []


def test_space_plays_and_the_cursor_runs_along(browser: Browser, tmp_path: Path) -> None:
    show_clip(browser, tmp_path)
    place = "$('cursor').firstElementChild.getBoundingClientRect().left"
    before = browser.run(place)
    browser.press(" ")
    browser.until("state.media.currentTime > 0.5")
    browser.press(" ")
    assert browser.run("state.media.paused")
    time = at(browser)
    browser.until(f"Math.abs($('scale').getAttribute('aria-valuenow') - {time}) < 0.011")
    width = browser.run("$('scale').clientWidth")
    assert browser.run(place) - before == pytest.approx(width * time / 10, abs=2)
    assert browser.run("parseFloat($('position').textContent)") == pytest.approx(time, abs=0.11)


@pytest.mark.parametrize("reduced", [False, True])
def test_the_cursor_moves_with_each_frame_unless_motion_is_reduced(
    browser: Browser, tmp_path: Path, reduced: bool
) -> None:
    preference = {"name": "prefers-reduced-motion", "value": "reduce" if reduced else "no-preference"}
    browser.call("Emulation.setEmulatedMedia", features=[preference])
    show_clip(browser, tmp_path)
    browser.run("frames = 0, real = requestAnimationFrame, requestAnimationFrame = (f) => (frames++, real(f)), 0")
    browser.press(" ")
    browser.until("state.media.currentTime > 0.7 && $('scale').getAttribute('aria-valuenow') > 0.3")
    assert (browser.run("frames") == 0) == reduced
    browser.call("Emulation.setEmulatedMedia", features=[])


def test_of_many_quick_moves_the_last_counts(browser: Browser, tmp_path: Path) -> None:
    show_clip(browser, tmp_path)
    for i in range(5):
        browser.run(f"for (let i = 0; i < 20; i++) seek((7 * i + {i}) % 10); seek({i + 3})")
        assert browser.run("state.at") == i + 3
        assert at(browser) == i + 3


def test_a_click_on_an_event_goes_to_its_onset(browser: Browser, tmp_path: Path) -> None:
    video = show_clip(browser, tmp_path)
    bars = browser.run("[...document.querySelectorAll('.bar')].map((bar) => bar.title)")
    expected = [f"{e.label}, {WORDS[e.modality]}, {e.onset:g} s to {e.offset:g} s" for e in video.events()]
    assert sorted(bars) == sorted(expected)
    late = max(video.events(), key=lambda e: e.onset)
    assert late.onset > 0
    browser.click(f"[...document.querySelectorAll('.bar')][{bars.index(expected[video.events().index(late)])}]", 0.8)
    assert at(browser) == late.onset
    assert browser.run("[...document.querySelectorAll('#list [aria-current]')].length") == sum(
        e.onset <= late.onset < e.offset for e in video.events()
    )


def test_enter_on_an_event_of_the_table_goes_to_its_onset(browser: Browser, tmp_path: Path) -> None:
    video = show_clip(browser, tmp_path)
    rows = browser.run(
        "[...document.querySelectorAll('#list tr')].map((row) => [...row.cells].map((c) => c.textContent))"
    )
    assert rows == [
        [e.label, WORDS[e.modality], f"{e.onset:g} s", f"{e.offset:g} s", f"{e.confidence:.4f}"] for e in video.events()
    ]
    browser.run("document.querySelector('#list tr:last-child button').focus()")
    browser.press("Enter")
    assert at(browser) == video.events()[-1].onset > 0


def test_a_click_on_the_timeline_goes_there(browser: Browser, tmp_path: Path) -> None:
    show_clip(browser, tmp_path)
    browser.click("$('scale')", 0.25)
    assert at(browser) == pytest.approx(2.5, abs=0.02)


def test_arrows_and_letters_move(browser: Browser, tmp_path: Path) -> None:
    video = show_clip(browser, tmp_path)
    for _ in range(2):
        browser.press("ArrowRight")
    browser.press("ArrowLeft")
    assert at(browser) == 1
    onsets = sorted({e.onset for e in video.events()})
    seen = []
    browser.run("seek(0)")
    for key in "nnpn":
        browser.press(key)
        seen.append(at(browser))
    first, second = [t for t in onsets if t > 0][:2]
    assert seen == [first, second, first, second]
    starting = [e for e in video.events() if e.onset == second]
    assert browser.run("$('said').textContent").count(f"{second:g} s to") == len(starting)
    browser.run("$('scale').focus()")
    browser.press("End")
    assert at(browser) == pytest.approx(10, abs=0.01)
    browser.press("Home")
    assert at(browser) == 0


def test_a_field_keeps_its_keys_and_all_can_be_switched_off(browser: Browser, tmp_path: Path) -> None:
    show_clip(browser, tmp_path)
    browser.run("$('choose').open = true; $('search').focus()")
    for key in "n p":
        browser.press(key)
    assert browser.run("$('search').value") == "n p"
    assert browser.run("state.media.paused")
    browser.run("$('segment').focus()")
    browser.press("ArrowRight")
    assert browser.run("$('segment').value") == "51"
    assert at(browser) == 0
    browser.run("$('keys').click(); document.activeElement.blur()")
    browser.press("n")
    browser.press("ArrowRight")
    assert at(browser) == 0


def test_every_control_has_a_name(browser: Browser, tmp_path: Path) -> None:
    show_clip(browser, tmp_path)
    browser.run("$('choose').open = $('help').open = true")
    named = {"button", "checkbox", "combobox", "slider", "searchbox", "link"}
    nodes = [n for n in browser.call("Accessibility.getFullAXTree")["nodes"] if n["role"]["value"] in named]
    assert [n for n in nodes if not n["name"]["value"]] == []
    assert {n["role"]["value"] for n in nodes} >= named - {"combobox"}


def test_own_thresholds_show_the_events_of_the_parser(browser: Browser, tmp_path: Path) -> None:
    video = show_clip(browser, tmp_path, NASTY)
    assert shown(browser) == video.events()
    move(browser, "segment", 90)
    assert not browser.run("$('own').checked")
    assert shown(browser) != video.events()
    browser.run("$('own').click()")
    assert shown(browser) == video.events()
    assert browser.run("[$('segment').value, $('audio').value, $('visual').value]") == ["50", "40", "40"]


def test_sliders_show_the_events_that_metrics_finds(browser: Browser, tmp_path: Path) -> None:
    output = answer(6, windows=3)
    video = parsed(output, NASTY)
    show(browser, tmp_path, [video])
    for segment, audio, visual in ((61, 22, 47), (0, 0, 0), (30, 70, 10), (100, 0, 0), (7, 100, 3)):
        for slider, value in (("segment", segment), ("audio", audio), ("visual", visual)):
            move(browser, slider, value)
        expected = events_at(output, video, segment, audio, visual)
        assert shown(browser) == expected
        assert browser.run("document.querySelectorAll('.bar').length") == len(expected)
        assert browser.run("$('summary').textContent").endswith(
            f"segment {segment / 100:.2f}, audio gate {audio / 100:.2f}, visual gate {visual / 100:.2f}."
        )


def test_every_step_decides_as_metrics_does(browser: Browser, tmp_path: Path) -> None:
    lengths = (1.0, 0.32, 0.96, 1 / 128, 1 / 3)  # multiples of 1/128 lie halfway between two numbers of six decimals
    outputs = [answer(seed, windows=1 + seed % 3, segments=4 + seed) for seed in range(10)]
    videos = [parsed(output, NASTY, id=f"video{i}", segment_seconds=lengths[i % 5]) for i, output in enumerate(outputs)]
    show(browser, tmp_path, videos)
    random = torch.Generator().manual_seed(0)
    for i, (output, video) in enumerate(zip(outputs, videos, strict=True)):
        browser.run(f"load(VIDEOS[{i}])")
        places = [(step, 0, 0) for step in range(101)]
        places += [tuple(row) for row in torch.randint(0, 101, (60, 3), generator=random).tolist()]
        found = browser.run(
            f"{[list(p) for p in places]}.map(([segment, audio, visual]) => listEvents(VIDEOS[{i}], "
            "{segment, audio, visual}))"
        )
        for place, events in zip(places, found, strict=True):
            assert events == [asdict(e) for e in events_at(output, video, *place)], (video.id, place)


@pytest.mark.parametrize(("absent", "kinds"), [("audio", {"visible-only"}), ("visual", {"audible-only"})])
def test_nothing_is_found_in_a_track_that_is_absent(
    browser: Browser, tmp_path: Path, absent: str, kinds: set[str]
) -> None:
    sound = tmp_path / "sound.wav"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        file.writeframes(bytes(160_000))
    note = f"The file has no {absent} track."
    show(browser, tmp_path, [parsed(answer(1), PLAIN, absent=absent, notes=(note,))], embedded(sound))
    move(browser, "segment", 0)
    move(browser, "audio", 0)
    move(browser, "visual", 0)
    assert {e.modality for e in shown(browser)} == kinds
    assert browser.run("$('notes').textContent") == note
    if absent == "visual":
        assert browser.run("state.media.tagName") == "AUDIO"
        browser.until("state.media.duration === 10")


def test_classes_are_searched_and_switched_off(browser: Browser, tmp_path: Path) -> None:
    video = show_clip(browser, tmp_path)
    rows = "[...document.querySelectorAll('#rows .name')].map((name) => name.textContent)"
    assert browser.run(rows) == [c for c in PLAIN if c in {e.label for e in video.events()}]
    browser.run("$('choose').open = true; $('search').value = 'CA'; $('search').dispatchEvent(new Event('input'))")
    assert browser.run("$('classes').textContent") == "Car"
    browser.click("$('none')")
    assert browser.run("$('count').textContent") == "2 of 3 on"
    assert shown(browser) == [e for e in video.events() if e.label != "Car"]
    assert browser.run(rows) == ["Dog", "Speech"]
    browser.click("$('all')")
    assert shown(browser) == video.events()


def test_a_class_without_events_has_a_row_on_request(browser: Browser, tmp_path: Path) -> None:
    show_clip(browser, tmp_path)
    move(browser, "segment", 100)
    move(browser, "audio", 100)
    move(browser, "visual", 100)
    assert browser.run("document.querySelectorAll('.row').length") == 1
    browser.run("$('choose').open = true; $('empty').click()")
    assert browser.run("document.querySelectorAll('.row').length") == 4


def test_downloads_hold_the_events_as_shown(browser: Browser, tmp_path: Path) -> None:
    output = answer(5)
    video = parsed(output, NASTY, id="a/b: <1>", notes=("It is short.",))
    show(browser, tmp_path, [video])
    move(browser, "segment", 30)
    browser.run("state.off.add(VIDEOS[0].classes[1]), decide()")
    expected = [e for e in events_at(output, video, 30, 40, 40) if e.label != NASTY[1]]
    assert {e.modality for e in expected} == set(WORDS)
    files = {kind: browser.download(f"$('{kind}')") for kind in ("json", "csv", "vtt")}
    assert {kind: file.name for kind, file in files.items()} == {k: f"a_b_ _1_.{k}" for k in files}
    parser, read = read_video_events(files["json"], video.id)
    assert (parser, read.seconds, read.events, read.ground_truth) == (video.parser, 10, expected, None)
    text = files["json"].read_text()
    written = tmp_path / "written.json"
    write_events(written, video.parser, "media files", "test", [VideoEvents(video.id, 10.0, expected, None)])
    assert json.loads(text) | {"notes": []} == json.loads(written.read_text())
    assert '"It is short."' in text
    assert "segment 0.30, audio gate 0.40, visual gate 0.40" in text
    assert f"Without events of {NASTY[1]}" in text
    rows = list(csv.DictReader(io.StringIO(files["csv"].read_bytes().decode(), newline="")))
    assert [
        (r["video"], r["label"], r["modality"], float(r["onset"]), float(r["offset"]), float(r["confidence"]))
        for r in rows
    ] == [(video.id, e.label, e.modality, e.onset, e.offset, e.confidence) for e in expected]
    assert cues(files["vtt"].read_text()) == [
        (e.onset, e.offset, f"{e.label} ({WORDS[e.modality].replace('both', 'heard and seen')})") for e in expected
    ]


def cues(text: str) -> list[tuple[float, float, str]]:
    """Start, end and text of each cue of a WebVTT file."""
    head, *blocks = text.strip().split("\n\n")
    assert head == "WEBVTT"
    found = []
    for block in blocks:
        times, words = block.split("\n")
        ends = re.fullmatch(r"(\d\d):(\d\d):(\d\d\.\d{3}) --> (\d\d):(\d\d):(\d\d\.\d{3})", times).groups()
        start, end = (3600 * int(h) + 60 * int(m) + float(s) for h, m, s in (ends[:3], ends[3:]))
        for escaped, plain in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
            words = words.replace(escaped, plain)
        found.append((start, end, words))
    return found


@pytest.mark.parametrize("kind", ["none", "text", "embedded text"])
def test_a_video_that_cannot_be_played_leaves_the_timeline(browser: Browser, tmp_path: Path, kind: str) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    source = {"none": "none%20here.mp4", "text": "broken.mp4", "embedded text": embedded(broken)}[kind]
    video = parsed(answer(5), PLAIN)
    show(browser, tmp_path, [video], source)
    browser.until("!$('problem').hidden")
    said = browser.run("$('problem').textContent")
    assert said.startswith(f"This browser cannot play {CLIP.name}: ")
    assert ("there is no file at none%20here.mp4" in said) == (kind == "none")
    browser.press(" ")
    browser.press("n")
    assert browser.run("state.at") == min(e.onset for e in video.events() if e.onset > 0)
    assert browser.faults() == []


def test_another_file_than_the_parsed_one_is_noticed(browser: Browser, tmp_path: Path) -> None:
    show(browser, tmp_path, [parsed(answer(5, windows=2), PLAIN)])
    browser.until("!$('problem').hidden")
    assert browser.run("$('problem').textContent").endswith(
        "lasts 10.0 s here, and the parsed file lasted 20 s: is it another file?"
    )


def test_of_several_videos_one_is_chosen(browser: Browser, tmp_path: Path) -> None:
    videos = [parsed(answer(i), PLAIN, id=f"video{i}") for i in range(2)]
    show(browser, tmp_path, videos)
    browser.run("$('video').value = 1; $('video').dispatchEvent(new Event('input'))")
    browser.until("document.body.dataset.ready === 'video1'")
    assert shown(browser) == videos[1].events()
    assert browser.faults() == []


def test_of_three_hours_a_stretch_is_shown_that_follows_the_video(browser: Browser, tmp_path: Path) -> None:
    classes = tuple(f"class {i}" for i in range(25))
    decision = DecisionConfig(segment_threshold=0.99, gate="modality", gate_threshold=0.4)
    video = parsed(answer(1, windows=1080, classes=25), classes, decision=decision)
    events = video.events()
    show(browser, tmp_path, [video], "none.mp4")
    assert shown(browser) == events
    browser.run("seek(7500)")
    drawn = [e for e in events if e.offset > 7500 and e.onset < 7800]
    assert browser.run("document.querySelectorAll('.bar').length") == len(drawn) > 0
    assert browser.run("document.querySelector('#scale span').textContent") == "2:05:00"
    browser.click("$('later')")
    assert browser.run("state.at") == 7800
    browser.run("$('stretch').value = 0; $('stretch').dispatchEvent(new Event('input'))")
    move(browser, "segment", 50)
    assert "too many to draw" in browser.run("$('summary').textContent")
    assert browser.run("document.querySelectorAll('.bar').length") == 0


def test_a_phone_need_not_scroll_sideways(browser: Browser, tmp_path: Path) -> None:
    browser.size(375, 700)
    try:
        long = tuple(f"{name} with a rather long name, and_without_any_place_to_break_it" for name in PLAIN)
        show_clip(browser, tmp_path, long)
        browser.run("$('choose').open = $('help').open = true")
        assert browser.run("document.documentElement.scrollWidth") <= 375
        browser.run("scrollTo(0, 600)")
        assert browser.run("$('stage').getBoundingClientRect().top") == 0  # the video stays in view
    finally:
        browser.size(1280, 900)
