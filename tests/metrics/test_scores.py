"""The 18 columns: recorded answers, a slow implementation, and properties."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.multiprocessing.spawn import spawn

from coleaf_framework.metrics import (
    ALL_KEYS,
    KEYS,
    ParsingScores,
    ScoreTotals,
    all_scores,
    empty_parser,
    over_seeds,
    parsing_scores,
    support_only_scores,
    video_label_parser,
)
from tests.helpers.slow_scores import slow_scores


@st.composite
def parsed_videos(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    n, t, c = draw(st.integers(1, 3)), draw(st.integers(1, 8)), draw(st.integers(1, 3))
    pair = draw(arrays(bool, (2, n, t, 2, c)))
    return torch.from_numpy(pair[0]), torch.from_numpy(pair[1])


def same(a: dict[str, float], b: dict[str, float]) -> None:
    assert a.keys() == b.keys()
    for key in a:
        assert a[key] == pytest.approx(b[key], abs=1e-9, nan_ok=True), key


def test_recorded_answers(parity: Path) -> None:
    recorded = np.load(parity / "metrics.npz")
    predictions, truth = (torch.from_numpy(recorded[k]).permute(0, 3, 1, 2) for k in ("predictions", "ground_truth"))
    same(parsing_scores(predictions, truth), json.loads((parity / "metrics.json").read_text()))


@settings(max_examples=200, deadline=None)
@given(parsed_videos())
def test_equals_the_slow_implementation(videos: tuple[torch.Tensor, torch.Tensor]) -> None:
    published, support = slow_scores(*(x.numpy() for x in videos))
    same(parsing_scores(*videos), published)
    same(support_only_scores(*videos), support)


@settings(max_examples=50, deadline=None)
@given(parsed_videos(), st.randoms())
def test_order_of_videos_and_classes_does_not_matter(videos: tuple[torch.Tensor, torch.Tensor], random: object) -> None:
    n, _, _, c = videos[0].shape
    rows, classes = list(range(n)), list(range(c))
    random.shuffle(rows), random.shuffle(classes)  # type: ignore[attr-defined]
    same(parsing_scores(*videos), parsing_scores(*(x[rows][..., classes] for x in videos)))


@settings(max_examples=50, deadline=None)
@given(parsed_videos())
def test_perfect_prediction_scores_100(videos: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert set(parsing_scores(videos[1], videos[1]).values()) == {100.0}


@settings(max_examples=50, deadline=None)
@given(parsed_videos())
def test_batches_add_up(videos: tuple[torch.Tensor, torch.Tensor]) -> None:
    meter = ParsingScores()
    for i in range(len(videos[0])):
        meter.update(*(x[i : i + 1] for x in videos))
    scores = meter.compute()
    same({key: scores[key] for key in KEYS}, parsing_scores(*videos))


@settings(max_examples=50, deadline=None)
@given(parsed_videos(), st.integers(0, 3))
def test_totals_of_batches_and_ranks_are_the_scores_of_all(
    videos: tuple[torch.Tensor, torch.Tensor], of_other_rank: int
) -> None:
    ours, other = ScoreTotals(), ScoreTotals()
    for i in range(len(videos[0])):
        (other if i < of_other_rank else ours).add(*(x[i : i + 1] for x in videos))
    sent: list[float] = []
    other.scores(lambda numbers: sent.extend(numbers) or numbers)  # type: ignore[func-returns-value]
    same(ours.scores(lambda numbers: [a + b for a, b in zip(numbers, sent, strict=True)]), all_scores(*videos))


def score_a_part(rank: int, folder: str) -> None:
    """One of two ranks: scores its part, and both must get what one process gets of the whole."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    generator = torch.Generator().manual_seed(0)
    videos = torch.rand(2, 5, 6, 2, 3, generator=generator) < 0.4
    meter = ParsingScores()
    meter.update(*(videos[:, :2] if rank == 0 else videos[:, 2:]))
    scores = meter.compute()
    same({key: scores[key] for key in KEYS}, parsing_scores(*videos))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_ranks_add_up(tmp_path: Path) -> None:
    spawn(score_a_part, (str(tmp_path),), nprocs=2)


def test_padding_false_in_both_changes_nothing() -> None:
    p, t = (torch.rand(5, 6, 2, 3) < 0.4 for _ in range(2))
    pad = torch.zeros(5, 3, 2, 3, dtype=torch.bool)
    same(parsing_scores(p, t), parsing_scores(torch.cat([p, pad], 1), torch.cat([t, pad], 1)))


def test_empty_parser_gets_100_only_where_there_is_nothing() -> None:
    truth = torch.zeros(4, 3, 2, 2, dtype=torch.bool)
    truth[0, :, 0, 0] = True  # one video of four has one audible-only event
    scores = parsing_scores(empty_parser(truth), truth)
    assert scores["segment/Ao"] == 75
    assert scores["segment/Vo"] == 100
    assert support_only_scores(empty_parser(truth), truth)["segment/Ao"] == 0
    assert math.isnan(support_only_scores(empty_parser(truth), truth)["segment/Vo"])


def test_video_label_parser_spreads_labels_over_real_segments() -> None:
    labels = torch.tensor([[1.0, 0.0]])
    mask = torch.tensor([[True, True, False]])
    expected = torch.zeros(1, 3, 2, 2, dtype=torch.bool)
    expected[0, :2, :, 0] = True
    assert torch.equal(video_label_parser(labels, mask), expected)


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        (torch.zeros(1, 3, 2, 2), "predictions must be bool"),
        (torch.zeros(1, 3, 3, 2, dtype=torch.bool), "M=2"),
        (torch.zeros(1, 4, 2, 2, dtype=torch.bool), "differ in shape"),
    ],
)
def test_wrong_input_is_named(predictions: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parsing_scores(predictions, torch.zeros(1, 3, 2, 2, dtype=torch.bool))


def test_seeds_without_a_value_are_left_out_of_mean_and_deviation() -> None:
    by_seed = torch.tensor([[1.0, float("nan"), float("nan")], [3.0, 5.0, float("nan")]]).double()
    by_seed = torch.cat([by_seed, torch.zeros(2, 33).double()], dim=1)
    means, deviations = over_seeds(by_seed)
    first, second, third = ALL_KEYS[:3]
    assert (means[first], means[second]) == (2, 5)
    assert deviations is not None
    assert deviations[first] == pytest.approx(2**0.5)
    assert all(x != x for x in (means[third], deviations[second], deviations[third]))
    assert over_seeds(by_seed[:1])[1] is None
