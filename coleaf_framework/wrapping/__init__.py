"""Wrap a network as an Anchor, measure its training signal, and test its conformance."""

from coleaf_framework.wrapping.configured import wrap_configured
from coleaf_framework.wrapping.conformance import check_anchor
from coleaf_framework.wrapping.measuring import training_signal
from coleaf_framework.wrapping.wrapper import wrap

__all__ = ["check_anchor", "training_signal", "wrap", "wrap_configured"]
