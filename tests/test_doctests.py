"""The examples in docstrings run and give what they show."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import coleaf_framework


def modules_with_examples() -> list[str]:
    """Names of all modules of the package whose docstrings hold an example."""
    names = [m.name for m in pkgutil.walk_packages(coleaf_framework.__path__, "coleaf_framework.")]
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [name for name in names if any(test.examples for test in finder.find(importlib.import_module(name)))]


@pytest.mark.parametrize("name", modules_with_examples())
def test_the_examples_of_a_module_run(name: str) -> None:
    """Every `>>>` example prints what its docstring shows."""
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert not result.failed
