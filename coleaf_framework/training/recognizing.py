"""Which Anchor plugins a checkpoint looks like, by the names and shapes of its parameters."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from coleaf_framework.plugins import create_anchor, list_plugins, published_options

# Below this share of common names, of all names of the file and the network, nothing is said.
_ALIKE = 0.7


@dataclass(frozen=True)
class _Match:
    """How the tensors of a file agree with a plugin's network, made with its defaults and `published_options`.

    Args:
        name: of the plugin.
        own: number of the network's parameters and buffers.
        named: how many of these the file has by the same name.
        shaped: how many of those have the same shape, too.
        share: `named` over the number of names in the union of both, in [0,1].
    """

    name: str
    own: int
    named: int
    shaped: int
    share: float


def looks_like(tensors: Mapping[str, Tensor], asked: str) -> str:
    """A sentence that names the Anchor plugins whose parameters a checkpoint has.

    These are the plugins that find all of their parameters in the file, by name; of these, those that find them in the
    right shapes, where there are any; and of these, those that use most of the file. Where no plugin finds all, it is
    the one with the most names in common, if these are most of the names of both. Plugins that cannot be made with
    their defaults are passed over.

    Args:
        tensors: name -> tensor, as the file has them.
        asked: the plugin that it was to be loaded as.

    Returns:
        The sentence; empty where nothing fits well, or where `asked` fits as well as any other.
    """
    matches = [match for match in (_match(name, tensors) for name in _names()) if match is not None]
    whole = [match for match in matches if match.named == match.own]
    whole = [match for match in whole if match.shaped == match.own] or whole
    best = [match.name for match in whole if match.own == max(other.own for other in whole)]
    if best:
        if asked in best:
            return ""
        *others, last = (repr(name) for name in best)
        names = f"{', '.join(others)} and {last}" if others else last
        return f"Its parameters have the names that {names} {'have' if others else 'has'}: try --as {best[0]}"
    most = max(matches, key=lambda match: match.share, default=None)
    if most is None or most.share < _ALIKE or most.name == asked:
        return ""
    return f"It looks most like {most.name!r}, of whose {most.own} parameters it has {most.named} by name"


def _names() -> list[str]:
    return [plugin.name for plugin in list_plugins("anchor") if plugin.error is None]


def _match(name: str, tensors: Mapping[str, Tensor]) -> _Match | None:
    """How a plugin fits; None where it cannot be made, or cannot read such tensors."""
    try:
        with _silently():
            network = create_anchor(name, **published_options(name))
            convert = getattr(network, "published_tensors", None)
            found = dict(tensors) if convert is None else dict(convert(dict(tensors)))
    except Exception:  # somebody else's constructor or conversion, which is not what was asked for
        return None
    return _compared(name, network, found)


def _compared(name: str, network: nn.Module, found: Mapping[str, Tensor]) -> _Match | None:
    own = network.state_dict()
    common = [key for key in own if key in found]
    if not common:
        return None
    shaped = sum(not found[key].is_nested and found[key].shape == own[key].shape for key in common)
    return _Match(name, len(own), len(common), shaped, len(common) / len(own.keys() | found.keys()))


@contextmanager
def _silently() -> Iterator[None]:
    """Without log messages, and without a change of the random numbers that follow."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        logging.disable(before)
