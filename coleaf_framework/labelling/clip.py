"""CLIP as a teacher of visual labels (VALOR: Lai et al., NeurIPS 2023), by the library transformers.

One frame a segment, at positions round(linspace(0, n - 1, T)) of a video's n frames, prepared as in
`extraction.clip_images`. Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from coleaf_framework._config import reason
from coleaf_framework._extras import require_library
from coleaf_framework.data import Video
from coleaf_framework.extraction.clip_images import CLIP_MODEL, clip_pixels
from coleaf_framework.extraction.sampling import even_positions
from coleaf_framework.labelling.pretrained import SimilarityTeacher, features
from coleaf_framework.protocol import Modality


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
        self._images = require_library("PIL.Image", "the teacher clip", "teachers")
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
        pixels = [clip_pixels(self._read(paths[i]), self.size) for i in even_positions(len(paths), segments)]
        return self.similarity(features(self.network.get_image_features(torch.stack(pixels).to(self.device))))

    def _read(self, path: Path) -> Tensor:
        try:
            with self._images.open(path) as image:
                rgb = np.array(image.convert("RGB"))
        except Exception as problem:  # a damaged image raises almost anything
            raise ValueError(f"{path}: not readable as an image: {reason(problem)}") from problem
        return torch.from_numpy(rgb).permute(2, 0, 1)
