"""The examples in docstrings run and print what they show."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import types
from pathlib import Path

import coleaf_backbones
import pytest

import coleaf_framework

MODULES = sorted(
    module.name
    for package in (coleaf_framework, coleaf_backbones)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.endswith("__main__")
)
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the repository's own folder, whose examples/ they may read."""
    monkeypatch.chdir(Path(__file__).resolve().parents[1])
    if name.startswith("coleaf_framework.serving."):
        for library in ("fastapi", "uvicorn", "python_multipart"):
            pytest.importorskip(library, reason="needs the extra `serve`")
    assert doctest.testmod(importlib.import_module(name), optionflags=OPTIONS).failed == 0


def test_an_example_that_shows_another_answer_is_found() -> None:
    module = types.ModuleType("shown", ">>> 1 + 1\n3\n")
    result = doctest.testmod(module, optionflags=OPTIONS)
    assert (result.attempted, result.failed) == (1, 1)
