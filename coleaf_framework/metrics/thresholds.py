"""Search for gate thresholds per class and modality ("selected thresholds" of CMPAE, Gao et al., CVPR 2023).

A gate opens or closes a class of a modality for a whole video, so each class of each video is in one of four states:
audio gate open or closed, visual gate open or closed. TP, FP and FN are counted once for each state. A candidate
threshold is then scored by looking up the counts of the states it leads to. Shape letters: see `protocol.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from coleaf_framework._config import nearest, shown
from coleaf_framework.metrics.decision import DecisionConfig, gate_and_segments, gate_thresholds
from coleaf_framework.metrics.events import split_types
from coleaf_framework.metrics.scores import ALL_KEYS, SUPPORT, event_counts, segment_counts
from coleaf_framework.protocol import MODALITIES, AnchorOutput

Search = Literal["coordinate", "joint"]
PUBLISHED_GRID = tuple(round(0.25 + 0.05 * i, 2) for i in range(10))
_TYPES = ("A", "V", "Ao", "Vo", "AV")
# The types that a column pools, or the columns that it is the mean of.
_POOLED = {"Event@AV": ("A", "V"), "Event@AVo": ("Ao", "Vo")}
_MEANS = {"Type@AV": ("A", "V", "AV"), "Type@AVo": ("Ao", "Vo", "AV")}


@dataclass(frozen=True)
class ChosenGates:
    """Result of `choose_gates`.

    Args:
        gates: (M,C) in [0,1], the chosen thresholds.
        before: the column in percent with the initial thresholds.
        after: the column in percent with the chosen thresholds.

    Example:
        >>> ChosenGates(torch.full((2, 25), 0.5), before=50.0, after=52.5).after
        52.5
    """

    gates: Tensor
    before: float
    after: float


class _StateScores:
    """F and support of one column, for each of the S = 4 gate states of each class of each video: (S,N,C)."""

    def __init__(self, counts: Tensor) -> None:
        tp, fp, fn = counts.double()  # (S,N,C) each
        self.support = (tp + fp + fn) > 0
        self.f = torch.where(self.support, 2 * tp / (2 * tp + fp + fn).clamp(min=1), 0.0)

    def look_up(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """State (..., N, C) in 0..3 -> F and support, (..., N, C)."""
        shape = (4, *[1] * (state.ndim - 2), *self.f.shape[1:])
        index = state[None]
        f, support = (x.reshape(shape).expand(4, *state.shape).gather(0, index)[0] for x in (self.f, self.support))
        return f, support


def _score(f: Tensor, support: Tensor, support_only: bool) -> Tensor:
    """Sums over classes of F and support, (..., N) -> the column in [0,1], (...)."""
    supported = support > 0
    per_video = torch.where(supported, f / support.clamp(min=1), 1.0)
    if not support_only:
        return per_video.mean(-1)
    return (per_video * supported).sum(-1) / supported.sum(-1)  # NaN without any


class _ColumnScorer:
    """The column to be maximised, as a function of the gates."""

    def __init__(self, output: AnchorOutput, truth: Tensor, config: DecisionConfig, column: str, mask: Tensor | None):
        self.support_only = column.startswith(SUPPORT)
        level, _, name = column.removeprefix(SUPPORT).partition("/")
        gate, segments = gate_and_segments(output, config, mask)
        self.gate = gate.expand(-1, len(MODALITIES), -1)  # (N,M,C)
        count = segment_counts if level == "segment" else event_counts
        states = []
        for audio, visual in ((False, False), (False, True), (True, False), (True, True)):
            opened = segments & torch.tensor([audio, visual])[:, None]
            types = zip(split_types(opened), split_types(truth), strict=True)
            states.append(torch.stack([count(p, t) for p, t in types]))  # (types, 3, N, C)
        counts = dict(zip(_TYPES, torch.stack(states, dim=2), strict=True))  # type -> (3, S, N, C)
        self.parts = [
            _StateScores(sum((counts[kind] for kind in _POOLED.get(part, (part,))), torch.zeros(())))
            for part in _MEANS.get(name, (name,))
        ]

    def states(self, gates: Tensor) -> Tensor:
        """Gates (..., M, C) -> the state of each class of each video, (..., N, C) in 0..3."""
        opened = self.gate >= gates[..., None, :, :]
        return 2 * opened[..., 0, :].long() + opened[..., 1, :].long()

    def column(self, gates: Tensor) -> float:
        """The column in percent."""
        by_part = [part.look_up(self.states(gates)) for part in self.parts]
        scores = [_score(f.sum(-1), s.sum(-1), self.support_only) for f, s in by_part]
        return 100 * torch.stack(scores).nanmean().item()

    def candidates(self, gates: Tensor, c: int, pairs: Tensor) -> Tensor:
        """The column in percent with the gates of class `c` set to each of `pairs` (K,M): (K,)."""
        current = self.states(gates)
        opened = self.gate[None, :, :, c] >= pairs[:, None]  # (K,N,M)
        state = 2 * opened[..., 0].long() + opened[..., 1].long()  # (K,N)
        scores = []
        for part in self.parts:
            f, support = part.look_up(current)
            f_c, support_c = (x[:, :, c].gather(0, state) for x in (part.f, part.support))
            f_all = f.sum(-1) - f[:, c] + f_c
            scores.append(_score(f_all, support.sum(-1) - support[:, c].long() + support_c, self.support_only))
        return 100 * torch.stack(scores).nanmean(0)


def choose_gates(
    output: AnchorOutput,
    truth: Tensor,
    config: DecisionConfig,
    *,
    column: str = "event/V",
    modalities: tuple[str, ...] = ("visual",),
    search: Search = "coordinate",
    grid: tuple[float, ...] = PUBLISHED_GRID,
    mask: Tensor | None = None,
) -> ChosenGates:
    """Choose gate thresholds per class that maximise a column.

    The search "coordinate" (as published) makes one pass over the classes and chooses each modality's gate by itself.
    The search "joint" chooses a class's audio and visual gates together, and repeats the pass until nothing improves.
    A gate is only changed where the column increases.

    Args:
        output: probabilities of all videos, on the CPU: segment (N,T,M,C), video (N,C), modality (N,M,C).
        truth: (N,T,M,C) bool.
        config: the initial decision; its segment threshold and kind of gate are kept.
        column: one of `ALL_KEYS`, such as "event/V" or "support/segment/Type@AVo".
        modalities: whose gates are chosen.
        search: "coordinate" or "joint".
        grid: candidate thresholds, in [0,1].
        mask: (N,T) bool, True = real segment.

    Returns:
        The gates (M,C), and the column in percent before and after.

    Raises:
        ValueError: an unknown column, modality or search, or no candidate.

    Example:
        >>> truth = torch.zeros(2, 1, 2, 1, dtype=torch.bool)
        >>> truth[0, 0, 1] = True  # the first of two videos is seen
        >>> video_probs = torch.tensor([[0.9], [0.6]])
        >>> output = AnchorOutput(torch.ones(2, 1, 2, 1), video_probs, torch.zeros(2, 1, 2, 4))
        >>> chosen = choose_gates(output, truth, DecisionConfig(), column="segment/V")
        >>> chosen.before, chosen.after, round(chosen.gates[1].item(), 2)  # the visual gate now excludes 0.6
        (50.0, 100.0, 0.65)
    """
    if not isinstance(column, str) or column not in ALL_KEYS:
        raise ValueError(f"no column {column!r}.{nearest(str(column), ALL_KEYS)}")
    if search not in ("coordinate", "joint"):
        raise ValueError(f"search {search!r} is neither 'coordinate' nor 'joint'")
    if not isinstance(modalities, tuple | list) or not modalities or not set(modalities) <= set(MODALITIES):
        raise ValueError(f"modalities {modalities!r}: expected some of {MODALITIES}")
    numbers = isinstance(grid, tuple | list) and all(isinstance(value, int | float) for value in grid)
    if not numbers or not grid or not all(0 <= value <= 1 for value in grid):
        raise ValueError(f"grid {grid!r}: expected values in [0, 1]")
    shape = tuple(output.segment_probs.shape) if isinstance(output, AnchorOutput) else None
    if shape is not None and (not isinstance(truth, Tensor) or truth.shape != shape or truth.dtype != torch.bool):
        given = f"{tuple(truth.shape)} of {truth.dtype}" if isinstance(truth, Tensor) else shown(truth)
        raise ValueError(f"truth is {given}, where {shape} of torch.bool was expected, as segment_probs")
    if shape is not None and not shape[0]:
        raise ValueError("there are no videos to choose gates on")
    scorer = _ColumnScorer(output, truth, config, column, mask)
    gates = gate_thresholds(config, output.video_probs).expand(len(MODALITIES), -1).clone()
    before = scorer.column(gates)
    index = [MODALITIES.index(m) for m in MODALITIES if m in modalities]
    steps = [index] if search == "joint" else [[m] for m in index]
    values = gates.new_tensor(grid)
    best = before
    while True:
        improved = False
        for c in range(gates.shape[1]):
            for changing in steps:
                pairs = gates[:, c].repeat(len(values) ** len(changing), 1)
                pairs[:, changing] = torch.cartesian_prod(*[values] * len(changing)).view(-1, len(changing))
                scores = scorer.candidates(gates, c, pairs)
                if scores.max() > best + 1e-9:
                    best, improved = scores.max().item(), True
                    gates[:, c] = pairs[scores.argmax()]
        if search == "coordinate" or not improved:
            return ChosenGates(gates, before, scorer.column(gates))
