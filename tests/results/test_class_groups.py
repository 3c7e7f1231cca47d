"""Scores over seen and unseen classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coleaf_framework.metrics import SUPPORT
from coleaf_framework.results.class_groups import harmonic_mean, open_vocabulary, over_classes, read_unseen
from coleaf_framework.results.rows import Member
from tests.helpers.predictions import joint, made_up
from tests.helpers.slow_scores import slow_scores

UNSEEN = ("Car",)


def test_a_groups_scores_are_those_of_the_data_with_its_classes_alone() -> None:
    """Against plain loops over videos and classes, on arrays from which the other classes were deleted."""
    ours = [made_up(seed, videos=12) for seed in (1, 2)]
    members = [Member(f"run{seed}", seed, x) for seed, x in enumerate(ours)]
    found = open_vocabulary({"HAN": members}, UNSEEN, f"{SUPPORT}segment/Type@AVo")
    for group, left in ((found.seen, [0, 2]), (found.unseen, [1])):
        by_run = group.rows[0].by_run()
        for member in members:
            decided, truth = (
                np.stack([x[..., c].numpy() for c in left], axis=-1)
                for x in (member.predictions.decided(), member.predictions.known_truth)
            )
            published, support = slow_scores(decided, truth)
            expected = published | {SUPPORT + name: value for name, value in support.items()}
            assert by_run[member.run] == pytest.approx(expected, nan_ok=True)
        assert group.with_events == sum(truth[i].any() for i in range(12))


def test_the_harmonic_mean_is_of_each_seed() -> None:
    members = [Member(f"run{seed}", seed, made_up(seed)) for seed in (1, 2)]
    found = open_vocabulary({"HAN": members}, UNSEEN, "segment/A")
    each = [
        [over_classes(x.predictions, classes).scores()["segment/A"] for classes in (("Dog", "Speech"), UNSEEN)]
        for x in members
    ]
    expected = np.mean([2 / (1 / s + 1 / u) for s, u in each])
    assert found.harmonic()["HAN"] == pytest.approx((*np.mean(each, axis=0), expected))
    seen, unseen = (group.trivial["video-label parser"]["segment/A"] for group in (found.seen, found.unseen))
    assert found.harmonic()["video-label parser"][2] == pytest.approx(2 / (1 / seen + 1 / unseen))


def test_the_harmonic_mean_of_nothing_is_nothing() -> None:
    assert harmonic_mean(0, 0) == 0
    assert np.isnan(harmonic_mean(float("nan"), 40))


def test_joint_truth_has_its_columns_alone() -> None:
    found = open_vocabulary({"HAN": [Member("run", 0, joint(1))]}, UNSEEN, "support/segment/AV")
    assert set(found.unseen.rows[0].means()) == set(joint(1).columns)
    assert "1 unseen classes (Car)" in found.table()


def test_classes_are_named_in_a_list_or_a_file(tmp_path: Path) -> None:
    classes = ("Dog", "Male speech, man speaking", "Car")
    path = tmp_path / "unseen.txt"
    path.write_bytes("\ufeffMale speech, man speaking\r\nCar\r\n".encode())
    assert read_unseen("Car, Dog", classes) == ("Car", "Dog")
    assert read_unseen(str(path), classes) == ("Male speech, man speaking", "Car")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("car", "'car' is no class of the data, nor a file. Did you mean 'Car'?"),
        ("Car,Car", "'Car' stands there twice"),
        (",".join(["Car", "car"] * 50), "'car' is no class of the data"),  # longer than a name of a file may be
        (",", "names no class"),
        ("Car,Dog", "names all 2 classes of the data, so that none is seen"),
    ],
)
def test_wrong_classes_are_refused(asked: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_unseen(asked, ("Dog", "Car"))
