"""The Anchors that `--anchors` names; "all" stands for every Anchor plugin that works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from coleaf_framework._text import one_line
from coleaf_framework.plugins import list_plugins

EVERY = "all"


@dataclass(frozen=True)
class Chosen:
    """Result of `choose_anchors`.

    Args:
        names: of the Anchors, in the order in which they were named; those of "all" by name.
        optional: those that only "all" includes; one that cannot take the data is left out instead of refused.
        broken: plugins that "all" leaves out since they do not work -> why.
    """

    names: tuple[str, ...]
    optional: frozenset[str] = frozenset()
    broken: Mapping[str, str] = field(default_factory=dict)


def choose_anchors(text: str) -> Chosen:
    """The Anchors of an option such as "han,mypackage:MyNet", "all" or "all,mypackage:MyNet".

    Args:
        text: names with commas between.

    Raises:
        ValueError: "all" is named twice, or no Anchor plugin works.
    """
    named = [name.strip() for name in text.split(",") if name.strip()]
    if EVERY not in named:
        return Chosen(tuple(named))
    if named.count(EVERY) > 1:
        raise ValueError(f"--anchors {text!r}: names {EVERY} twice")
    plugins = list_plugins("anchor")
    optional = [plugin.name for plugin in plugins if plugin.error is None and plugin.name not in named]
    broken = {plugin.name: one_line(plugin.error) for plugin in plugins if plugin.error is not None}
    at = named.index(EVERY)
    names = (*named[:at], *optional, *named[at + 1 :])
    if not names:
        raise ValueError(f"--anchors {EVERY}: no Anchor plugin works; `coleaf plugins` says why")
    return Chosen(names, frozenset(optional), broken)


def told(trained: tuple[str, ...], left_out: Mapping[str, str]) -> str:
    """One line that says what "all" stands for.

    Args:
        trained: the Anchors that are trained.
        left_out: those that are not -> why.

    Example:
        >>> told(("cmpae", "han"), {"mynet": "no module named 'x'"})
        "--anchors all: cmpae, han; left out: mynet (no module named 'x')"
    """
    without = "; left out: " + "; ".join(f"{name} ({why})" for name, why in left_out.items()) if left_out else ""
    return f"--anchors {EVERY}: {', '.join(trained)}{without}"
