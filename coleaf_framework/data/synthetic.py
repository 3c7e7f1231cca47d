"""A synthetic LLP: events drawn from LLP's measured statistics, features from a simple model of two sensors.

Numbers obtained on it say nothing about LLP itself. Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from coleaf_framework.data.dataset import Video, stream_statistics
from coleaf_framework.data.folder import LLP_CLASSES
from coleaf_framework.data.statistics import SEGMENTS, llp_statistics
from coleaf_framework.protocol import LLP_STREAMS, MODALITIES, StreamSpec

if TYPE_CHECKING:
    from numpy.random import Generator  # numpy imports it when it is first used

LLP_SIZES: Mapping[str, int] = {"train": 10_000, "val": 649, "test": 1_200}
Bools = NDArray[np.bool_]
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Difficulty:
    """How hard the synthetic features are; calibrated as docs/results.md tells, not tuned on CoLeaF's gain.

    Everything is relative to a class prototype of unit length in a modality's latent space.

    Args:
        latent: Dimensions of each modality's latent space.
        related: Share of each prototype that comes from the classes with which it occurs in LLP.
        trace: Strength of an event in the modality in which it does not occur, while it lasts in the other.
        gain: Standard deviation of the log strength of an event, between videos.
        nuisance: Length of a random direction that is added to all segments of a video; audio and visual.
        noise: Length of the noise of each segment; audio and visual.
        persistence: Correlation of that noise with that of the previous segment, in [0,1); audio and visual.
        jitter: Length of the noise of each frame within its segment.
    """

    latent: int = 64
    related: float = 0.5
    trace: float = 0.5
    gain: float = 0.3
    nuisance: tuple[float, float] = (1.0, 1.9)
    noise: tuple[float, float] = (1.4, 1.4)
    persistence: tuple[float, float] = (0.37, 0.68)
    jitter: float = 0.5


def draw_labels(rng: Generator) -> tuple[int, ...]:
    """Draw the classes of a video from the label sets of LLP's training videos."""
    s = llp_statistics()
    return s.label_sets[rng.choice(len(s.label_sets), p=s.label_set_probs)]


def draw_events(rng: Generator, labels: tuple[int, ...]) -> Bools:
    """Draw when, and in which modality, each class of a video occurs.

    Args:
        rng: Source of randomness.
        labels: Class indices of the video.

    Returns:
        (T,M,C) bool, in which every class of `labels` occurs at least once.
    """
    s = llp_statistics()
    truth = np.zeros((SEGMENTS, 2, len(LLP_CLASSES)), dtype=bool)
    for c in labels:
        kind = rng.choice(3, p=s.type_probs[c])
        for m in (0, 1) if kind == 2 else (kind,):
            truth[:, m, c] = _draw_runs(rng, s.length_probs[m, c], s.run_probs[m])
        if kind == 2 and rng.random() < s.same_interval:
            truth[:, 1, c] = truth[:, 0, c]
    return truth


def _draw_runs(rng: Generator, length_probs: NDArray[np.float64], run_probs: NDArray[np.float64]) -> Bools:
    """Draw the segments of one class in one modality, (T,) bool: runs with gaps between them."""
    runs = 1 + rng.choice(len(run_probs), p=run_probs)
    lengths = 1 + rng.choice(SEGMENTS, size=runs, p=length_probs)
    while lengths.sum() + len(lengths) - 1 > SEGMENTS:  # the runs and the gaps between them do not fit
        lengths = lengths[1:]
    free = SEGMENTS - lengths.sum() - (len(lengths) - 1)
    gaps = rng.multinomial(free, np.full(len(lengths) + 1, 1 / (len(lengths) + 1)))
    active = np.zeros(SEGMENTS, dtype=bool)
    at = 0
    for gap, length in zip(gaps, lengths, strict=False):
        at += gap
        active[at : at + length] = True
        at += length + 1
    return active


class Sensors:
    """A fixed model of how events become features.

    Each modality has a latent space with a prototype for every class. Prototypes of classes that occur together in LLP
    share directions; those of other data sets are independent. Each stream is a fixed random projection of its
    modality's latent space. All synthetic data sets of the same streams use the same prototypes and projections.

    Args:
        difficulty: How hard the features are.
        streams: The streams to make.
        num_classes: Number of classes, C; None for LLP's.
    """

    def __init__(
        self,
        difficulty: Difficulty,
        streams: Mapping[str, StreamSpec] = LLP_STREAMS,
        num_classes: int | None = None,
    ) -> None:
        self.difficulty, self.streams = difficulty, streams
        rng = np.random.default_rng(2024)
        d = difficulty
        prototypes = []
        for _ in MODALITIES:
            own = _unit(rng.standard_normal((num_classes or len(LLP_CLASSES), d.latent)))
            prototypes.append(_related(own, d.related) if num_classes is None else own)
        self.prototypes = np.stack(prototypes).astype(np.float32)  # (M,C,L)
        self.views = {
            name: rng.standard_normal((d.latent, spec.width)).astype(np.float32) for name, spec in streams.items()
        }

    def observe(self, rng: Generator, truth: Bools) -> dict[str, Array]:
        """Draw the features of a video.

        Args:
            rng: Source of everything that differs between videos with the same events.
            truth: The events, (T,M,C) bool.

        Returns:
            Stream name -> (frames * T, width) float32.
        """
        d = self.difficulty
        length, _, classes = truth.shape
        other = truth[:, ::-1]
        strength = truth + d.trace * (other & ~truth)  # (T,M,C)
        strength = strength * np.exp(d.gain * rng.standard_normal((1, 2, classes)))
        streams = {}
        for m, modality in enumerate(MODALITIES):
            latent = strength[:, m] @ self.prototypes[m]
            latent += d.nuisance[m] * _unit(rng.standard_normal(d.latent))
            latent += d.noise[m] * _autoregressive(rng, (length, d.latent), d.persistence[m]) / np.sqrt(d.latent)
            for name, spec in self.streams.items():
                if spec.modality != modality:
                    continue
                seen = latent.repeat(spec.frames, axis=0)
                if spec.frames > 1:
                    seen = seen + d.jitter * rng.standard_normal(seen.shape) / np.sqrt(d.latent)
                streams[name] = seen.astype(np.float32) @ self.views[name]
        return {name: streams[name] for name in self.streams}


def _related(own: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Prototypes of LLP's classes, (C,L), with a share of those of the classes with which each occurs."""
    cooccurrence = llp_statistics().cooccurrence()
    mixing = cooccurrence / cooccurrence.sum(1, keepdims=True).clip(1e-9)
    return _unit((1 - share) * own + share * _unit(mixing @ own))


def _autoregressive(rng: Generator, shape: tuple[int, int], persistence: float) -> NDArray[np.float64]:
    """Normal noise of unit variance, (T, width), in which each row is correlated with the previous one."""
    x = rng.standard_normal(shape)
    for t in range(1, len(x)):
        x[t] = persistence * x[t - 1] + np.sqrt(1 - persistence**2) * x[t]
    return x


def _unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return result


@cache
def default_sensors() -> Sensors:
    """The model that `SyntheticLLP` and `coleaf synth` use."""
    return Sensors(Difficulty())


class SyntheticLLP(Dataset[Video]):
    """Synthetic videos with LLP's classes, stream shapes and label statistics; needs no files.

    A video is drawn each time it is read, and is the same every time.

    Args:
        split: "train" (weak labels only), "val" or "test".
        n: Number of videos; as many as LLP has if None (10,000 / 649 / 1,200).
        seed: Seed of the videos. The prototypes of the classes are the same for every seed.

    Raises:
        ValueError: The split is unknown, or `n` or `seed` is out of range.

    Example:
        >>> from coleaf_framework.data import SyntheticLLP
        >>> data = SyntheticLLP("val", n=4)
        >>> video = data[0]
        >>> {name: tuple(x.shape) for name, x in video.streams.items()}
        {'audio': (10, 128), 'visual': (80, 2048), 'visual_st': (10, 512)}
        >>> video.labels.shape, video.segment_labels.shape
        (torch.Size([25]), torch.Size([10, 2, 25]))
    """

    name = "synthetic LLP"

    def __init__(self, split: str, n: int | None = None, seed: int = 0) -> None:
        if not isinstance(split, str) or split not in LLP_SIZES:
            raise ValueError(f"split {split!r} is not one of {list(LLP_SIZES)}")
        self.split, self.seed = split, seed
        if n is not None and (not isinstance(n, int) or n < 1):
            raise ValueError(f"n must be at least 1, or None for LLP's number of videos, got {n!r}")
        if not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed must be a whole number of at least 0, got {seed!r}")
        self.size = LLP_SIZES[split] if n is None else n
        self.classes: tuple[str, ...] = LLP_CLASSES
        self.streams: Mapping[str, StreamSpec] = dict(LLP_STREAMS)
        self.ids: Sequence[str] = tuple(f"synthetic-{split}-{seed}-{i:05d}" for i in range(self.size))
        self.has_ground_truth = split != "train"

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Video:
        if not 0 <= index < self.size:
            raise IndexError(f"video {index} of {self.size}")
        rng = np.random.default_rng([self.seed, list(LLP_SIZES).index(self.split), index])
        classes = draw_labels(rng)
        truth = draw_events(rng, classes)
        streams = {name: torch.from_numpy(x) for name, x in default_sensors().observe(rng, truth).items()}
        labels = torch.zeros(len(self.classes))
        labels[list(classes)] = 1
        return Video(
            id=self.ids[index],
            streams=streams,
            labels=labels,
            segment_labels=torch.from_numpy(truth) if self.has_ground_truth else None,
        )

    def segments(self, index: int) -> int:
        """T of a video: 10, as in LLP."""
        return SEGMENTS

    def statistics(self) -> dict[str, Tensor]:
        """Mean and deviation of each stream over the first 1,000 training videos: stream -> (2, width)."""
        return stream_statistics(SyntheticLLP("train", 1_000, self.seed))
