"""The recipe `llp`: features as LLP's were made (Tian et al., ECCV 2020; JoMoLD and CMPAE have the same scripts).

| stream | network | rows of T seconds |
|---|---|---|
| audio | VGGish, AudioSet | (T,128) |
| visual | ResNet-152, ImageNet, before its last layer | (8T,2048) |
| visual_st | R(2+1)D-18, Kinetics-400, before its last layer | (T,512), each of 8 frames |

All values are at least 0, and nothing is normalised afterwards. `docs/extraction_llp.md` says what is uncertain.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from coleaf_framework._config import reason
from coleaf_framework.data.layout import StreamFiles
from coleaf_framework.extraction.llp_inputs import Image, Prepared, prepare_frame, sampled, spectrograms
from coleaf_framework.extraction.log_mel import SAMPLE_RATE
from coleaf_framework.extraction.recipe import Array
from coleaf_framework.extraction.vggish import VGGISH_WEIGHTS, VGGish
from coleaf_framework.extraction.weights import PublicWeights, find_weights, load_network
from coleaf_framework.media import Piece

WEIGHTS: Mapping[str, PublicWeights] = {
    "vggish": VGGISH_WEIGHTS,
    # The package pretrainedmodels, which LLP's scripts call, loads the first; torchvision replaced it by the second.
    "resnet152": PublicWeights(
        ("resnet152-b121ed2d.pth", "resnet152-394f9c45.pth"), "https://download.pytorch.org/models/"
    ),
    "r2plus1d_18": PublicWeights(("r2plus1d_18-91a641e6.pth",), "https://download.pytorch.org/models/"),
}
"""Name of a network -> the files that are accepted."""

FRAME_RATE = 8
Pixels = tuple[tuple[float, float, float], tuple[float, float, float]]
IMAGENET: Pixels = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINETICS: Pixels = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
"""Mean and deviation of pixels in [0,1], of red, green and blue."""
BATCHES = {"vggish": 16, "resnet152": 16, "r2plus1d_18": 4}  # bounds memory


def load_networks(folder: Path | None, device: torch.device | str) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """The three networks, in evaluation mode and without ResNet's and R(2+1)D's last layers.

    Args:
        folder: Where their weights lie; None for torch hub's cache.
        device: Where they run.

    Returns:
        Name -> network; name -> first 16 hex digits of the SHA-256 of its weights file.

    Raises:
        ImportError: torchvision is not installed, or does not load.
        NotADirectoryError, FileNotFoundError, ValueError: As `find_weights` and `load_network`.
    """
    makers: dict[str, Callable[[], nn.Module]] = {"vggish": VGGish, **_torchvision_networks()}
    networks, digests = {}, {}
    for name, path in find_weights(WEIGHTS, folder).items():
        network, digests[name] = load_network(makers[name], path, unused=None if name == "vggish" else "fc.")
        networks[name] = network.to(device)
    return networks, digests


def _torchvision_networks() -> dict[str, Callable[[], nn.Module]]:
    """torchvision's networks without their last layer."""
    try:
        models = importlib.import_module("torchvision.models")
    except ModuleNotFoundError as problem:
        library = str(problem.name).partition(".")[0]
        raise ImportError(
            f"the recipe llp needs {library}, which is not installed: pip install 'coleaf-framework[llp]'"
        ) from problem
    except Exception as problem:  # RuntimeError, OSError or ImportError, by what in its compiled part does not fit
        raise ImportError(
            f"the recipe llp needs torchvision, which is installed but does not load beside PyTorch "
            f"{torch.__version__}: {reason(problem)[:200]}; install the build of it that belongs to this PyTorch"
        ) from problem
    return {
        "resnet152": partial(_headless, models.resnet152),
        "r2plus1d_18": partial(_headless, models.video.r2plus1d_18),
    }


def _headless(make: Callable[..., Any]) -> nn.Module:
    network: nn.Module = make(weights=None)
    network.fc = nn.Identity()
    return network


class LLPRecipe:
    """LLP's features. See `Recipe`.

    Args:
        weights: Folder with the weights files of `WEIGHTS`; None for torch hub's cache.
        device: Where the networks run.

    Raises:
        ImportError: torchvision is not installed, or does not load beside this PyTorch.
        NotADirectoryError, FileNotFoundError: Weights are missing; says which, and where they are published.
        ValueError: A weights file has another digest than its name says, or is of another network.
    """

    name: ClassVar[str] = "llp"
    version: ClassVar[int] = 1
    frame_rate: ClassVar[int] = FRAME_RATE
    frame_size: ClassVar[tuple[int, int] | None] = None
    sample_rate: ClassVar[int] = SAMPLE_RATE
    windows: ClassVar[tuple[int, int]] = (1, 300)
    streams: ClassVar[Mapping[str, StreamFiles]] = {
        "audio": StreamFiles(modality="audio", folder="feats/vggish", width=128),
        "visual": StreamFiles(modality="visual", folder="feats/res152", width=2048, frames=FRAME_RATE),
        "visual_st": StreamFiles(modality="visual", folder="feats/r2plus1d_18", width=512),
    }

    def __init__(self, weights: Path | None = None, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.networks, digests = load_networks(weights, self.device)
        self.weights: Mapping[str, str] = digests

    def prepare(self, frame: Image) -> Prepared:
        """See `prepare_frame`."""
        return prepare_frame(frame)

    def features(self, piece: Piece[Prepared]) -> dict[str, Array]:
        """The streams of T seconds: audio (T,128), visual (8T,2048), visual_st (T,512). See `Recipe`."""
        frames = sampled(piece.frames, FRAME_RATE * piece.seconds)
        images, small = zip(*frames, strict=True)
        clips = [np.stack(small[i : i + FRAME_RATE]) for i in range(0, len(small), FRAME_RATE)]
        return {
            "audio": self._answers("vggish", spectrograms(piece.samples, piece.seconds)),
            "visual": self._answers("resnet152", images, IMAGENET),
            "visual_st": self._answers("r2plus1d_18", clips, KINETICS),
        }

    @torch.inference_mode()
    def _answers(self, name: str, inputs: Sequence[NDArray[Any]], pixels: Pixels | None = None) -> Array:
        """What a network answers, a bounded number of inputs at a time.

        Args:
            name: The network.
            inputs: B of them, as the network takes them; with `pixels` (...,H,W,3) uint8.
            pixels: Mean and deviation that are taken off pixels.

        Returns:
            (B,width).
        """
        answers = []
        for start in range(0, len(inputs), BATCHES[name]):
            batch = torch.from_numpy(np.stack(inputs[start : start + BATCHES[name]])).to(self.device)
            if pixels is not None:
                mean, deviation = (torch.tensor(x, device=self.device) for x in pixels)
                batch = ((batch.float() / 255 - mean) / deviation).movedim(-1, 1).contiguous()
            answers.append(self.networks[name](batch).cpu())
        found: Array = torch.cat(answers).numpy()
        return found
