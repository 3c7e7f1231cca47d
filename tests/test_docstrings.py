"""The sections of docstrings name every parameter once, and say what comes back."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from tests.helpers.api_pages import documented, found

# All public functions of these, besides what the API pages document.
PACKAGES = ("collaboration", "data", "losses", "metrics", "model", "record", "wrapping")
EXEMPT_DECORATORS = frozenset({"property", "cached_property", "setter", "overload"})
Function = ast.FunctionDef | ast.AsyncFunctionDef


def section(docstring: str, *titles: str) -> list[str] | None:
    """The lines of a Google section without their indentation of four, or None where there is no such section."""
    lines = docstring.splitlines()
    starts = [i for i, line in enumerate(lines) if line in {f"{title}:" for title in titles}]
    if not starts:
        return None
    inside = []
    for line in lines[starts[0] + 1 :]:
        if line and not line.startswith(" "):
            break
        inside.append(line[4:])
    return inside


def parameters(function: Function) -> list[str]:
    """The names of a signature, without `self` and `cls`."""
    given = function.args
    starred = [a for a in (given.vararg, given.kwarg) if a is not None]
    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs, *starred)]
    return [name for name in names if name not in ("self", "cls")]


def argument_offences(docstring: str, wanted: list[str] | None) -> Iterator[str]:
    """What is amiss in the section `Args:` of a docstring, if it has one; with None any names will do."""
    heads = [line for line in section(docstring, "Args") or [] if line and not line.startswith(" ")]
    entries = [match[1] if (match := re.match(r"\*{0,2}(\w+): \S", line)) else None for line in heads]
    for line, entry in zip(heads, entries, strict=True):
        if entry is None:
            yield f"no entry of one parameter, 'name: text': {line!r}"
    named = [entry for entry in entries if entry is not None]
    yield from (f"{name} is twice in Args" for name in sorted({name for name in named if named.count(name) > 1}))
    if heads and wanted is not None:
        yield from (f"{name} is not in Args" for name in wanted if name not in named)
        yield from (f"{name} is in Args and no parameter" for name in named if name not in wanted)


def function_offences(function: Function) -> Iterator[str]:
    """What is amiss in the docstring of a function or method."""
    docstring = ast.get_docstring(function) or ""
    yield from argument_offences(docstring, parameters(function))
    returned = "None" if function.returns is None else ast.unparse(function.returns)
    if section(docstring, "Args") is None:
        if len(parameters(function)) > 1 and "\n" in docstring:
            yield f"takes {', '.join(parameters(function))}, and has no Args"
    elif returned not in ("None", "Never", "NoReturn") and not any(section(docstring, "Returns", "Yields") or ()):
        yield f"has Args, returns {returned}, and has no Returns"


def class_offences(node: ast.ClassDef) -> Iterator[str]:
    """What is amiss in a class's own section `Args:`: of its `__init__`, where that has none, or else of fields."""
    own = [x for x in node.body if isinstance(x, ast.FunctionDef) and x.name == "__init__"]
    if own and section(ast.get_docstring(own[0]) or "", "Args") is not None:
        yield from function_offences(own[0])
        own = []
    yield from argument_offences(ast.get_docstring(node) or "", parameters(own[0]) if own else None)


def offences(body: list[ast.stmt], home: str) -> Iterator[str]:
    """What is amiss in the public functions and classes among these statements, one line each."""
    for node in body:
        if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_"):
            continue
        name, decorators = f"{home}.{node.name}", [ast.unparse(d).rpartition(".")[2] for d in node.decorator_list]
        if isinstance(node, ast.ClassDef):
            yield from (f"{name}: {offence}" for offence in class_offences(node))
            yield from offences(node.body, name)
        elif not EXEMPT_DECORATORS.intersection(decorators):
            yield from (f"{name}: {offence}" for offence in function_offences(node))


def of_pages() -> list[str]:
    """The offences of what the API pages document."""
    lines = []
    for name in documented():
        thing = inspect.unwrap(found(name)) if callable(found(name)) else found(name)
        if inspect.isfunction(thing) or inspect.isclass(thing):
            tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
            lines += list(offences(tree.body, name.rpartition(".")[0]))
    return lines


def of_package(package: str) -> list[str]:
    """The offences of a package's modules whose names begin without an underscore."""
    folder = Path(str(import_module(package).__file__)).parent
    lines = []
    for path in sorted(folder.rglob("*.py")):
        if not path.name.startswith("_"):
            home = ".".join((package, *path.relative_to(folder).with_suffix("").parts))
            lines += list(offences(ast.parse(path.read_text(encoding="utf-8")).body, home))
    return lines


def report(lines: list[str]) -> str:
    return "\n".join((f"{len(lines)} to mend in docstrings:", *lines))


# The rule: the section `Args:` names each parameter on a line of its own, and where a function has it and returns
# something, `Returns:` or `Yields:` says what. Two parameters or more need `Args:`, unless a docstring of one line says
# all. Properties have no parameters and say in their summary what they are.
def test_what_the_api_pages_document_names_every_parameter_and_what_is_returned() -> None:
    for library in ("transformers", "av", "onnx"):  # modules on the pages may import any extra
        pytest.importorskip(library, reason="needs the extra `dev`")
    lines = of_pages()
    assert not lines, report(lines)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_public_functions_of_a_package_name_every_parameter_and_what_is_returned(package: str) -> None:
    lines = of_package(f"coleaf_framework.{package}")
    assert not lines, report(lines)


MADE_UP = '''
def share(part, *others, whole=1.0) -> float:
    """A share.

    Args:
        part, others: numbers.
        hole: a number.
    """

def right(part: float, whole: float) -> float:
    """A share.

    Args:
        part: a number,
            at least 0.
        whole: a number.

    Returns:
        In [0,1].
    """

class Scale:
    """A factor.

    Args:
        by: the factor.
    """

    def __init__(self, by, unit): ...

    @property
    def unit(self) -> str:
        """The unit."""

    def apply(self, x: float) -> float:
        """A number, scaled.

        Args:
            x: a number.
        """

def blend(a: float, b: float) -> float:
    """Both, halved.

    The order does not matter.
    """

def mean(a: float, b: float) -> float:
    """Both, halved."""

def _hidden(x) -> float:
    """Hidden.

    Args:
        y: a number.
    """
'''


def test_docstrings_that_offend_are_found() -> None:
    assert list(offences(ast.parse(MADE_UP).body, "made_up")) == [
        "made_up.share: no entry of one parameter, 'name: text': 'part, others: numbers.'",
        "made_up.share: part is not in Args",
        "made_up.share: whole is not in Args",
        "made_up.share: others is not in Args",
        "made_up.share: hole is in Args and no parameter",
        "made_up.share: has Args, returns float, and has no Returns",
        "made_up.Scale: unit is not in Args",
        "made_up.Scale.apply: has Args, returns float, and has no Returns",
        "made_up.blend: takes a, b, and has no Args",
    ]
