"""mAP of timed events: the recorded answers of UnAV-100's evaluation, its faults by name, a slow one, bad input."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coleaf_framework.metrics.localization import TIOUS, TimedEvents, localization_scores, without_repeats
from tests.helpers.slow_localization import Rows, slow_localization
from tests.helpers.unav import UNAV, case_rows, events, needs_unav, recorded, true_rows

CASES = (
    "base", "val200_known_classes", "no_predictions_for_classes_3_50_99", "every_detection_twice",
    "every_detection_twice_equal_scores", "predictions_for_foreign_videos", "base_rounded_to_float32",
    "single_prediction", "no_predictions_at_all",
)  # fmt: skip
TINY = (
    "threshold_exact", "second_best_ground_truth", "duplicate_ground_truth", "unknown_class", "recall_below_one",
)  # fmt: skip
TINY_FAULTY = (
    "zero_length_both", "zero_length_far", "zero_length_vs_normal", "reversed_same_length", "reversed_other_length",
)  # fmt: skip


@cache
def arrays():
    return dict(np.load(UNAV / "recorded" / "recorded.npz"))


@cache
def answers():
    return recorded("scores.json")["cases"]


def truth_of_case(case: str) -> Rows:
    return true_rows(answers()[case]["ground_truth"], answers()[case]["split"])


def tiny_rows(case: str) -> Rows:
    rows = answers()[case]["predictions_video_start_end_label_score"]
    return [(video, label, start, end, score) for video, start, end, label, score in rows]


def with_a_moment(rows: Rows) -> Rows:
    """Events without length get a nanosecond, so that they may be scored."""
    return [(*row[:3], row[3] + 1e-9, *row[4:]) if row[3] == row[2] else row for row in rows]


def require_recorded(case: str, predictions: Rows, truth: Rows) -> None:
    scores = localization_scores(events(predictions), events(truth))
    np.testing.assert_allclose(scores.ap, arrays()[f"{case}/ap"], atol=1e-6)
    np.testing.assert_allclose(scores.mean_ap, arrays()[f"{case}/mAP"], atol=1e-6)
    assert scores.classes.tolist() == arrays()[f"{case}/class_of_column"].tolist()
    assert scores.average == pytest.approx(answers()[case]["average_mAP"], abs=1e-6)


@needs_unav
@pytest.mark.parametrize("case", CASES)
def test_recorded_answers(case: str) -> None:
    require_recorded(case, case_rows(arrays(), case), truth_of_case(case))


@needs_unav
@pytest.mark.parametrize("case", [f"tiny_{name}" for name in TINY])
def test_recorded_tiny_answers(case: str) -> None:
    require_recorded(case, tiny_rows(case), with_a_moment(truth_of_case(case)))


@needs_unav
def test_predictions_of_no_length_are_refused_and_would_count_as_false_positives() -> None:
    rows = case_rows(arrays(), "zero_length_predictions")
    with pytest.raises(ValueError, match=r"of video '.{11}': it ends at .* and 299 more events"):
        events(rows)
    require_recorded("zero_length_predictions", with_a_moment(rows), truth_of_case("zero_length_predictions"))


@needs_unav
def test_published_quirk_of_classes_that_collide_with_new_numbers() -> None:
    """The published code numbers the true classes anew and leaves the ids of other predictions as they are."""
    case = "val200_all_classes_published_quirk"
    truth, rows = truth_of_case(case), case_rows(arrays(), case)
    classes = sorted({row[1] for row in truth})
    number = {c: i for i, c in enumerate(classes)}
    collided = [(row[0], number.get(row[1], row[1]), *row[2:]) for row in rows]
    anew = [(row[0], number[row[1]], *row[2:]) for row in truth]
    published = localization_scores(events(collided), events(anew))
    np.testing.assert_allclose(published.ap, arrays()[f"{case}/ap"], atol=1e-6)
    right = localization_scores(events(rows), events(truth))
    np.testing.assert_allclose(right.ap, arrays()["val200_known_classes/ap"], atol=1e-6)
    assert right.ignored == len(rows) - answers()["val200_known_classes"]["n_predictions"] > 0


@needs_unav
@pytest.mark.parametrize("case", [f"tiny_{name}" for name in TINY_FAULTY])
def test_published_quirk_of_an_iou_that_is_not_a_number(case: str) -> None:
    """0 / 0 is NaN and NaN < threshold is false, so the published code counts a hit, whatever the distance."""
    truth, rows = truth_of_case(case), tiny_rows(case)
    ap, classes = slow_localization(rows, truth, TIOUS)
    np.testing.assert_allclose(ap, arrays()[f"{case}/ap"], atol=1e-6)
    assert classes == arrays()[f"{case}/class_of_column"].tolist()
    for wrong in (truth, rows):
        if any(row[3] <= row[2] for row in wrong):
            with pytest.raises(ValueError, match="after its start"):
                events(wrong)


@needs_unav
def test_two_moments_far_apart_are_no_hit() -> None:
    case = "tiny_zero_length_far"
    scores = localization_scores(events(with_a_moment(tiny_rows(case))), events(with_a_moment(truth_of_case(case))))
    assert scores.average == 0 < answers()[case]["average_mAP"]


@needs_unav
@pytest.mark.parametrize("case", ["val200_known_classes", "val200_all_classes_published_quirk"])
def test_the_slow_implementation_agrees_with_recorded_answers(case: str) -> None:
    collide = case.endswith("quirk")
    ap, _ = slow_localization(case_rows(arrays(), case), truth_of_case(case), TIOUS[[4]], collide=collide)
    np.testing.assert_allclose(ap, arrays()[f"{case}/ap"][[4]], atol=1e-6)


@needs_unav
def test_the_published_third_threshold_is_a_little_above_0_3() -> None:
    assert TIOUS.tolist() == recorded("scores.json")["tiou_thresholds"]


times = st.integers(0, 6)
spans = st.tuples(times, st.integers(1, 5)).map(lambda x: (x[0], x[0] + x[1]))
true_events = st.tuples(st.sampled_from("ab"), st.integers(0, 2), spans).map(lambda x: (x[0], x[1], *x[2]))
found = st.tuples(st.sampled_from("abc"), st.integers(0, 3), spans).map(lambda x: (x[0], x[1], *x[2]))


@settings(max_examples=200, deadline=None)
@given(st.lists(true_events, min_size=1, max_size=10), st.lists(found, max_size=15), st.randoms())
def test_equals_the_slow_implementation(truth: Rows, rows: Rows, random: Any) -> None:
    scores = random.sample(range(100), len(rows))
    predictions = [(*row, float(score)) for row, score in zip(rows, scores, strict=True)]
    ap, classes = slow_localization(predictions, truth, TIOUS)
    fast = localization_scores(events(predictions), events(truth))
    np.testing.assert_allclose(fast.ap, ap, atol=1e-12)
    assert fast.classes.tolist() == classes


def test_equal_scores_keep_the_order_of_the_rows() -> None:
    truth = TimedEvents(["a"], [0], [0.0], [1.0])
    wrong_first = TimedEvents(["a", "a"], [0, 0], [5.0, 0.0], [6.0, 1.0], [0.5, 0.5])
    assert localization_scores(wrong_first, truth, [0.5]).average == 0.5
    assert localization_scores(wrong_first[np.array([1, 0])], truth, [0.5]).average == 1


def test_a_repeat_of_a_dropped_event_is_kept_if_it_is_not_one_of_a_kept_event() -> None:
    chain = TimedEvents(["a"] * 3, [0] * 3, [0.0, 0.0009, 0.0018], [1.0, 1.0009, 1.0018])
    assert without_repeats(chain).start.tolist() == [0.0, 0.0018]


def test_videos_may_be_numbered() -> None:
    truth = TimedEvents([3, 7], [0, 0], [0, 0], [2, 2])
    assert localization_scores(TimedEvents([7], [0], [0], [2], [1]), truth).average == 0.5


def test_scores_in_percent_are_named_by_their_threshold() -> None:
    truth = TimedEvents(["a"], [0], [0], [10])
    named = localization_scores(TimedEvents(["a"], [0], [0], [5], [1.0]), truth).as_dict()
    assert list(named) == [*(f"mAP@0.{i}" for i in range(1, 10)), "mAP"]
    assert named["mAP@0.5"] == 100
    assert named["mAP@0.6"] == 0
    assert named["mAP"] == pytest.approx(100 * 5 / 9)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ((["a"], [0], [2.0], [1.0], [0.5]), "event 0, of video 'a': it ends at 1.0 s, where a time after its start"),
        ((["a"], [0], [np.nan], [1.0], [0.5]), "event 0, of video 'a': its start is nan"),
        ((["a"], [0], [0.0], [1.0], [np.nan]), "event 0, of video 'a': its score is nan"),
        ((["a", "b"], [0], [0.0], [1.0], [0.5]), "differ in length: video 2, label 1, start 1, end 1, score 1"),
        ((["a"], [0.5], [0.0], [1.0], [0.5]), "label is float64 of shape (1,), where (events,) whole numbers"),
        (([["a"]], [0], [0.0], [1.0], [0.5]), "video is <U1 of shape (1, 1), where (events,) texts or whole numbers"),
    ],
)
def test_wrong_events_are_refused(columns: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        TimedEvents(*columns)


@pytest.mark.parametrize(
    ("predictions", "truth", "tious", "problem"),
    [
        ((["a"], [0], [0], [1], [1]), ([], [], [], []), TIOUS, "no true event to score against"),
        ((["a"], [0], [0], [1]), (["a"], [0], [0], [1]), TIOUS, "the predictions have no scores"),
        ((["a"], [0], [0], [1], [1]), ([1], [0], [0], [1]), TIOUS, "name videos by texts, the true events by numbers"),
        ((["a"], [0], [0], [1], [1]), (["a"], [0], [0], [1]), [50], "thresholds in (0,1] were expected"),
        ((["a"], [0], [0], [1], [1]), (["a"], [0], [0], [1]), [], "thresholds in (0,1] were expected"),
    ],
)
def test_what_cannot_be_scored_is_refused(predictions: Any, truth: Any, tious: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        localization_scores(TimedEvents(*predictions), TimedEvents(*truth), tious)
