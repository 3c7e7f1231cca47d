"""Anchor and Reference as one module, its standardisation, and how it is saved and loaded."""

from coleaf_framework.model.coleaf import CoLeaF
from coleaf_framework.model.loading import load_anchor
from coleaf_framework.model.standardize import StandardizedAnchor, Standardizer

__all__ = ["CoLeaF", "StandardizedAnchor", "Standardizer", "load_anchor"]
