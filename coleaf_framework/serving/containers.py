"""Kinds of media files that are taken, by their first bytes, before FFmpeg sees them.

FFmpeg finds a file's kind by its content and knows some 300, among them playlists (HLS, concat, DASH) that name other
files and addresses to be opened. Those never begin as the containers here do. MP3 is not taken, since FFmpeg skips its
leading ID3 tag and looks for any kind behind it.
"""

from __future__ import annotations

HEAD = 512
"""Bytes that are looked at."""
KINDS = "MP4, MOV, WebM, Matroska, AVI, MPEG-TS, MPEG-PS, FLV, WMV, Ogg, WAV and FLAC"
_STARTS = {
    b"\x1aE\xdf\xa3": ".webm",  # and Matroska, of which browsers play some as WebM
    b"OggS": ".ogg",
    b"FLV\x01": ".flv",
    b"0&\xb2u\x8ef\xcf\x11": ".wmv",
    b"\x00\x00\x01\xba": ".mpg",
    b"fLaC": ".flac",
}
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # a box: its length, then its kind
_RIFF = {b"AVI ": ".avi", b"WAVE": ".wav"}
_TS_PACKET, _TS_SYNC = 188, 0x47


def ending_of(head: bytes) -> str | None:
    """The file name's ending that fits a file's first bytes, up to `HEAD` of them; None if it is of none of `KINDS`.

    Example:
        >>> ending_of(b"RIFF0000WAVEfmt "), ending_of(b"#EXTM3U")
        ('.wav', None)
    """
    for start, ending in _STARTS.items():
        if head.startswith(start):
            return ending
    if head[4:8] in _BOXES:
        return ".mp4"
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    packets = len(head) == HEAD and all(head[at] == _TS_SYNC for at in range(0, HEAD, _TS_PACKET))
    return ".ts" if packets else None
