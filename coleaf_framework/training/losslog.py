"""The mean loss terms of an epoch, collected on the device so that no step waits for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_FLUSH_EVERY = 50
_OLDER_OBSERVATIONS = "theta/"  # what they begin with in states that do not say which terms they are


class LossLog:
    """Collects each step's terms and finds the first that is not finite.

    On a CPU every term is looked at before its update; on other devices every 50 updates and at the epoch's end,
    since each look would stall the device.

    Args:
        epoch: for messages.
        state: of an epoch that was interrupted, to go on with.
    """

    def __init__(self, epoch: int, state: Mapping[str, Any] | None = None) -> None:
        self.epoch = epoch
        self._pending: list[tuple[int, tuple[str, ...], Tensor]] = []
        state = state or {"sums": {}, "steps": {}}
        self._sums: dict[str, float] = dict(state["sums"])
        self._steps: dict[str, int] = dict(state["steps"])
        observed = state.get("observed")
        if observed is None:
            observed = [name for name in self._sums if name.startswith(_OLDER_OBSERVATIONS)]
        self._observed: set[str] = set(observed)
        self._last: dict[str, int] = {}

    def add(self, losses: Mapping[str, Tensor], batch: int, observations: Mapping[str, Tensor] | None = None) -> None:
        """Note the terms of a step or of a part of one.

        Args:
            losses: scalars by name.
            batch: number of the step in its epoch, from 1.
            observations: scalars by name that train nothing; kept apart.

        Raises:
            FloatingPointError: a term is NaN or infinite; names it with epoch and batch.
        """
        terms = {**losses, **(observations or {})}
        self._observed.update(observations or {})
        values = torch.stack([term.detach().float() for term in terms.values()])
        self._pending.append((batch, tuple(terms), values))
        if values.device.type == "cpu" or len(self._pending) >= _FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Look at the terms noted since the last look; errors as in `add`."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        values = iter(torch.cat([values for *_, values in pending]).tolist())
        for batch, names, _ in pending:
            for name, value in zip(names, values, strict=False):  # `values` goes on with the next update's
                if not math.isfinite(value):
                    raise FloatingPointError(f"loss term {name!r} became {value} in epoch {self.epoch}, batch {batch}")
                self._sums[name] = self._sums.get(name, 0.0) + value
                if self._last.get(name) != batch:  # parts of a step add up to one
                    self._steps[name] = self._steps.get(name, 0) + 1
                    self._last[name] = batch

    def means(self) -> dict[str, float]:
        """Each loss term's mean over the steps looked at in which it occurred."""
        return {name: mean for name, mean in self._means().items() if name not in self._observed}

    def observed(self) -> dict[str, float]:
        """Each observation's mean, likewise."""
        return {name: mean for name, mean in self._means().items() if name in self._observed}

    def _means(self) -> dict[str, float]:
        return {name: total / self._steps[name] for name, total in self._sums.items()}

    def state(self) -> dict[str, Any]:
        """The state to resume an interrupted epoch with; call `flush` first."""
        return {"sums": self._sums, "steps": self._steps, "observed": sorted(self._observed)}
