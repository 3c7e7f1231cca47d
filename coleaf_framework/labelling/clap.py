"""CLAP as a teacher of audio labels (VALOR: Lai et al., NeurIPS 2023), by the library transformers.

A segment is a window of n // T samples that begins at round(linspace(0, n, T + 1)) of a track's n samples at 48 kHz,
mean of its channels. Windows are repeated to ten seconds by the model's feature extractor, as LAION-CLAP does.

VALOR used the package laion-clap 1.1.4 with its checkpoint 2 (630k, with fusion). This reads checkpoints in the form of
transformers, whose `laion/clap-htsat-fused` need not be that one: hold VALOR's thresholds to be a start, and choose.
Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coleaf_framework._config import reason
from coleaf_framework.data import Video
from coleaf_framework.extraction.clap_maps import CLAP_MODEL, RATE
from coleaf_framework.extraction.pretrained import load_pretrained
from coleaf_framework.labelling.pretrained import MODEL_OPTION, SimilarityTeacher, features
from coleaf_framework.protocol import Modality
from coleaf_framework.storage import require_file


def windows(samples: int, segments: int) -> list[tuple[int, int]]:
    """First and last-but-one sample of each segment's window, halves rounded to even.

    Example:
        >>> windows(25, 2)
        [(0, 12), (12, 24)]
    """
    starts = np.round(np.linspace(0, samples, segments + 1)).astype(int)[:-1].tolist()
    return [(start, start + samples // segments) for start in starts]


def read_wav(path: Path) -> NDArray[np.float32]:
    """A track as mono samples at 48 kHz, in [-1,1]; other rates are resampled (polyphase).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no WAV file, or has no samples. The message names it.
    """
    from scipy.io import wavfile
    from scipy.signal import resample_poly

    require_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of chunks without samples, such as titles
            rate, samples = wavfile.read(path)
    except Exception as problem:  # a damaged file raises almost anything
        raise ValueError(f"{path}: not readable as a WAV file: {reason(problem)}") from problem
    if not samples.size:
        raise ValueError(f"{path}: has no samples")
    mono = _as_float(samples).reshape(len(samples), -1).mean(1)
    if rate != RATE:
        common = gcd(RATE, rate)
        mono = resample_poly(mono, RATE // common, rate // common)
    found: NDArray[np.float32] = mono.astype(np.float32)
    return found


def _as_float(samples: NDArray[Any]) -> NDArray[np.float64]:
    """Samples of a WAV file's type, in [-1,1]; 8 bits are unsigned."""
    if samples.dtype == np.uint8:
        return (samples.astype(np.float64) - 128) / 128
    if samples.dtype.kind == "i":
        return samples.astype(np.float64) / -float(np.iinfo(samples.dtype).min)
    return samples.astype(np.float64)


class ClapTeacher(SimilarityTeacher):
    """Similarities of sounds and prompts by CLAP.

    Args:
        audio: Folder with a video's track as <id>.wav.
        prompts: C texts.
        model: Name or folder of a `ClapModel` with its tokenizer and feature extractor.
        device: Where it runs.

    Raises:
        ImportError: transformers is not installed.
        NotADirectoryError: There is no folder of audio.
        ValueError: The model cannot be loaded.
    """

    modality: Modality = "audio"

    def __init__(
        self, audio: Path, prompts: Sequence[str], model: str = CLAP_MODEL, device: torch.device | str = "cpu"
    ) -> None:
        if not audio.is_dir():
            raise NotADirectoryError(f"{audio}: no such folder")
        super().__init__("clap", "ClapModel", model, "logit_scale_a", prompts, device)
        self._extract = load_pretrained(
            self.library.ClapFeatureExtractor, model, "feature extractor", option=MODEL_OPTION
        )
        self.audio = audio

    @torch.no_grad()
    def logits(self, video: Video, segments: int) -> Tensor:
        """Logits (T,C) of a video.

        Raises:
            FileNotFoundError: The video has no track.
            ValueError: The track is not readable, or has fewer samples than segments.
        """
        path = self.audio / f"{video.id}.wav"
        track = read_wav(path)
        if len(track) < segments:
            raise ValueError(f"{path}: {len(track)} samples for the {segments} segments of video {video.id!r}")
        clips = [track[first:last] for first, last in windows(len(track), segments)]
        inputs = self._extract(clips, sampling_rate=RATE, return_tensors="pt")
        # The extractor calls one clip of a batch longer than it is, at random.
        longer = torch.zeros_like(inputs["is_longer"])
        embedded = self.network.get_audio_features(
            input_features=inputs["input_features"].to(self.device), is_longer=longer.to(self.device)
        )
        return self.similarity(features(embedded))
