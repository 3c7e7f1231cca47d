"""The API pages: every public name once, and docstrings that read as they were written."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from importlib import import_module
from types import ModuleType

import pytest

from tests.helpers.api_pages import DOCS, documented, found

PACKAGES = ("", ".data", ".deployment", ".extraction", ".losses", ".media", ".metrics", ".parsing", ".results")


def test_every_public_name_is_documented_once() -> None:
    for library in ("transformers", "av", "onnx"):  # modules on the pages may import any extra
        pytest.importorskip(library, reason="needs the extra `dev`")
    names = documented()
    assert [name for name, times in Counter(names).items() if times > 1] == []
    objects = Counter(id(found(name)) for name in names if callable(found(name)))
    assert [name for name in names if objects[id(found(name))] > 1] == []
    public = [f"coleaf_framework{p}.{name}" for p in PACKAGES for name in import_module(f"coleaf_framework{p}").__all__]
    assert [name for name in public if name not in names and objects[id(found(name))] != 1] == []


@pytest.fixture(scope="module")
def symbols() -> ModuleType:
    """The extension docs/symbols.py."""
    pytest.importorskip("sphinx", reason="needs the extra `docs`")
    spec = importlib.util.spec_from_file_location("symbols", DOCS / "symbols.py")
    extension = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extension)
    return extension


def rendered(symbols: ModuleType, what: str, docstring: str) -> str:
    """A docstring as pseudo-XML, by the steps of the site."""
    from docutils.core import publish_string  # type: ignore[import-untyped]
    from sphinx.ext.napoleon import Config
    from sphinx.ext.napoleon.docstring import GoogleDocstring

    lines = docstring.splitlines()
    symbols.hide_colons(None, what, "f", None, None, lines)
    lines = GoogleDocstring(lines, Config(napoleon_use_rtype=False), what=what, name="f").lines()
    symbols.keep_text(None, what, "f", None, None, lines)
    return publish_string("\n".join(lines), writer="pseudoxml", settings_overrides={"output_encoding": "unicode"})


@pytest.mark.parametrize("text", ["C.", "T. One second each.", "i. of them", "A) first"])
def test_a_description_that_looks_like_a_lettered_list_is_text(symbols: ModuleType, text: str) -> None:
    page = rendered(symbols, "function", f"Sum.\n\nArgs:\n    n: {text}\n\nReturns:\n    {text}\n")
    assert "enumerated_list" not in page
    assert page.count(text) == 2


def test_a_colon_in_what_is_returned_ends_no_type(symbols: ModuleType) -> None:
    page = rendered(symbols, "function", "Sum.\n\nReturns:\n    One entry per class: its F.\n")
    assert "One entry per class: its F." in page
    assert "What tables show: its name." in rendered(symbols, "property", "What tables show: its name.")


def test_a_column_is_no_address(symbols: ModuleType) -> None:
    page = rendered(symbols, "function", "Scores, such as Type@AV, and `Type@AVo`.\n\n>>> scores['Type@AV']\n1")
    assert "mailto" not in page
    assert "Type@AV, and" in page
    assert "['Type@AV']" in page


def test_a_summary_does_not_end_at_an_equation(symbols: ModuleType) -> None:
    """A table's summary ends at the first period before white space."""
    lines = ["Distillation (eq. 12), per modality. More."]
    symbols.keep_text(None, "function", "f", None, None, lines)
    assert re.split(r"\.\s", lines[0])[1] == "More."
    assert "(eq.\N{NO-BREAK SPACE}12)" in rendered(symbols, "function", "Distillation (eq. 12), per modality. More.")


def test_a_parameter_is_set_off_by_a_dash_and_an_option_keeps_its_hyphens(symbols: ModuleType) -> None:
    """Sphinx sets " -- " between them as text of its own."""
    from docutils import nodes  # type: ignore[import-untyped]
    from docutils.utils import new_document  # type: ignore[import-untyped]

    page = new_document("")
    paragraph = nodes.paragraph("", "", nodes.strong("", "seed"), nodes.Text(" -- "), nodes.Text("as --seed"))
    page += nodes.field_list("", nodes.field("", nodes.field_name(), nodes.field_body("", paragraph)))
    symbols.draw_dashes(None, page)
    assert page.astext().strip() == "seed \N{EN DASH} as --seed"
