"""Pages and pictures that are made from the code."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.mark.parametrize(
    ("script", "made"), [("configuration_page.py", "configuration.md"), ("layers_picture.py", "images/layers.svg")]
)
def test_it_is_up_to_date(script: str, made: str) -> None:
    """`python docs/SCRIPT > docs/MADE` makes it so."""
    ran = subprocess.run([sys.executable, DOCS / script], capture_output=True, text=True, check=True)
    assert (DOCS / made).read_text() == ran.stdout


@pytest.fixture(scope="module")
def command_pages() -> ModuleType:
    """The script docs/command_pages.py."""
    spec = importlib.util.spec_from_file_location("command_pages", DOCS / "command_pages.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_the_pages_of_the_commands_are_up_to_date(command_pages: ModuleType) -> None:
    """`python docs/command_pages.py` makes them so. Other versions of three libraries draw another help."""
    pinned = (DOCS.parent / "constraints.txt").read_text()
    for library in ("typer", "rich", "click"):
        if not re.search(rf"^{library}=={re.escape(version(library))}$", pinned, re.MULTILINE):
            pytest.skip(f"the pages are made with the {library} of constraints.txt")
    held = {path.relative_to(DOCS).as_posix(): path.read_text() for path in (DOCS / "commands").glob("*.md")}
    assert {"commands.md": (DOCS / "commands.md").read_text(), **held} == command_pages.pages()


def test_examples_of_commands_name_options_that_there_are(command_pages: ModuleType) -> None:
    for about in command_pages.ABOUT.values():
        for line in about.example.splitlines():
            shown = command_pages.help_text(line.split()[1])
            assert [option for option in re.findall(r"--[a-z-]+", line) if f" {option} " not in shown] == [], line
