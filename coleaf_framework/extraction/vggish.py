"""VGGish: 128 values of a second of sound.

Hershey et al., "CNN architectures for large-scale audio classification", ICASSP 2017: configuration A of VGG (Simonyan
and Zisserman, ICLR 2015) without its last group of convolutions, with dense layers of 4096, 4096 and 128 and a ReLU
also after the last. AudioSet's published features went through principal components and a quantisation to 8 bits
afterwards; neither is applied here, since LLP's features have neither.

Weights: `vggish-10086976.pth` of the package torchvggish (release v0.1), recognised by this name, by its SHA-256, which
begins with 10086976, and by its parameters: `features.N` with N = 0, 3, 6, 8, 11, 13 and `embeddings.N` with N = 0, 2,
4, each `weight` and `bias`. No other file is accepted.
"""

from __future__ import annotations

from torch import Tensor, nn

from coleaf_framework.extraction.weights import PublicWeights

VGGISH_WEIGHTS = PublicWeights(
    ("vggish-10086976.pth",), "https://github.com/harritaylor/torchvggish/releases/download/v0.1/"
)
WIDTH = 128
_GROUPS = ((64,), (128,), (256, 256), (512, 512))  # channels of the convolutions before each pooling


class VGGish(nn.Module):
    """The network. Parameters have the names of the published file."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for group in _GROUPS:
            for channels in group:
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
                before = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(6 * 4 * 512, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, WIDTH), nn.ReLU()
        )

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Embeddings.

        Args:
            spectrogram: (B,1,96,64) log-mel spectrograms: time, then frequency.

        Returns:
            (B,128), at least 0.
        """
        maps: Tensor = self.features(spectrogram)
        # The published weights come from TensorFlow, where channels are last: (B,512,6,4) -> (B,6,4,512) -> (B,12288).
        found: Tensor = self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))
        return found
