"""The floors of the design: imports run downward, never in a circle, and never to a backbone."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "coleaf_framework"
FLOORS = {
    "protocol": 0,
    "_config": 0,
    "_text": 0,
    "storage": 0,
    "plugins": 1,
    "standardize": 1,
    "losses": 1,
    "adapters": 1,
    "metrics": 1,
    "data": 1,
    "collaboration": 2,
    "description": 2,
    "model": 2,
    "wrapping": 3,
    "report": 3,
    "training": 3,
    "evidence": 3,
    "demo": 4,
    "cli_evidence": 4,
    "cli": 4,
    "__main__": 5,
    "__init__": 5,
}


def modules(folder: Path) -> dict[str, Path]:
    found = {}
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)] = path
    return found


FRAMEWORK = modules(ROOT / PACKAGE)
KNOWN = set(FRAMEWORK)


def imports(path: Path) -> set[str]:
    """Names imported; what comes from the package's own face counts as importing its `__init__`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            if node.module == PACKAGE:
                names = {name if name in KNOWN else f"{PACKAGE}.__init__" for name in names}
            found |= names | {str(node.module)}
    return found


def floor(module: str) -> int:
    return FLOORS[module.split(".")[1]]


def test_every_module_has_a_floor() -> None:
    assert {name.split(".")[1] for name in FRAMEWORK} == set(FLOORS)


def test_imports_never_run_upward() -> None:
    upward = [
        (name, other)
        for name, path in FRAMEWORK.items()
        for other in imports(path)
        if other in FRAMEWORK and floor(other) > floor(name)
    ]
    assert upward == []


def test_imports_never_run_in_a_circle() -> None:
    edges = {name: {o for o in imports(path) if o in FRAMEWORK and o != name} for name, path in FRAMEWORK.items()}
    while leaves := {name for name, needs in edges.items() if not needs & edges.keys()}:
        for leaf in leaves:
            del edges[leaf]
    assert not edges, f"in a circle: {sorted(edges)}"


def test_the_framework_never_imports_a_backbone() -> None:
    assert [n for n, path in FRAMEWORK.items() if any(i.startswith("coleaf_backbones") for i in imports(path))] == []


def test_one_file_knows_entry_points() -> None:
    assert [n for n, path in FRAMEWORK.items() if "entrypoints" in imports(path)] == [f"{PACKAGE}.plugins"]


def test_backbones_import_only_protocol_and_losses() -> None:
    allowed = (f"{PACKAGE}.protocol", f"{PACKAGE}.losses")
    for name, path in modules(ROOT / "backbones" / "coleaf_backbones").items():
        foreign = {i for i in imports(path) if i.startswith(PACKAGE) and not i.startswith(allowed)}
        assert not foreign - {PACKAGE}, f"{name} imports {foreign}"


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
