"""The leaderboard: its order, its numbers, and what it says of published ones."""

from __future__ import annotations

import csv
import io
import math
import re

import pytest

from coleaf_framework.metrics import ALL_KEYS, COLUMNS, KEYS
from coleaf_framework.metrics.intervals import VideoScores, paired_difference
from coleaf_framework.results.cost import Cost
from coleaf_framework.results.leaderboard import Leaderboard, Standing, make_leaderboard
from coleaf_framework.results.published import PUBLISHED, is_published_split
from coleaf_framework.results.rows import Member, Pair, Row
from tests import conftest
from tests.helpers.predictions import made_up

MEAN = "support/segment/Type@AVo"


def row(name: str, seeds: int, first: int = 0) -> Row:
    return Row.of(name, [Member(f"{name}{s}", s, made_up(first + s)) for s in range(seeds)])


def board(column: str = MEAN, **changes: object) -> Leaderboard:
    alone, inside = row("HAN", 3), row("HAN in CoLeaF", 3, 10)
    standings = [
        Standing.of(alone, None, Cost(1234567, 0.5, 0.25)),
        Standing.of(inside, Pair.of(inside, alone), None),
        *(Standing(name, "trivial", scores, {}) for name, scores in made_up(0).trivial_scores().items()),
    ]
    arguments = {"where": "made-up val, 6 videos", "comparable": False, "costs": "on a machine", "notes": ["mind this"]}
    return make_leaderboard(standings, PUBLISHED, column, ALL_KEYS, **(arguments | changes))


@pytest.mark.parametrize("column", [MEAN, "event/AV", "segment/Ao"])
def test_rows_are_sorted_with_the_trivial_parsers_among_them(column: str) -> None:
    found = board(column)
    scores = [x.scores[column] for x in found.standings]
    assert scores == sorted(scores, reverse=True)
    assert {x.name for x in found.standings} == {"HAN", "HAN in CoLeaF", "empty parser", "video-label parser"}
    published = [x.scores.get(column.removeprefix("support/"), -math.inf) for x in found.published]
    assert published == sorted(published, reverse=True)
    assert len(published) == len(PUBLISHED)


def test_a_column_without_a_value_comes_last() -> None:
    some = [Standing(name, "run", {"segment/AV": x}, {}, 1) for name, x in (("a", math.nan), ("b", 1.0), ("c", 2.0))]
    found = make_leaderboard(some, (), "segment/AV", ALL_KEYS, "here", comparable=False, costs=None)
    assert [x.name for x in found.standings] == ["c", "b", "a"]
    with pytest.raises(ValueError, match="--sort 'segment/Ab': no such column. Did you mean 'segment/A"):
        make_leaderboard(some, (), "segment/Ab", ALL_KEYS, "here", comparable=False, costs=None)


@pytest.mark.parametrize("seeds", [1, 3])
def test_an_intervals_width_is_that_of_the_difference_to_a_parser_that_scores_nothing(seeds: int) -> None:
    """A difference to a constant varies as the score does; so `compare`'s intervals and these are of one method."""
    of_row = row("HAN", seeds)
    nothing = VideoScores(of_row.scores.f * 0, of_row.scores.supported)
    difference = paired_difference(of_row.scores, nothing)
    for column, (low, high) in of_row.intervals().items():
        value, below, above = difference.at(column)
        if not math.isnan(value):
            assert (low, high) == pytest.approx((max(below, 0), min(above, 100)))
            assert of_row.means()[column] == pytest.approx(value)


def test_the_table_has_the_numbers() -> None:
    found = board()
    lines = {line.split("|")[1].strip(): line for line in found.table(markdown=True).splitlines() if "|" in line}
    low, high = row("HAN", 3).intervals()[MEAN]
    han = lines["HAN (3 seeds)"]
    assert f"| {row('HAN', 3).means()[MEAN]:.1f} | [{low:.1f}, {high:.1f}] |" in han
    assert han.endswith("| 1,234,567 | 0.5000 | 0.250 |")
    value, below, above = Pair.of(row("HAN in CoLeaF", 3, 10), row("HAN", 3)).difference.at(MEAN)
    assert f"| {value:+.1f} [{below:+.1f}, {above:+.1f}]" in lines["HAN in CoLeaF (3 seeds)"]
    assert "| 60.1 | 33.1 | 52.9 | 50.7 | 48.9 | 54.0 | 44.3 | 55.4 | 24.1 |" in lines["PUBLISHED HAN [T6]"]
    assert "| 51.3 | 31.0 |" in board("event/AV").table(markdown=True)  # the level follows the column
    assert "NOTE: mind this" in found.table()
    assert "ms" not in board(costs=None).table(markdown=True).splitlines()[2]


def test_published_rows_are_marked_as_not_comparable_unless_they_are_of_these_videos() -> None:
    assert "so NOT COMPARABLE to the scores above, which are on made-up val, 6 videos" in board().table()
    assert "NOT COMPARABLE" in board().as_csv()
    assert "NOT COMPARABLE" not in board(comparable=True).table()
    assert "on LLP's test split, as the scores above" in board(comparable=True).table()
    assert is_published_split("LLP", "test", 1200)
    for other in (("LLP", "val", 649), ("LLP", "test", 1199), ("LLP, synthetic features", "test", 1200)):
        assert not is_published_split(*other)


def test_both_rows_stand_there_where_two_circulate() -> None:
    names = [x.name for x in board().published]
    assert len(set(names)) == len(names)
    for system, source in (("AVE", "JoMoLD"), ("CVCMS", "DHHN"), ("MM-Pyramid", "DHHN"), ("DHHN", "DHHN")):
        assert {f"PUBLISHED {system} [T6]", f"PUBLISHED {system} [{source}]"} <= set(names)


def test_published_scores_fit_together() -> None:
    """Type@ columns are means of three others, as printed to within 0.8, so that a number in the wrong place shows."""
    for x in PUBLISHED:
        for level in ("segment", "event"):
            for mean, parts in (("Type@AV", "A V AV"), ("Type@AVo", "Ao Vo AV")):
                if f"{level}/{mean}" in x.scores:
                    expected = sum(x.scores[f"{level}/{part}"] for part in parts.split()) / 3
                    assert x.scores[f"{level}/{mean}"] == pytest.approx(expected, abs=0.81), (x.name, level, mean)


def test_published_scores_are_the_papers() -> None:
    path = conftest.SHARED / "paper" / "coleaf_eccv2024.txt"
    if not path.exists():
        pytest.skip("needs the paper's text, which is not part of the package")
    lines = [re.findall(r"\d+\.\d", line) for line in path.read_text().splitlines()]
    for x in PUBLISHED:
        if x.source in ("T6", "T7"):
            assert [f"{x.scores[key]:.1f}" for key in KEYS if key in x.scores] in lines, x.name


def test_scores_of_readmes_are_those_of_the_fact_sheets() -> None:
    path = conftest.SHARED / "parity" / "zoo" / "README.md"
    if not path.exists():
        pytest.skip("needs the fact sheets, which are not part of the package")
    text = path.read_text()
    for x in PUBLISHED:
        if x.source not in ("T6", "T7"):
            levels = (" ".join(f"{x.scores[k]:.1f}" for k in KEYS if k in x.scores and k.startswith(level))
                      for level in ("segment", "event"))  # fmt: skip
            assert " / ".join(levels) in text, x.name


def test_the_csv_has_every_column_of_every_row() -> None:
    found = board()
    read = [line for line in csv.DictReader(io.StringIO(found.as_csv())) if line["kind"] != "NOTE"]
    assert [line["system"] for line in read] == [x.name for x in found.rows]
    assert {line["kind"] for line in read} == {"run", "trivial", "published"}
    han = next(line for line in read if line["system"] == "HAN")
    for column, value in row("HAN", 3).means().items():
        low, high = row("HAN", 3).intervals()[column]
        for end, number in (("", value), (" low", low), (" high", high)):
            assert han[column + end] == ("" if math.isnan(number) else f"{number:.4f}")
    assert (han["parameters"], han["seeds"]) == ("1234567", "3")
    inside = next(line for line in read if line["system"] == "HAN in CoLeaF")
    assert float(inside[f"gain in {MEAN}"]) == pytest.approx(
        row("HAN in CoLeaF", 3, 10).means()[MEAN] - row("HAN", 3).means()[MEAN], abs=1e-3
    )
    assert len(COLUMNS) * 4 == len(ALL_KEYS)


def test_the_conclusion_names_the_best_and_who_is_below_a_trivial_parser() -> None:
    some = [
        Standing("X", "run", {"segment/AV": 30.0}, {"segment/AV": (25.0, 35.0)}, 1),
        Standing("Y", "run", {"segment/AV": 10.0}, {}, 1),
        Standing("empty parser", "trivial", {"segment/AV": 20.0}, {}),
    ]
    found = make_leaderboard(some, (), "segment/AV", ALL_KEYS, "here", comparable=False, costs=None)
    assert found.conclusion == (
        "Highest in segment/AV on here: X with 30.0 (95 % interval 25.0 to 35.0); 1 of 2 systems below the empty "
        "parser, with 20.0."
    )
