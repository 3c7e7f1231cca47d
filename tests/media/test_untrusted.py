"""Uploads of strangers: a file is opened as a file, and leads to no other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coleaf_framework.media import opening, probe
from tests.helpers.media import make_media, whole


@pytest.mark.parametrize(
    "name", ["-x.mp4", "concat:a|b", "http:clip.mp4", "pipe:0", "data:text", "50%d.mp4", "a b\n.mp4", "subfile,,start"]
)
def test_names_that_ffmpeg_would_take_for_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).write_bytes(make_media(tmp_path / "clip.mp4").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert len(whole(Path(name)).frames) == 16


def test_name_that_is_no_utf8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4"))
    path.write_bytes(make_media(tmp_path / "clip.mp4").read_bytes())
    assert probe(path).seconds == 2


def test_suffix_does_not_matter(tmp_path: Path) -> None:
    path = make_media(tmp_path / "clip.mp4")
    assert len(whole(path.rename(tmp_path / "clip.txt")).frames) == 16


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/clip.mp4", "concat:clip.mp4", "/dev/stdin"])
def test_addresses_are_no_files(url: str) -> None:
    with pytest.raises((FileNotFoundError, ValueError), match="no such file|not a regular file"):
        probe(Path(url))


def references(folder: Path) -> dict[str, str]:
    """Playlists and the like, each of which leads to a good file beside it."""
    clip = make_media(folder / "secret.ts")
    return {
        "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{clip}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile '{clip}'\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
        "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        f'mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="video/mp2t"><Representation id="1" '
        f'bandwidth="1"><BaseURL>{clip}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    }


@pytest.mark.parametrize("kind", ["m3u8", "concat", "sdp", "mpd"])
def test_file_that_refers_to_others_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"clip.{kind}"
    path.write_text(references(tmp_path)[kind])
    with pytest.raises(ValueError, match=f"clip.{kind}: not readable as audio or video"):
        probe(path)


@pytest.mark.parametrize("kind", ["m3u8", "concat"])
def test_other_file_is_not_opened_even_by_a_known_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(opening, "CONTAINERS", (*opening.CONTAINERS, "hls", "concat", "applehttp"))
    path = tmp_path / f"clip.{kind}"
    path.write_text(references(tmp_path)[kind])
    with pytest.raises(ValueError, match=r"clip\.\w+: (not readable|damaged)"):
        whole(path)
