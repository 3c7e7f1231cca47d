"""Pages and pictures that are made from the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.mark.parametrize(
    ("script", "made"), [("configuration_page.py", "configuration.md"), ("layers_picture.py", "images/layers.svg")]
)
def test_it_is_up_to_date(script: str, made: str) -> None:
    """`python docs/SCRIPT > docs/MADE` makes it so."""
    ran = subprocess.run([sys.executable, DOCS / script], capture_output=True, text=True, check=True)
    assert (DOCS / made).read_text() == ran.stdout
