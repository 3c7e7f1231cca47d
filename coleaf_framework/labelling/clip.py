"""CLIP as a teacher of visual labels (VALOR: Lai et al., NeurIPS 2023), by the library transformers.

One frame a segment, at positions round(linspace(0, n - 1, T)) of a video's n frames. An image is resized as a tensor to
the model's square, bilinear without antialiasing and without keeping its aspect ratio, then normalised by CLIP's mean
and deviation. Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from coleaf_framework._config import reason
from coleaf_framework.data import Video
from coleaf_framework.labelling.pretrained import SimilarityTeacher, features, require_library
from coleaf_framework.protocol import Modality

CLIP_MODEL = "openai/clip-vit-large-patch14"
"""VALOR's."""
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


def frame_positions(frames: int, segments: int) -> list[int]:
    """Which frames stand for the segments of a video: T indices below `frames`, halves rounded to even.

    Example:
        >>> frame_positions(82, 10)
        [0, 9, 18, 27, 36, 45, 54, 63, 72, 81]
    """
    found: list[int] = np.round(np.linspace(0, frames - 1, segments)).astype(int).tolist()
    return found


def clip_pixels(image: Tensor, size: int) -> Tensor:
    """An image as CLIP takes it, prepared as VALOR did.

    Args:
        image: (3,H,W) uint8, RGB.
        size: Of the model's square.

    Returns:
        (3,size,size) float32.

    Example:
        >>> clip_pixels(torch.zeros(3, 4, 6, dtype=torch.uint8), 2).shape
        torch.Size([3, 2, 2])
    """
    resized = interpolate(image[None].float() / 255, (size, size), mode="bilinear", align_corners=False)[0]
    mean, deviation = (torch.tensor(x)[:, None, None] for x in (_MEAN, _DEVIATION))
    return (resized - mean) / deviation


class ClipTeacher(SimilarityTeacher):
    """Similarities of frames and prompts by CLIP.

    Args:
        frames: Folder with a video's frames as <id>/*.jpg, in the order of their sorted names.
        prompts: C texts.
        model: Name or folder of a `CLIPModel` with its tokenizer.
        device: Where it runs.

    Raises:
        ImportError: transformers or Pillow is not installed.
        NotADirectoryError: There is no folder of frames.
        ValueError: The model cannot be loaded.
    """

    modality: Modality = "visual"

    def __init__(
        self, frames: Path, prompts: Sequence[str], model: str = CLIP_MODEL, device: torch.device | str = "cpu"
    ) -> None:
        self._images = require_library("PIL.Image", "clip")
        if not frames.is_dir():
            raise NotADirectoryError(f"{frames}: no such folder")
        super().__init__("clip", "CLIPModel", model, "logit_scale", prompts, device)
        self.frames, self.size = frames, int(self.network.config.vision_config.image_size)

    @torch.no_grad()
    def logits(self, video: Video, segments: int) -> Tensor:
        """Logits (T,C) of a video.

        Raises:
            FileNotFoundError: The video has no frames.
            ValueError: A frame is not readable as an image.
        """
        paths = sorted((self.frames / video.id).glob("*.jpg"))
        if not paths:
            raise FileNotFoundError(f"{self.frames / video.id}: no .jpg frames of video {video.id!r}")
        pixels = [clip_pixels(self._read(paths[i]), self.size) for i in frame_positions(len(paths), segments)]
        return self.similarity(features(self.network.get_image_features(torch.stack(pixels).to(self.device))))

    def _read(self, path: Path) -> Tensor:
        try:
            with self._images.open(path) as image:
                rgb = np.array(image.convert("RGB"))
        except Exception as problem:  # a damaged image raises almost anything
            raise ValueError(f"{path}: not readable as an image: {reason(problem)}") from problem
        return torch.from_numpy(rgb).permute(2, 0, 1)
