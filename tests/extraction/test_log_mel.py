"""The log-mel spectrogram against the published code's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coleaf_framework.extraction.log_mel import SILENCE, log_mel

CHECK = Path(__file__).parents[1] / "data" / "extraction" / "log_mel_check.npz"


def test_equals_the_published_code() -> None:
    time = np.arange(16000) / 16000
    chirp = 2 * np.pi * 3000 * time * time  # another order of the factors rounds differently, by 4e-10 in the end
    samples = 0.5 * np.sin(2 * np.pi * 440 * time) + 0.1 * np.sin(chirp)

    made = log_mel(samples)

    np.testing.assert_allclose(made, np.load(CHECK)["log_mel"], rtol=0, atol=1e-12)


def test_silence_is_the_logarithm_of_the_offset_everywhere() -> None:
    assert SILENCE == -4.605170185988091
    np.testing.assert_array_equal(log_mel(np.zeros(16000)), np.full((96, 64), SILENCE))


def test_refuses_other_than_one_second() -> None:
    with pytest.raises(ValueError, match=r"found shape \(15999,\)"):
        log_mel(np.zeros(15999))
