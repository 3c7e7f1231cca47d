"""The package's face: its names, imported when they are asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import coleaf_framework


def test_every_name_can_be_had_and_is_listed() -> None:
    for name in coleaf_framework.__all__:
        assert getattr(coleaf_framework, name) is not None
    assert set(coleaf_framework.__all__) <= set(dir(coleaf_framework))


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    tree = ast.parse(Path(str(coleaf_framework.__file__)).read_text())
    seen = {
        str(node.module).rpartition(".")[2]: tuple(alias.name for alias in node.names)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("coleaf_framework.")
    }
    assert seen == coleaf_framework._HOMES
    assert sorted(name for names in seen.values() for name in names) == sorted(coleaf_framework.__all__)


def test_a_star_import_has_every_name() -> None:
    names: dict[str, object] = {}
    exec("from coleaf_framework import *", names)
    assert set(coleaf_framework.__all__) <= names.keys()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'warp'"):
        coleaf_framework.warp  # noqa: B018


def test_the_package_alone_imports_no_pytorch() -> None:
    code = "import sys, coleaf_framework; assert 'torch' not in sys.modules; coleaf_framework.data.LLP"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_version_and_paper_are_the_same_wherever_they_stand() -> None:
    root = Path(__file__).resolve().parents[1]
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert f'\nversion = "{citation["version"]}"\n' in (root / "pyproject.toml").read_text()
    assert f"\n## {citation['version']}" in (root / "CHANGELOG.md").read_text()
    readme = " ".join((root / "README.md").read_text().replace("{CoLeaF}", "CoLeaF").split())
    paper = citation["preferred-citation"]
    assert paper["title"] in readme
    names = (f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    assert " and ".join(names) in readme
