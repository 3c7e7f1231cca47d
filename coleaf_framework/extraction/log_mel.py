"""The log-mel spectrogram that VGGish and the recipe `tiny` take as input.

Hershey et al., "CNN architectures for large-scale audio classification", ICASSP 2017, with the settings of AudioSet's
VGGish: magnitude (not power), triangles that are linear in mel and not normalised by area.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

SAMPLE_RATE = 16000  # samples a second
FRAMES, BANDS = 96, 64  # shape of a second's log-mel spectrogram
SILENCE = float(np.log(0.01))  # every value of the log-mel spectrogram of silence
_WINDOW, _HOP, _FFT = 400, 160, 512
_LOWEST, _HIGHEST = 125.0, 7500.0  # hertz

Spectrogram = NDArray[np.float64]


def _mel(hertz: ArrayLike) -> Spectrogram:
    return 1127.0 * np.log(1.0 + np.asarray(hertz, np.float64) / 700.0)


def _filters() -> Spectrogram:
    """(257, 64): the weight of each frequency bin in each band."""
    bins = _mel(np.linspace(0.0, SAMPLE_RATE / 2, _FFT // 2 + 1))[:, None]
    edges = np.linspace(_mel(_LOWEST), _mel(_HIGHEST), BANDS + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    weights = np.maximum(0.0, np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)))
    weights[0] = 0.0  # the constant part of the signal is left out
    return weights


_FILTERS = _filters()
_HANN = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)  # periodic


def log_mel(samples: NDArray[np.floating]) -> Spectrogram:
    """Log-mel spectrogram of one second.

    The 96 frames of 400 samples, 160 apart, end 400 samples before the second does, so nothing is padded.

    Args:
        samples: (16000,) in [-1,1], at 16 kHz, one channel.

    Returns:
        (96, 64) float64: natural logarithm of the magnitude in each band + 0.01, at least ln 0.01.

    Raises:
        ValueError: Another number of samples.
    """
    if samples.shape != (SAMPLE_RATE,):
        raise ValueError(f"log_mel takes (16000,) samples, one second at 16 kHz; found shape {samples.shape}")
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), _WINDOW)[::_HOP][:FRAMES]
    return np.log(np.abs(np.fft.rfft(frames * _HANN, _FFT)) @ _FILTERS + 0.01)
