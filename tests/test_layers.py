"""The layers of the design: imports run downward, never in a circle, and never to a backbone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "coleaf_framework"
# From the lowest to the highest; a package or module imports only from those before it.
LAYERS = (
    "_text",
    "_config",
    "_extras",
    "_machine",
    "_imports",
    "protocol",
    "storage",
    "media",
    "losses",
    "plugins",
    "tracking",
    "metrics",
    "data",
    "extraction",
    "adapters",
    "collaboration",
    "record",
    "model",
    "wrapping",
    "inspection",
    "results",
    "report",
    "training",
    "labelling",
    "experiments",
    "parsing",
    "serving",
    "deployment",
    "cli",
    "__init__",
    "__main__",
)


def modules(folder: Path) -> dict[str, Path]:
    """Every module of a package by its full name; a subpackage is its `__init__`."""
    found = {}
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)] = path
    return found


def imports(source: str, known: set[str]) -> set[str]:
    """Names that a module imports; what comes from the package's own face counts as importing its `__init__`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            if node.module == PACKAGE:
                names = {name if name in known else f"{PACKAGE}.__init__" for name in names}
            found |= names | {str(node.module)}
    return found


def layer(module: str) -> int:
    """Index of the layer that a module of the framework is in."""
    return LAYERS.index(module.split(".")[1])


def upward(edges: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Imports from a lower layer to a higher one."""
    return [(name, other) for name, needs in edges.items() for other in needs if layer(other) > layer(name)]


def circular(edges: dict[str, set[str]]) -> set[str]:
    """Modules that import each other in a circle, or that need such."""
    left = {name: needs - {name} for name, needs in edges.items()}
    while leaves := {name for name, needs in left.items() if not needs & left.keys()}:
        for leaf in leaves:
            del left[leaf]
    return set(left)


FRAMEWORK = modules(ROOT / PACKAGE)
IMPORTS = {name: imports(path.read_text(), set(FRAMEWORK)) for name, path in FRAMEWORK.items()}
EDGES = {name: {other for other in found if other in FRAMEWORK} for name, found in IMPORTS.items()}


def test_every_module_has_a_layer() -> None:
    assert {name.split(".")[1] for name in FRAMEWORK} == set(LAYERS)


def test_imports_never_run_upward() -> None:
    assert upward(EDGES) == []


def test_imports_never_run_in_a_circle() -> None:
    assert circular(EDGES) == set()


@pytest.mark.parametrize(
    ("importer", "line"),
    [
        ("training.loop", "from coleaf_framework.experiments.grid import Grid"),
        ("training.loop", "from coleaf_framework.experiments import grid"),
        ("results.rows", "import coleaf_framework.training.trainer"),
        ("results.tables", "def later():\n    from coleaf_framework.report.figures import class_bars"),
        ("losses.weak", "from coleaf_framework import wrap"),
        ("data.folder", "from coleaf_framework.adapters import Tap"),
    ],
)
def test_an_import_upward_is_found(importer: str, line: str) -> None:
    name = f"{PACKAGE}.{importer}"
    assert name in FRAMEWORK
    added = {other for other in imports(line, set(FRAMEWORK)) if other in FRAMEWORK}
    assert [one for one, _ in upward({**EDGES, name: EDGES[name] | added})] == [name] * len(added)
    assert added


def test_a_circle_is_found() -> None:
    changed = {**EDGES, f"{PACKAGE}.storage": EDGES[f"{PACKAGE}.storage"] | {f"{PACKAGE}.results.selection"}}
    assert f"{PACKAGE}.storage" in circular(changed)


def test_the_framework_never_imports_a_backbone() -> None:
    assert [name for name, found in IMPORTS.items() if any(i.startswith("coleaf_backbones") for i in found)] == []


def test_one_file_knows_entry_points() -> None:
    assert [name for name, found in IMPORTS.items() if "entrypoints" in found] == [f"{PACKAGE}.plugins"]


def test_backbones_import_only_protocol_and_losses() -> None:
    allowed = (f"{PACKAGE}.protocol", f"{PACKAGE}.losses")
    for name, path in modules(ROOT / "backbones" / "coleaf_backbones").items():
        found = imports(path.read_text(), set(FRAMEWORK))
        foreign = {i for i in found if i.startswith(PACKAGE) and not i.startswith(allowed)}
        assert not foreign - {PACKAGE}, f"{name} imports {foreign}"


def test_backbones_never_import_in_a_circle() -> None:
    found = modules(ROOT / "backbones" / "coleaf_backbones")
    edges = {name: imports(path.read_text(), set(found)) & found.keys() for name, path in found.items()}
    assert circular(edges) == set()


def test_nothing_is_loaded_by_pickle() -> None:
    for path in [*FRAMEWORK.values(), *modules(ROOT / "backbones" / "coleaf_backbones").values()]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
                keywords = {
                    k.arg: ast.literal_eval(k.value) for k in node.keywords if isinstance(k.value, ast.Constant)
                }
                owner = ast.unparse(node.func.value)
                if owner == "torch":
                    assert keywords.get("weights_only") is True, path
                if owner == "np":
                    assert keywords.get("allow_pickle") is False, path
                assert owner != "pickle", path
