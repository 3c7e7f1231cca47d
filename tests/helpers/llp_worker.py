"""The recipe llp on a real clip, with random weights, in a process of its own.

    python -m tests.helpers.llp_worker OUT

torchvision lies beside the environment. Where its compiled part does not load beside this PyTorch, the operators that
its Python part describes are declared, so that its networks, which need none of them, can be made. That is why this is
a process of its own: other libraries would take that torchvision for a working one.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from coleaf_framework.extraction import llp
from coleaf_framework.extraction.llp_inputs import Prepared, prepare_frame
from coleaf_framework.extraction.vggish import VGGish
from coleaf_framework.extraction.weights import PublicWeights
from coleaf_framework.media import decode
from tests.helpers.public_weights import save_public

BESIDE = Path(sys.prefix) / "torchvision"
CLIP = Path(__file__).parents[2] / "examples" / "clips" / "tuxva000002.mp4"
SECONDS = 2
SIZES = ((160, 160), (97, 131), (131, 97), (256, 345), (360, 203), (33, 400))
"""Heights and widths of frames whose preparation is compared."""
OPERATORS = ("nms", "qnms")


def load_torchvision() -> list[Any]:
    """Import torchvision; returns what must be kept while it is used."""
    sys.path.append(str(BESIDE))
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for operator in OPERATORS:
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")
        return [library]
    return []


@torch.no_grad()
def spread(network: nn.Module) -> nn.Module:
    """The network in evaluation mode, with random statistics, and values that stay near 1 through its depth."""
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.1)
            if name.endswith(("bn3", "conv2.1")):  # the last of a residual block
                module.weight.fill_(0.3)
    return network.eval()


def pooled(network: nn.Module, batch: Tensor) -> NDArray[np.float32]:
    """(B,width): what the whole network's last layer is given."""
    seen: list[Tensor] = []
    handle = network.get_submodule("fc").register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        network(batch)
    handle.remove()
    return seen[0].numpy()


def by_torchvision(networks: Mapping[str, nn.Module], frames: list[NDArray[np.uint8]]) -> dict[str, NDArray[Any]]:
    """Features as torchvision's own transforms and whole networks give them, a frame and a clip at a time."""
    from PIL import Image
    from torchvision import transforms as t

    images = [Image.fromarray(frame) for frame in frames]
    for_resnet = t.Compose([t.Resize(256), t.CenterCrop(224), t.ToTensor(), t.Normalize(*llp.IMAGENET)])
    for_clips = t.Compose([t.Resize((112, 112)), t.ToTensor(), t.Normalize(*llp.KINETICS)])
    clips = [
        torch.stack([for_clips(image) for image in images[8 * i : 8 * i + 8]], dim=1)[None] for i in range(SECONDS)
    ]
    return {
        "visual": np.concatenate([pooled(networks["resnet152"], for_resnet(image)[None]) for image in images]),
        "visual_st": np.concatenate([pooled(networks["r2plus1d_18"], clip) for clip in clips]),
    }


def preparation() -> dict[str, NDArray[Any]]:
    """Frames of many sizes as the recipe and as torchvision prepare them."""
    from PIL import Image
    from torchvision import transforms as t

    found = {}
    for height, width in SIZES:
        frame = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = Image.fromarray(frame)
        own = prepare_frame(frame)
        others = t.CenterCrop(224)(t.Resize(256)(image)), t.Resize((112, 112))(image)
        for i in range(2):
            found[f"own/{height}x{width}/{i}"] = own[i]
            found[f"torchvision/{height}x{width}/{i}"] = np.array(others[i])
    return found


def main(out: Path) -> None:
    """Write `answers.npz` into a folder."""
    torch.manual_seed(0)
    kept = load_torchvision()
    from torchvision.models import resnet152
    from torchvision.models.video import r2plus1d_18

    networks = {"vggish": VGGish(), "resnet152": resnet152(weights=None), "r2plus1d_18": r2plus1d_18(weights=None)}
    networks = {name: spread(network) for name, network in networks.items()}
    with tempfile.TemporaryDirectory(dir=out) as folder:
        paths = {name: save_public(network.state_dict(), Path(folder), name) for name, network in networks.items()}
        llp.WEIGHTS = {name: PublicWeights((path.name,), "") for name, path in paths.items()}
        recipe = llp.LLPRecipe(Path(folder))
    answers: dict[str, Any] = {f"weights/{name}": digest for name, digest in recipe.weights.items()}
    answers |= {f"named/{name}": path.stem.rpartition("-")[2] for name, path in paths.items()}

    frames: list[NDArray[np.uint8]] = []

    def prepare(frame: NDArray[np.uint8]) -> Prepared:
        frames.append(frame)
        return recipe.prepare(frame)

    pieces = decode(CLIP, window=SECONDS, frame_rate=recipe.frame_rate, sample_rate=recipe.sample_rate, prepare=prepare)
    piece = next(pieces)
    answers |= {f"recipe/{name}": x for name, x in recipe.features(piece).items()}
    llp.BATCHES = {"vggish": 1, "resnet152": 5, "r2plus1d_18": 1}
    answers |= {f"smaller/{name}": x for name, x in recipe.features(piece).items()}
    answers |= {f"torchvision/{name}": x for name, x in by_torchvision(networks, frames[: 8 * SECONDS]).items()}
    np.savez(out / "answers.npz", **answers, **preparation())
    del kept


if __name__ == "__main__":
    main(Path(sys.argv[1]))
