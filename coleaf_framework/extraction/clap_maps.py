"""CLAP's map of a sound, as VALOR++ (Lai et al., NeurIPS 2023) takes it: the last feature map of its HTS-AT.

Ten seconds at 48 kHz go through 16 bits and back, become a mel spectrogram in decibels, and that, four times over, is
what CLAP with fusion hears. The map has 2 groups of frequencies by 32 steps in time, of 768 values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coleaf_framework.extraction.laion_clap import CHECKPOINTS, load_laion_audio
from coleaf_framework.extraction.pretrained import find_folder, how_to_download, load_local
from coleaf_framework.extraction.sampling import even_positions

CLAP_MODEL = "laion/clap-htsat-fused"
RATE = 48_000
SECONDS = 10
WIDTH, GROUPS, STEPS = 768, 2, 32

# Of the package laion-clap; transformers' own default for the first is 0 Hz, which moves every band.
_FREQUENCIES = {"frequency_min": 50, "frequency_max": 14_000}
_FULL_SCALE = 32767.0


def ten_seconds(samples: NDArray[np.float32], seconds: int) -> NDArray[np.float32]:
    """A stretch of sound as CLAP is given it: mono, of exactly `seconds` seconds, through 16 bits and back.

    Samples are picked at even positions, as VALOR does, which stretches what lasts a little more or less. A track that
    ends over half a second early is followed by silence instead, so that sounds keep their time.

    Args:
        samples: (channels, n) in [-1,1], at 48 kHz; n may be 0.
        seconds: Whole seconds, T, that they stand for.

    Returns:
        (48000 T,) float32 in [-1,1], multiples of 1/32767; rounded towards 0, as laion-clap does.
    """
    wanted = seconds * RATE
    mono = samples.mean(0)
    if len(mono) < wanted - RATE // 2:
        mono = np.pad(mono, (0, wanted - len(mono)))
    picked = mono[even_positions(len(mono), wanted)]
    rounded = (picked.clip(-1, 1) * _FULL_SCALE).astype(np.int16)
    found: NDArray[np.float32] = (rounded / _FULL_SCALE).astype(np.float32)
    return found


class ClapMaps:
    """CLAP's audio network and what it hears.

    Args:
        library: The module transformers.
        weights: Folder with a folder clap-htsat-fused in transformers' form, or with one of laion-clap's `CHECKPOINTS`;
            None for the hub's cache.
        device: Where it runs.

    Attributes:
        digest: First 16 hex digits of the SHA-256 of the weights file.

    Raises:
        FileNotFoundError: There is no CLAP; says how to get it.
        ValueError: There is more than one, it cannot be loaded, or it is another network. The message says which.
    """

    def __init__(self, library: Any, weights: Path | None, device: torch.device | str) -> None:
        network, self.digest = _load(library, weights)
        self.device = torch.device(device)
        self.network = network.to(self.device)
        self._extract = library.ClapFeatureExtractor(**_FREQUENCIES)

    def spectrogram(self, sound: NDArray[np.float32]) -> torch.Tensor:
        """Mel spectrogram (1,4,1001,64) float32 in decibels, four times the same; shorter sounds are repeated."""
        found: torch.Tensor = self._extract(sound, sampling_rate=RATE, return_tensors="pt")["input_features"].float()
        return found

    @torch.inference_mode()
    def __call__(self, samples: NDArray[np.float32], seconds: int) -> NDArray[np.float32]:
        """The map of a stretch of sound.

        Args:
            samples: (channels, n) in [-1,1], at 48 kHz; n may be 0.
            seconds: Whole seconds that they stand for, 1 to 10.

        Returns:
            (rows, 768) float32: 2 groups of frequencies, each over the whole time. Ten seconds have 64 rows. CLAP hears
            fewer repeated to ten, and the steps of the first time are kept: round(3.2 * seconds) of either group.
        """
        heard = self.spectrogram(ten_seconds(samples, seconds))
        # Not longer than ten seconds: transformers' extractor says so of every sound but one, drawn at random.
        longer = torch.zeros(len(heard), 1, dtype=torch.bool, device=self.device)
        steps = round(STEPS * seconds / SECONDS)
        seen = self.network(input_features=heard.to(self.device), is_longer=longer).last_hidden_state  # (1,768,2,32)
        found: NDArray[np.float32] = seen[0, :, :, :steps].permute(1, 2, 0).reshape(-1, WIDTH).float().cpu().numpy()
        return found


def _load(library: Any, weights: Path | None) -> tuple[Any, str]:
    """The audio network of CLAP, and its file's digest."""
    folder = find_folder(CLAP_MODEL, weights)
    files = [weights / name for name in CHECKPOINTS if (weights / name).is_file()] if weights is not None else []
    found = [path for path in (folder, *files) if path is not None]
    if len(found) > 1:
        raise ValueError(f"{weights}: has more than one CLAP, {' and '.join(x.name for x in found)}: leave one there")
    if files:
        return load_laion_audio(library, files[0])
    if folder is None:
        other = f", or copy LAION's {CHECKPOINTS[0]}, which VALOR used, into it" if weights is not None else ""
        raise FileNotFoundError(
            f"{weights or 'the cache of the Hugging Face hub'}: has no CLAP. Get it by "
            f"`{how_to_download(CLAP_MODEL, weights)}`{other}"
        )
    network, digest = load_local(library.ClapModel, folder)
    config = network.config.audio_config
    if not config.enable_fusion or config.hidden_size != WIDTH:
        fusion = "with" if config.enable_fusion else "without"
        raise ValueError(
            f"{folder}: is a CLAP of width {config.hidden_size} {fusion} fusion, where one of {WIDTH} with was expected"
        )
    return network.audio_model, digest
