"""What a teacher is, and one of embeddings that the user has. Shape letters: see `protocol.py`; E is a width."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from coleaf_framework.data import AVVPDataset, Video
from coleaf_framework.data.npy_files import load_array
from coleaf_framework.labelling.rule import similarity_logits
from coleaf_framework.protocol import Modality
from coleaf_framework.storage import file_digest

Embed = Callable[[Video, int], Tensor]
"""A video and its number of segments, T -> embeddings (T,E)."""


class Teacher(Protocol):
    """Judges how much of each class is in each segment of a video, in one modality.

    Args:
        modality: The one that it sees or hears.
        about: What it is, as plain values for the record beside the labels.
    """

    modality: Modality
    about: Mapping[str, Any]

    def logits(self, video: Video, segments: int) -> Tensor:
        """Logits (T,C) of a video of T segments.

        Raises:
            FileNotFoundError: It needs a file that is not there.
            ValueError: What it needs is malformed. The message names file and video.
        """
        ...


class EmbeddingsTeacher:
    """Scaled cosines of embeddings that the user has.

    Args:
        modality: Whose labels they make.
        text: (C,E), embeddings of the classes.
        embed: Gives the embeddings of a video's segments.
        scale: Factor of the cosines, above 0.
        about: Where the embeddings come from.

    Raises:
        ValueError: `text` has NaN, inf or a class of zeros, or `scale` is not above 0.
    """

    def __init__(
        self, modality: Modality, text: Tensor, embed: Embed, scale: float, about: Mapping[str, Any] | None = None
    ) -> None:
        if not (torch.isfinite(text).all() and text.abs().sum(1).gt(0).all()):
            raise ValueError("the embeddings of the classes hold NaN or inf, or only zeros for a class")
        if not 0 < scale < float("inf"):
            raise ValueError(f"the scale of the cosines is {scale}, where a number above 0 was expected")
        self.modality, self.text, self.embed, self.scale = modality, text, embed, scale
        self.about: Mapping[str, Any] = {"teacher": "embeddings", "scale": scale, **(about or {})}

    def logits(self, video: Video, segments: int) -> Tensor:
        """See `Teacher.logits`."""
        embeddings = self.embed(video, segments)
        if embeddings.shape[1] != self.text.shape[1]:
            raise ValueError(
                f"video {video.id!r}: its embeddings have width {embeddings.shape[1]}, those of the classes "
                f"{self.text.shape[1]}"
            )
        return similarity_logits(embeddings, self.text, self.scale)


def folder_of_embeddings(folder: Path) -> Embed:
    """Embeddings `folder/<id>.npy`, each (T,E) of real numbers.

    Raises:
        NotADirectoryError: There is no such folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: no such folder")

    def read(video: Video, segments: int) -> Tensor:
        path = folder / f"{video.id}.npy"
        array = read_array(path)
        if array.shape[0] != segments:
            raise ValueError(f"{path}: {array.shape[0]} rows, where video {video.id!r} has {segments} segments")
        return array

    return read


def stream_embeddings(data: AVVPDataset, stream: str) -> Embed:
    """A stream of the data itself, averaged over the frames of each segment: (T,width).

    Raises:
        ValueError: The data has no such stream.
    """
    if stream not in data.streams:
        raise ValueError(f"{data.name} has no stream {stream!r}; it has {', '.join(sorted(data.streams))}")

    def read(video: Video, segments: int) -> Tensor:
        return rearrange(video.streams[stream].double(), "(t k) d -> t k d", t=segments).mean(1)

    return read


def read_text(path: Path, classes: int) -> tuple[Tensor, dict[str, Any]]:
    """Embeddings of the classes from an npy file, (C,E), and its record.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is malformed or has another number of rows.
    """
    text = read_array(path)
    if len(text) != classes:
        raise ValueError(f"{path}: {len(text)} rows, where {classes} were expected, one for each class of the data")
    return text, {"text": path.name, "text_digest": file_digest(path)}


def read_array(path: Path) -> Tensor:
    """A 2-D array of finite real numbers from an npy file, as float64. Nothing in the file is executed.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file holds something else. The message names it.
    """
    array = load_array(path)
    if not np.isfinite(array).all():
        raise ValueError(f"{path}: holds NaN or inf")
    return torch.from_numpy(array.astype(np.float64))
