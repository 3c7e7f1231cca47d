"""Freezing the parameters of an Anchor that no loss reaches, while it is part of a model."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from torch import nn

# What is frozen on a network now, so that a later `wrap` of it begins with what its owner made.
_frozen_of: WeakKeyDictionary[nn.Module, tuple[str, ...]] = WeakKeyDictionary()


def freeze(anchor: nn.Module, names: tuple[str, ...]) -> None:
    """Freeze the parameters of these names, and remember them for `unfreeze`."""
    for name, parameter in anchor.named_parameters():
        if name in names:
            parameter.requires_grad_(False)
    _frozen_of[anchor] = names


def unfreeze(anchor: nn.Module, also: tuple[str, ...] = ()) -> None:
    """Make the parameters trainable again that a model around this network froze.

    Args:
        anchor: the network.
        also: more names; those of a copied network, which was never frozen itself.
    """
    frozen = (*_frozen_of.pop(anchor, ()), *also)
    for name, parameter in anchor.named_parameters():
        if name in frozen:
            parameter.requires_grad_(True)
