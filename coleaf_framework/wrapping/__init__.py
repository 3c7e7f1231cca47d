"""Wrap a network as an Anchor, inspect it, and test its conformance."""

from coleaf_framework.wrapping.configured import wrap_configured
from coleaf_framework.wrapping.conformance import check_anchor
from coleaf_framework.wrapping.inspection import Description, describe
from coleaf_framework.wrapping.measuring import training_signal
from coleaf_framework.wrapping.wrapper import wrap

__all__ = ["Description", "check_anchor", "describe", "training_signal", "wrap", "wrap_configured"]
