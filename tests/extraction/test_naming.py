"""Ids of media files."""

from __future__ import annotations

from pathlib import Path

import pytest

from coleaf_framework.extraction.naming import file_id, name_files


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("clock.mp4", "clock"),
        ("BjCEufrlXm4_20_30.mp4", "BjCEufrlXm4"),
        ("x_0.5_10.5.mp4", "x"),
        ("my holiday.mov", "my_holiday"),
        ("take 1_2.mp4", "take_1_2"),
        (".hidden.mp4", "_hidden"),
        ("../../etc/passwd.mp4", "passwd"),
        ("a..mp4", "a."),
        ("VID_20240101_120000.mp4", "VID_20240101_120000"),  # a date and a time of day, not two times of a video
        ("IMG_20240101_20240502.mp4", "IMG_20240101_20240502"),
        ("x_86390_86400.mp4", "x"),
        ("_0_10.mp4", "_0_10"),
    ],
)
def test_the_id_is_a_plain_name(name: str, expected: str) -> None:
    assert file_id(Path(name)) == expected


def test_of_two_files_with_one_id_both_are_named() -> None:
    with pytest.raises(ValueError, match=r"^a b\.mp4 and a_b\.mp4 would both have the id 'a_b': rename one of them"):
        name_files([Path("a b.mp4"), Path("a_b.mp4")])
