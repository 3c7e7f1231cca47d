"""Small media files, made by PyAV when a test asks for them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from coleaf_framework.media import Piece, decode

Picture = Callable[[float, int, int], NDArray[np.uint8]]
"""Seconds, width and height -> (H,W,3) uint8 RGB."""

Sound = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Seconds (n,) -> samples (n,) or (channels, n) in [-1,1]."""

_MATRICES = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0), "mirrored": (-1, 0, 0, 1)}
MILLISECOND = Fraction(1, 1000)


def quarters(_: float, width: int, height: int) -> NDArray[np.uint8]:
    """A still of four colours: red and green above, blue and white below."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2, 0] = 255
    picture[: height // 2, width // 2 :, 1] = 255
    picture[height // 2 :, : width // 2, 2] = 255
    picture[height // 2 :, width // 2 :] = 255
    return picture


def brightening(seconds: float, width: int, height: int) -> NDArray[np.uint8]:
    """Grey whose level tells the time: 10 a second, from 20."""
    return np.full((height, width, 3), 20 + min(round(seconds * 10), 230), np.uint8)


def noise(seconds: float, width: int, height: int) -> NDArray[np.uint8]:
    """Moving noise, which fills the file with bytes."""
    return np.random.default_rng(round(seconds * 1000)).integers(0, 256, (height, width, 3), np.uint8)


def flash(at: float) -> Picture:
    """Black, and white from `at` on."""
    return lambda seconds, width, height: np.full((height, width, 3), 255 * (seconds >= at), np.uint8)


def tone(hertz: float = 440.0, level: float = 0.5) -> Sound:
    """A sine."""
    return lambda seconds: level * np.sin(2 * np.pi * hertz * seconds)


def click(at: float) -> Sound:
    """Silence, and a tone from `at` on."""
    return lambda seconds: tone(1000.0)(seconds) * (seconds >= at)


def make_media(
    path: Path,
    *,
    seconds: float = 2.0,
    fps: Fraction | int = 8,
    times: Sequence[float] | None = None,
    size: tuple[int, int] = (64, 48),
    pixels: str = "yuv420p",
    video: str | None = "libx264",
    video_options: Mapping[str, str] | None = None,
    picture: Picture = brightening,
    audio: str | None = "aac",
    rate: int = 16000,
    layout: str = "mono",
    samples: str | None = None,
    sound: Sound | None = None,
    sound_seconds: float | None = None,
    video_start: float = 0.0,
    audio_start: float = 0.0,
    rotation: int | str = 0,
    second_picture: Picture | None = None,
    cover: bool = False,
    format: str | None = None,
    options: Mapping[str, str] | None = None,
) -> Path:
    """Write a media file.

    Args:
        path: The file; its suffix says which container.
        seconds: Length of both tracks.
        fps: Frames a second.
        times: When each frame is shown, instead of `fps`.
        size: Width and height as stored.
        pixels: Pixel format as stored.
        video: Encoder; None for no video track.
        video_options: Of the encoder.
        picture: What is seen.
        audio: Encoder; None for no audio track.
        rate: Samples a second.
        layout: Channels, as FFmpeg names them.
        samples: Sample format as stored; the encoder's first one if None.
        sound: What is heard; 440 Hz if None.
        sound_seconds: Length of the audio track; `seconds` if None.
        video_start: When the video track starts.
        audio_start: When the audio track starts.
        rotation: By how many degrees clockwise players turn the frames, or "mirrored"; MP4 only.
        second_picture: What a second video track shows, which is marked as the default one.
        cover: Whether a cover picture of 16 x 16 is attached, which is red.
        format: The container, where the suffix does not say.
        options: Of the container, such as {"movflags": "faststart"}.
    """
    with av.open(str(path), "w", format=format, options=dict(options or {})) as file:
        tracks: list[Iterator[tuple[float, Any]]] = []
        if video:
            shown = [i / Fraction(fps) for i in range(round(seconds * fps))] if times is None else list(times)
            pictures = [picture] if second_picture is None else [picture, second_picture]
            for one in pictures:
                stream = _video_stream(file, video, fps, size, pixels, video_options)
                if times:
                    stream.time_base = stream.codec_context.time_base = MILLISECOND
                if second_picture:
                    stream.disposition = Disposition.default.value if one is second_picture else 0
                tracks.append(_video_packets(stream, shown, video_start, one))
        if audio:
            stream = file.add_stream(audio, rate=rate, layout=layout)
            if samples:
                stream.format = samples
            lasts = seconds if sound_seconds is None else sound_seconds
            tracks.append(_audio_packets(stream, lasts, audio_start, sound or tone()))
        if cover:
            stream = _video_stream(file, "mjpeg", 1, (16, 16), "yuvj420p", None)
            stream.disposition = Disposition.attached_pic.value
            tracks.append(_video_packets(stream, [0], 0.0, lambda *_: np.full((16, 16, 3), (255, 0, 0), np.uint8)))
        _interleave(file, tracks)
    if rotation:
        _turn(path, _MATRICES[rotation])
    return path


def _video_stream(
    file: Any,
    encoder: str,
    fps: Fraction | int,
    size: tuple[int, int],
    pixels: str,
    options: Mapping[str, str] | None,
) -> Any:
    stream = file.add_stream(encoder, rate=Fraction(fps), options=dict(options or {}))
    stream.width, stream.height, stream.pix_fmt = *size, pixels
    stream.time_base = stream.codec_context.time_base = 1 / Fraction(fps)
    return stream


def _video_packets(stream: Any, times: Sequence[Any], start: float, picture: Picture) -> Iterator[tuple[float, Any]]:
    base = stream.codec_context.time_base
    for time in times:
        array = picture(float(time), stream.width, stream.height)
        frame = av.VideoFrame.from_ndarray(array, format="rgb24")
        frame.pts, frame.time_base = round((time + Fraction(start)) / base), base
        for packet in stream.encode(frame):
            yield float(time) + start, packet
    for packet in stream.encode(None):
        yield float("inf"), packet


def _audio_packets(stream: Any, seconds: float, start: float, sound: Sound) -> Iterator[tuple[float, Any]]:
    rate, block = stream.codec_context.sample_rate, 1024
    total, channels = round(seconds * rate), stream.codec_context.layout.nb_channels
    resampler = av.AudioResampler(stream.codec_context.format, stream.codec_context.layout, rate)
    for first in range(0, total, block):
        times = np.arange(first, min(first + block, total)) / rate
        made = np.broadcast_to(sound(times), (channels, len(times))).astype(np.float32)
        packed = np.ascontiguousarray(made.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, "flt", stream.codec_context.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = rate, first + round(start * rate), Fraction(1, rate)
        for part in resampler.resample(frame):
            for packet in stream.encode(part):
                yield first / rate + start, packet
    for packet in stream.encode(None):
        yield float("inf"), packet


def join(path: Path, *parts: Path) -> Path:
    """Write the packets of files with one track each behind each other, whatever the format of their frames."""
    with av.open(str(path), "w") as file:
        stream: Any = None
        for part in parts:
            with av.open(str(part)) as source:
                stream = stream or file.add_stream_from_template(source.streams[0])
                for packet in source.demux(0):
                    if packet.dts is not None:
                        packet.stream = stream
                        file.mux(packet)
    return path


def whole(path: Path, **options: Any) -> Piece[NDArray[np.uint8]]:
    """Decode a file of up to 1,000 seconds into one piece, at 8 frames and 16,000 samples a second."""
    settings: dict[str, Any] = {"window": 1000, "frame_rate": 8, "sample_rate": 16000, "prepare": np.copy}
    (piece,) = decode(path, **(settings | options))
    return piece


def _interleave(file: Any, tracks: list[Iterator[tuple[float, Any]]]) -> None:
    heads = [next(track, None) for track in tracks]
    while any(heads):
        which = min((i for i, head in enumerate(heads) if head), key=lambda i: heads[i][0])  # type: ignore[index]
        file.mux(heads[which][1])  # type: ignore[index]
        heads[which] = next(tracks[which], None)


def _turn(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Set the display matrix in the first track header of an MP4 file."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
