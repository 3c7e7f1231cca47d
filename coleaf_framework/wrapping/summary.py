"""Short names for many parameters: by the submodules that hold them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from torch import nn


def summarize(network: nn.Module, names: Collection[str]) -> str:
    """Short list of parameter names: a submodule is named once where all its parameters are in the list."""
    left, parts = set(names), []
    for path, module in network.named_modules():
        own = {f"{path}.{name}" for name, _ in module.named_parameters()}
        if path and own and own <= left:
            parts.append(f"{path} ({len(own)})")
            left -= own
    return ", ".join([*parts, *(name for name in names if name in left)])


def submodule_rows(network: nn.Module) -> dict[str, list[str]]:
    """Names of all parameters by child module; a child that holds most parameters is replaced by its children.

    Parameters of no submodule are listed under "(own)", behind the path of the expanded child where they are its own.
    """
    sizes = {name: x.numel() for name, x in network.named_parameters()}
    rows: dict[str, list[str]] = {}
    for child, names in _by_first_part(sizes, "").items():
        module = getattr(network, child, None)
        is_most = 2 * sum(sizes[name] for name in names) > sum(sizes.values())
        if is_most and isinstance(module, nn.Module) and any(True for _ in module.children()):
            rows |= {f"{child}.{part}": inner for part, inner in _by_first_part(names, f"{child}.").items()}
        else:
            rows[child] = names
    return rows


def _by_first_part(names: Iterable[str], prefix: str) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name in names:
        first, dot, _ = name.removeprefix(prefix).partition(".")
        grouped.setdefault(first if dot else "(own)", []).append(name)
    return grouped
