"""Inspect a network: what it takes and returns, and how to wrap it."""

from coleaf_framework.inspection.description import describe
from coleaf_framework.inspection.page import Description

__all__ = ["Description", "describe"]
