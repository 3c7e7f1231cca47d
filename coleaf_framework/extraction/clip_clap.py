"""The recipe `clip-clap`: features as VALOR++'s were made (Lai et al., NeurIPS 2023), by the library transformers.

| stream | network | rows of T seconds |
|---|---|---|
| audio | CLAP with fusion, HTS-AT's last feature map | (64,768), of ten seconds |
| visual | CLIP ViT-L/14, projected image embedding of one frame a second | (T,768), of unit length |

VALOR++'s third stream, of R(2+1)D-18, is `llp`'s. Needs the extra `clip-clap`; `docs/extraction_clip_clap.md` says
what is uncertain. Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from coleaf_framework._extras import require_library
from coleaf_framework.data.layout import StreamFiles
from coleaf_framework.extraction.clap_maps import GROUPS, RATE, SECONDS, WIDTH, ClapMaps
from coleaf_framework.extraction.clip_images import CLIP_MODEL, clip_pixels
from coleaf_framework.extraction.pretrained import find_folder, how_to_download, load_local
from coleaf_framework.extraction.recipe import Array
from coleaf_framework.extraction.sampling import frame_positions
from coleaf_framework.media import Piece

_FRAME_RATE = 8


class ClipClap:
    """VALOR++'s features of CLAP and CLIP. See `Recipe`.

    Args:
        weights: Folder with folders clip-vit-large-patch14 and clap-htsat-fused in transformers' form, or with one of
            laion-clap's checkpoints for the second; None for the cache of the Hugging Face hub.
        device: Where the networks run.

    Raises:
        ImportError: transformers is not installed.
        NotADirectoryError, FileNotFoundError: Weights are missing; says which, and how to get them.
        ValueError: Weights cannot be loaded, or are of another network.
    """

    name: ClassVar[str] = "clip-clap"
    version: ClassVar[int] = 1
    frame_rate: ClassVar[int] = _FRAME_RATE
    frame_size: ClassVar[tuple[int, int] | None] = None
    sample_rate: ClassVar[int] = RATE
    windows: ClassVar[tuple[int, int]] = (SECONDS, SECONDS)
    streams: ClassVar[Mapping[str, StreamFiles]] = {
        "audio": StreamFiles(
            modality="audio", folder="CLAP/features", width=WIDTH, groups=GROUPS, resampling="bicubic"
        ),
        "visual": StreamFiles(modality="visual", folder="CLIP/features", width=WIDTH, frames=1),
    }

    def __init__(self, weights: Path | None = None, device: torch.device | str = "cpu") -> None:
        library = require_library("transformers", "the recipe clip-clap", "clip-clap")
        if weights is not None and not weights.is_dir():
            raise NotADirectoryError(f"{weights}: no folder, where one with the weights of CLIP and CLAP was expected")
        clip, digest = _load_clip(library, weights)
        self._clap = ClapMaps(library, weights, device)
        self.weights: Mapping[str, str] = {"clip": digest, "clap": self._clap.digest}
        self.device = torch.device(device)
        # CLIP's side of texts, a third of its weights, is let go.
        self._vision, self._projection = (x.to(self.device) for x in (clip.vision_model, clip.visual_projection))
        self._size = int(clip.config.vision_config.image_size)

    def prepare(self, frame: NDArray[np.uint8]) -> Tensor:
        """A frame (H,W,3) as CLIP takes it: (3,224,224) float32, 600 KB, since what is rounded is not the same."""
        return clip_pixels(torch.tensor(frame).permute(2, 0, 1), self._size)

    def features(self, piece: Piece[Tensor]) -> dict[str, Array]:
        """The streams of T seconds: audio (64,768), fewer rows of fewer than ten; visual (T,768). See `Recipe`."""
        return {
            "audio": self._clap(piece.samples, piece.seconds),
            "visual": self._embedded(torch.stack(self._frames(piece))),
        }

    def _frames(self, piece: Piece[Tensor]) -> list[Tensor]:
        """The frame of each second, at even positions of the frames as VALOR does; black ones without a video track.

        Of a track that ends over half a second early the last frame is repeated, so that the others keep their time.
        """
        if not piece.frames:
            return [self.prepare(np.zeros((1, 1, 3), np.uint8))] * piece.seconds
        expected = piece.seconds * _FRAME_RATE
        return [piece.frames[i] for i in frame_positions(len(piece.frames), expected, piece.seconds)]

    @torch.inference_mode()
    def _embedded(self, pixels: Tensor) -> Array:
        """CLIP's projected embeddings of images (T,3,224,224): (T,768), each of unit length."""
        seen = self._vision(pixel_values=pixels.to(self.device)).pooler_output
        found: Array = normalize(self._projection(seen).float(), dim=-1).cpu().numpy()
        return found


def _load_clip(library: Any, weights: Path | None) -> tuple[Any, str]:
    """CLIP, and its file's digest."""
    folder = find_folder(CLIP_MODEL, weights)
    if folder is None:
        raise FileNotFoundError(
            f"{weights or 'the cache of the Hugging Face hub'}: has no CLIP. Get it by "
            f"`{how_to_download(CLIP_MODEL, weights)}`"
        )
    network, digest = load_local(library.CLIPModel, folder)
    if network.config.projection_dim != WIDTH:
        raise ValueError(f"{folder}: is a CLIP of width {network.config.projection_dim}, where {WIDTH} was expected")
    return network, digest
