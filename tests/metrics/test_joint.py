"""AV scores where all events are audible and visible, grids of segments, and our definition of Table 8."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coleaf_framework.metrics import empty_parser, parsing_scores, video_label_parser
from coleaf_framework.metrics.joint import JOINT_KEYS, joint_scores
from coleaf_framework.metrics.time_grid import TimeGrid, mark_segments, to_whole_seconds
from tests.helpers.unav import ANNOTATIONS, database, needs_unav, recorded

TOKENS = TimeGrid(0.32, first=0.48)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 8), st.integers(1, 3))
def test_equals_the_av_columns_of_all_scores(seed: int, videos: int, segments: int, classes: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    predictions, truth = (torch.rand(videos, segments, 2, classes, generator=rng) < 0.6 for _ in range(2))
    all_columns = parsing_scores(predictions, truth)
    assert joint_scores(predictions, truth) == pytest.approx({key: all_columns[key] for key in JOINT_KEYS})


def test_without_videos_there_is_no_score() -> None:
    with pytest.raises(ValueError, match="no videos to score"):
        joint_scores(*torch.zeros(2, 0, 5, 2, 3, dtype=torch.bool))


def tokens(duration: float) -> int:
    return math.floor((25 * duration - 25) / 8) + 1


def segment_truth(entry: dict[str, Any], centres: np.ndarray, *, nearest: bool = True) -> tuple[np.ndarray, int]:
    kept = [a for a in entry["annotations"] if nearest or met(a["segment"], centres)]
    spans = np.array([a["segment"] for a in kept], dtype=float).reshape(-1, 2)
    return mark_segments(spans[:, 0], spans[:, 1], [a["label_id"] for a in kept], centres, 100)


def met(span: list[float], centres: np.ndarray) -> bool:
    return bool(((centres >= span[0]) & (centres < span[1])).any())


def padded(arrays: list[np.ndarray]) -> torch.Tensor:
    """(T,...) bool each -> (N,longest T,...)."""
    return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(x) for x in arrays], batch_first=True)


def both(truth: torch.Tensor) -> torch.Tensor:
    """(N,T,C) -> (N,T,M,C), the same for either modality."""
    return truth[:, :, None].expand(-1, -1, 2, -1)


def spread(videos: list[dict[str, Any]], lengths: list[int]) -> torch.Tensor:
    labels = torch.zeros(len(videos), 100)
    for row, entry in zip(labels, videos, strict=True):
        row[[a["label_id"] for a in entry["annotations"]]] = 1
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    return video_label_parser(labels, mask)


def subset(name: str) -> list[dict[str, Any]]:
    return [entry for entry in database(ANNOTATIONS.name).values() if entry["subset"] == name]


@needs_unav
@pytest.mark.parametrize("split", ["validation", "test"])
def test_trivial_parsers_score_as_recorded(split: str) -> None:
    answers, videos = recorded("table8_definition.json"), subset(split)
    lengths = [tokens(entry["duration"]) for entry in videos]
    marked = [segment_truth(entry, TOKENS.centres(t)) for entry, t in zip(videos, lengths, strict=True)]
    truth = both(padded([x for x, _ in marked]))
    answer = answers[f"spread_true_label/{split}"]
    scores = joint_scores(spread(videos, lengths), truth)
    assert sum(n for _, n in marked) == answer["events_marked_by_nearest_token"]
    assert list(scores.values()) == pytest.approx([answer["av_seg"], answer["av_evn"]], abs=1e-6)
    assert list(joint_scores(empty_parser(truth), truth).values()) == [0, 0] == list(answers[f"empty/{split}"].values())


@needs_unav
@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_random_parsers_score_as_recorded(threshold: float) -> None:
    answer = recorded("table8_definition.json")[f"random/val200/threshold_{threshold}"]
    predictions, truths = [], []
    for video, entry in database("gt_val200.json").items():
        t = tokens(entry["duration"])
        weak = np.zeros(100)
        weak[[a["label_id"] for a in entry["annotations"]]] = 1
        rng = np.random.default_rng([5, zlib.crc32(video.encode())])
        level = rng.random((t // 8 + 1, 2, 100))
        probs = 0.4 * level.repeat(8, 0)[:t] + 0.1 * rng.random((t, 2, 100)) + 0.45 * weak
        gate = 0.3 * rng.random((2, 100)) + 0.45 * weak + 0.1
        predictions.append((probs >= threshold) & (gate >= 0.5))
        truths.append(segment_truth(entry, TOKENS.centres(t))[0])
    scores = joint_scores(padded(predictions), both(padded(truths)))
    assert list(scores.values()) == pytest.approx([answer["av_seg"], answer["av_evn"]], abs=1e-6)


@needs_unav
@pytest.mark.parametrize("split", ["validation", "test"])
def test_trivial_parser_at_whole_seconds_scores_as_recorded(split: str) -> None:
    """The recorded raster has no nearest-segment rule, so events that meet no centre are left out here too."""
    answer = next(
        row["spread_true_label"]
        for row in recorded("table8_trivial_parsers.json")
        if (row["subset"], row["segment_seconds"], row["raster"]) == (split, 1.0, "centre")
    )
    videos = subset(split)
    lengths = [math.ceil(entry["duration"]) for entry in videos]
    pairs = list(zip(videos, lengths, strict=True))
    truth = padded([segment_truth(entry, TimeGrid().centres(t), nearest=False)[0] for entry, t in pairs])
    scores = joint_scores(spread(videos, lengths), both(truth))
    assert list(scores.values()) == pytest.approx([answer["seg_video_mean"], answer["evn_video_mean"]], abs=1e-6)


def test_an_event_includes_the_centre_that_it_begins_at() -> None:
    """In floating point, 0.32 * 117 + 0.48 is a little below 37.92."""
    truth, nearest = mark_segments([37.92], [38.24], [0], TOKENS.centres(120), 1)
    assert (truth[:, 0].nonzero()[0].tolist(), nearest) == ([117], 0)


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 12), st.floats(0.001, 6), st.integers(1, 40))
def test_every_event_marks_a_segment(start: float, length: float, segments: int) -> None:
    centres = TOKENS.centres(segments)
    truth, nearest = mark_segments([start], [start + length], [1], centres, 2)
    inside = [start <= c < start + length for c in centres]
    assert truth[:, 1].sum() == (sum(inside) or 1)
    assert nearest == (not any(inside))
    assert not truth[:, 0].any()


def test_a_second_has_the_mean_of_the_tokens_whose_centre_lies_in_it() -> None:
    probs = torch.rand(29, 2, 3, generator=torch.Generator().manual_seed(0))
    whole = to_whole_seconds(probs, TOKENS, duration=10.0)
    centres = [0.32 * t + 0.48 for t in range(29)]
    for s in range(10):
        inside = [t for t, c in enumerate(centres) if s <= c < s + 1]
        torch.testing.assert_close(whole[s], probs[inside].mean(0))
    assert len(whole) == 10


def test_whole_seconds_of_whole_seconds_change_nothing() -> None:
    probs = torch.rand(7, 2, 3)
    torch.testing.assert_close(to_whole_seconds(probs, TimeGrid(), 7.0), probs)


@pytest.mark.parametrize(("seconds", "first"), [(0.0, None), (-1.0, None), (math.nan, None), (1.0, -0.5)])
def test_a_grid_needs_times_in_range(seconds: float, first: float | None) -> None:
    with pytest.raises(ValueError, match="TimeGrid: "):
        TimeGrid(seconds, first)
