"""Kinds of media files that are taken, by their first bytes, before FFmpeg sees them.

FFmpeg finds a file's kind by its content and knows some 300, among them playlists (HLS, concat, DASH) that name other
files and addresses to be opened. Those never begin as the containers here do. MP3 is not taken, since FFmpeg skips its
leading ID3 tag and looks for any kind behind it.
"""

from __future__ import annotations

HEAD = 512
"""Bytes that are looked at."""
KINDS = "MP4, MOV, WebM, Matroska, AVI, MPEG-TS, MPEG-PS, FLV, WMV, Ogg, WAV and FLAC"
_STARTS = (
    b"\x1aE\xdf\xa3",  # WebM, Matroska
    b"OggS",
    b"FLV\x01",
    b"0&\xb2u\x8ef\xcf\x11",  # ASF: WMV
    b"\x00\x00\x01\xba",  # MPEG-PS
    b"fLaC",
)
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # MP4 and MOV: length, then one of these
_TS_PACKET = 188


def is_taken(head: bytes) -> bool:
    """Whether a file that begins with these bytes, up to `HEAD` of them, is of one of `KINDS`."""
    if head.startswith(_STARTS) or head[4:8] in _BOXES:
        return True
    if head[:4] == b"RIFF":
        return head[8:12] in (b"AVI ", b"WAVE")
    return len(head) == HEAD and all(head[at] == 0x47 for at in range(0, HEAD, _TS_PACKET))
