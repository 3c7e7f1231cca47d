"""Draws docs/images/layers.svg from the imports: `python docs/layers_picture.py > docs/images/layers.svg`.

A box is a package or module of coleaf_framework; what it imports is below it. An arrow that
follows from others, by way of a box between, is left out.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from pathlib import Path

PACKAGE = "coleaf_framework"
ROOT = Path(__file__).resolve().parents[1] / PACKAGE
LEFT_OUT = {
    "__init__",
    "__main__",
    "_text",
    "_config",
    "_extras",
    "_machine",
    "_imports",
}  # the face, and modules that stand below all
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 122, 32, 26, 34, 16


def read_imports() -> dict[str, set[str]]:
    """What each package or module imports of the others."""
    needs: dict[str, set[str]] = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).with_suffix("").parts[0]
        if name in LEFT_OUT:
            continue
        own = needs.setdefault(name, set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
                own.update(module.split(".")[1] for module in modules)
    return {name: (found & needs.keys()) - {name} for name, found in needs.items()}


def rows_of(needs: Mapping[str, set[str]]) -> list[list[str]]:
    """The boxes by the longest way down from them, the lowest row first."""
    height: dict[str, int] = {}
    while len(height) < len(needs):
        ready = [name for name in needs if name not in height and needs[name] <= height.keys()]
        if not ready:
            raise ValueError(f"the imports run in a circle among {sorted(needs.keys() - height.keys())}")
        height |= {name: 1 + max((height[other] for other in needs[name]), default=-1) for name in ready}
    return [[name for name in sorted(needs) if height[name] == row] for row in range(max(height.values()) + 1)]


def direct(needs: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """The imports that do not follow from others."""
    below: dict[str, set[str]] = {}
    for name in (name for row in rows_of(needs) for name in row):
        below[name] = needs[name].union(*(below[other] for other in needs[name]))
    return [
        (name, other)
        for name in sorted(needs)
        for other in sorted(needs[name])
        if not any(other in below[between] for between in needs[name])
    ]


def picture() -> str:
    """The picture as SVG."""
    needs = read_imports()
    rows = rows_of(needs)
    width = 2 * MARGIN + max(len(row) for row in rows) * (WIDTH + GAP_X) - GAP_X
    total = 2 * MARGIN + len(rows) * (HEIGHT + GAP_Y) - GAP_Y
    at = {}
    for number, row in enumerate(rows):
        start = (width - len(row) * (WIDTH + GAP_X) + GAP_X) / 2
        top = total - MARGIN - HEIGHT - number * (HEIGHT + GAP_Y)
        at |= {name: (start + i * (WIDTH + GAP_X), top) for i, name in enumerate(row)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {total}" width="{width}" height="{total}" '
        'font-family="sans-serif" text-anchor="middle">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#5b6b7b"/></marker></defs>',
        f'<rect width="{width}" height="{total}" fill="white"/>',
    ]
    for name, other in direct(needs):
        (x1, y1), (x2, y2) = at[name], at[other]
        x1, x2, y1, bend = x1 + WIDTH / 2, x2 + WIDTH / 2, y1 + HEIGHT, GAP_Y
        parts.append(
            f'<path d="M{x1:g} {y1:g}C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}" fill="none" '
            'stroke="#5b6b7b" stroke-width="1.2" marker-end="url(#tip)"/>'
        )
    for name, (x, y) in at.items():
        parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#eaf2f8" stroke="#0072b2"/>'
            f'<text x="{x + WIDTH / 2:g}" y="{y + HEIGHT / 2 + 5:g}" font-size="14">{name}</text>'
        )
    return "\n".join([*parts, "</svg>"])


if __name__ == "__main__":
    sys.stdout.write(picture() + "\n")
