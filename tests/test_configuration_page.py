"""The page of configuration keys is made from the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_page_is_up_to_date() -> None:
    """`python docs/configuration_page.py > docs/configuration.md` makes it so."""
    made = subprocess.run([sys.executable, DOCS / "configuration_page.py"], capture_output=True, text=True, check=True)
    assert (DOCS / "configuration.md").read_text() == made.stdout
