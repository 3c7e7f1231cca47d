"""Reading an uploaded video from a form (multipart/form-data) straight to disk, within limits."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from coleaf_framework._text import one_line
from coleaf_framework.serving.containers import HEAD, KINDS, ending_of
from coleaf_framework.serving.limits import MEGA, Limits, Refusal

FIELD = "video"
_FRAME = 65_536  # bytes that boundaries and headers of a form may add to the file
_HEADERS = 8_192  # bytes of a part's headers
_LONGEST_NAME = 100
_DRAIN = 10  # seconds
_FORM = f'expected a form (multipart/form-data) with one file in the field "{FIELD}"'


async def receive(request: Request, folder: Path, limits: Limits, megabytes: float) -> tuple[str, str]:
    """Write the uploaded video into a folder.

    Args:
        request: The request.
        folder: The request's own folder.
        limits: Time.
        megabytes: Largest file.

    Returns:
        Name of the file in the folder, and what the client calls it, fit to be shown.

    Raises:
        Refusal: Something else was uploaded, or too much, or too slowly.
    """
    most = int(megabytes * MEGA)
    too_large = Refusal(413, f"the video is larger than the {megabytes:g} MB that are taken here")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most + _FRAME:
        raise too_large
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise Refusal(415, _FORM)
    path = folder / secrets.token_hex(8)
    try:
        with path.open("xb") as file:
            part = _Part(file, most, too_large)
            parser = MultipartParser(options[b"boundary"], part.callbacks())  # type: ignore[arg-type]
            await asyncio.wait_for(_feed(parser, request.stream(), most + _FRAME, too_large), limits.upload_seconds)
    except asyncio.TimeoutError:
        raise Refusal(408, f"the upload took longer than {limits.upload_seconds:g} s") from None
    except FormParserError as problem:
        raise Refusal(400, f"{_FORM}; this one is malformed: {one_line(str(problem))}") from None
    except ClientDisconnect:
        raise Refusal(400, "the client left before the upload was complete") from None
    except OSError as problem:
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Refusal(507, "the disk is full, so the video cannot be kept while it is parsed") from None
    name = part.require_whole()
    ending = ending_of(part.head)
    if ending is None:
        raise Refusal(415, f"{name}: begins as none of the media files that are taken: {KINDS}")
    return path.rename(path.with_suffix(ending)).name, name


async def drain(request: Request, limits: Limits) -> None:
    """Read on for a while what a refused client still sends: most read no answer before they have sent everything."""
    if "expect" in request.headers:  # it asked before it sent anything
        return
    with contextlib.suppress(asyncio.TimeoutError, ClientDisconnect, RuntimeError):  # the last: nothing is left to read
        await asyncio.wait_for(_discard(request.stream()), min(_DRAIN, limits.upload_seconds))


async def _discard(chunks: AsyncIterator[bytes]) -> None:
    async for _ in chunks:
        pass


async def _feed(parser: MultipartParser, chunks: AsyncIterator[bytes], most: int, too_large: Refusal) -> None:
    async for chunk in chunks:
        most -= len(chunk)
        if most < 0:
            raise too_large
        parser.write(chunk)
    parser.finalize()


class _Part:
    """The one part of the form, written to a file as it comes."""

    def __init__(self, file: BinaryIO, most: int, too_large: Refusal) -> None:
        self._file, self._most, self._too_large = file, most, too_large
        self._headers: list[tuple[bytes, bytes]] = []
        self._field, self._value = b"", b""
        self._parts, self._size, self._whole = 0, 0, False
        self._name = ""
        self.head = b""

    def callbacks(self) -> dict[str, object]:
        """For the parser."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def require_whole(self) -> str:
        """The client's name of the file.

        Raises:
            Refusal: The form ended early, or the file is empty.
        """
        if not self._whole:
            raise Refusal(400, f"{_FORM}; this one ends too early")
        if not self._size:
            raise Refusal(422, f"{self._name}: is empty (0 bytes)" if self._name else "no file was chosen")
        return self._name or "video"

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > 1:
            raise Refusal(422, f"{_FORM}; this one has more")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field = self._bounded(self._field + data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value = self._bounded(self._value + data[start:end])

    def _header_end(self) -> None:
        self._headers.append((self._field.lower(), self._value))
        self._bounded(b"".join(field + value for field, value in self._headers))
        self._field, self._value = b"", b""

    def _bounded(self, data: bytes) -> bytes:
        if len(data) > _HEADERS:
            raise Refusal(400, f"{_FORM}; this one has headers of more than {_HEADERS} bytes")
        return data

    def _headers_finished(self) -> None:
        _, options = parse_options_header(dict(self._headers).get(b"content-disposition", b""))
        if options.get(b"name") != FIELD.encode() or b"filename" not in options:
            raise Refusal(422, f"{_FORM}; this one has another field")
        self._name = display_name(options[b"filename"].decode("utf-8", "replace"))

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._size > self._most:
            raise self._too_large
        if len(self.head) < HEAD:
            self.head += data[start : min(end, start + HEAD - len(self.head))]
        self._file.write(data[start:end])

    def _end(self) -> None:
        self._whole = True


def display_name(name: str) -> str:
    """What a client calls its file, without folders, on one line and of bounded length; never used as a path."""
    last = re.split(r"[/\\]", name)[-1]
    return one_line(last)[:_LONGEST_NAME].strip()
