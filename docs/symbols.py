"""The directive `symbols` of the API pages: a table of some names of a module, and below it each of them in full."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_LETTER = re.compile(r"^(\s*(?::[^:]+:\s+)?)(?=(?:[a-z]|[ivxlcdm]+)[.)](?:\s|$))", re.IGNORECASE)
_AT = re.compile(r"`[^`]*`|(?<=\w)@(?=\w)")
_EQUATION = re.compile(r"\beq\. (?=\d)")
_COLON = "\N{INFORMATION SEPARATOR ONE}"  # in place of a colon, while napoleon reads the docstring


class Symbols(SphinxDirective):
    """`.. symbols:: MODULE` with one name of the module per line of its content."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Writes the table and the entries as reStructuredText, and parses it."""
        module = self.arguments[0]
        names = [line.strip() for line in self.content if line.strip()]
        lines = [f".. currentmodule:: {module}", "", ".. autosummary::", "   :nosignatures:", ""]
        lines += [*(f"   {name}" for name in names), ""]
        for name in names:
            lines += _entry(module, name)
        source, _ = self.get_source_info()
        parent = nodes.container()
        self.state.nested_parse(StringList(lines, source=source), self.content_offset, parent)
        return parent.children


def _entry(module: str, name: str) -> list[str]:
    home, _, attribute = f"{module}.{name}".rpartition(".")
    found = getattr(import_module(home), attribute)
    if not inspect.isclass(found):
        return [f".. autofunction:: {module}.{name}", ""]
    # Pydantic's models have their own machinery among their members.
    hidden = ["   :exclude-members: model_config, model_post_init"] if hasattr(found, "model_fields") else []
    return [f".. autoclass:: {module}.{name}", "   :members:", *hidden, ""]


def hide_colons(app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Hides the colons that napoleon would take for the end of a type: types are in the annotations alone."""
    section = ""
    for i, line in enumerate(lines):
        if line and not line.startswith(" "):
            section = line
        if (i == 0 and what in ("attribute", "data", "property")) or (
            section in ("Returns:", "Yields:") and line != section
        ):
            lines[i] = line.replace(":", _COLON)


def keep_text(app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Shows the colons again, and keeps text what docutils would take for a lettered list ("C.") or an address (@)."""
    for i, line in enumerate(lines):
        kept = _LETTER.sub(r"\1\\", line.replace(_COLON, ":"))
        if not kept.lstrip().startswith((">>>", "...")):
            kept = _AT.sub(lambda at: at[0] if at[0] != "@" else r"\@", kept)
            kept = _EQUATION.sub("eq.\\\\ \N{NO-BREAK SPACE}", kept)  # a table's summary would end at the period
        lines[i] = kept


def draw_dashes(app: Sphinx, page: nodes.document) -> None:
    """Makes a dash of the two hyphens that Sphinx sets before a parameter's text; smartquotes would of options too."""
    for field in page.findall(nodes.field_body):
        for text in list(field.findall(nodes.Text)):
            if text == " -- ":
                text.parent.replace(text, nodes.Text(" \N{EN DASH} "))


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directive, and what is done to docstrings before and after napoleon (priority 500)."""
    app.add_directive("symbols", Symbols)
    app.connect("autodoc-process-docstring", hide_colons, priority=400)
    app.connect("autodoc-process-docstring", keep_text, priority=600)
    app.connect("doctree-read", draw_dashes)
    return {"parallel_read_safe": True}
