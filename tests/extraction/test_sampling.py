"""Even positions."""

from __future__ import annotations

from coleaf_framework.extraction.sampling import even_positions


def test_positions_are_even_and_halves_go_to_even() -> None:
    assert even_positions(4, 3).tolist() == [0, 2, 3]  # of 0, 1.5, 3
    assert even_positions(2, 4).tolist() == [0, 0, 1, 1]
    assert even_positions(1, 2).tolist() == [0, 0]
