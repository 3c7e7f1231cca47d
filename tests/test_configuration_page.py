"""The page of configuration keys is made from the code."""

from __future__ import annotations

from pathlib import Path

from coleaf_framework.record.config import configuration_page

PAGE = Path(__file__).resolve().parents[1] / "docs/configuration.md"


def test_the_page_is_up_to_date() -> None:
    """`python -m coleaf_framework.record.config > docs/configuration.md` makes it so."""
    assert PAGE.read_text() == configuration_page() + "\n"
