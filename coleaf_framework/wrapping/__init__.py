"""Putting a network into CoLeaF."""

from coleaf_framework.wrapping.wrap import wrap

__all__ = ["wrap"]
