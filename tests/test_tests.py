"""What tests themselves are held to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
# Also in the code of other processes, which stands in strings.
OF_A_TEST_MODULE = re.compile(r"\b(?:from|import) +tests(?:\.\w+)*(?:\.test_|[\w.]* +import +(?:\w+, *)*test_)\w+")


def test_no_test_module_is_imported() -> None:
    """What several need is in `tests/helpers`, so that each test module can be changed or deleted by itself."""
    found = {
        path.relative_to(TESTS).as_posix(): OF_A_TEST_MODULE.findall(path.read_text()) for path in TESTS.rglob("*.py")
    }
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from {}.data.test_folder import Bomb", True),
        ("'import sys; from {}.data.test_folder import Bomb; print(Bomb)'", True),
        ("    import {}.test_text", True),
        ("from {}.data import test_folder", True),
        ("from {}.data import helper, test_folder", True),
        ("from {}.helpers.data import Bomb", False),
        ("from {}.helpers import data", False),
    ],
)
def test_such_an_import_is_found(line: str, found: bool) -> None:
    assert bool(OF_A_TEST_MODULE.search(line.format("tests"))) == found
