"""Every published-style network with a trap: name -> `Case`."""

from __future__ import annotations

from tests.helpers import traps_calls, traps_modes, traps_outputs, traps_shapes, traps_tokens
from tests.helpers.traps import TRAPS

__all__ = ["TRAPS", "traps_calls", "traps_modes", "traps_outputs", "traps_shapes", "traps_tokens"]
