"""Loss terms of an epoch, kept on their device so that a step waits for nothing."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_FLUSH_EVERY = 50


class LossLog:
    """Collects each step's terms and finds the first that is not finite.

    On a CPU every step is looked at before its update; on other devices every 50 steps and at the epoch's end,
    since each look would stall the device.

    Args:
        epoch: for messages.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self._names: tuple[str, ...] = ()
        self._pending: list[Tensor] = []
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._steps = 0

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Note one step's terms.

        Raises:
            FloatingPointError: a term is NaN or infinite; names it with epoch and batch.
        """
        if self._pending and tuple(terms) != self._names:
            self.flush()
        self._names = tuple(terms)
        values = torch.stack([term.detach().float() for term in terms.values()])
        self._pending.append(values)
        if values.device.type == "cpu" or len(self._pending) >= _FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Look at the steps noted since the last look; errors as in `add`."""
        if not self._pending:
            return
        rows = torch.stack(self._pending).cpu()
        self._pending = []
        bad = (~torch.isfinite(rows)).nonzero()
        if len(bad):
            step, term = bad[0].tolist()
            raise FloatingPointError(
                f"loss term {self._names[term]!r} became {rows[step, term].item()} "
                f"in epoch {self.epoch}, batch {self._steps + step + 1}"
            )
        for name, total in zip(self._names, rows.sum(0).tolist(), strict=True):
            self._sums[name] = self._sums.get(name, 0.0) + total
            self._counts[name] = self._counts.get(name, 0) + len(rows)
        self._steps += len(rows)

    def means(self) -> dict[str, float]:
        """Each term's mean over the steps looked at in which it occurred."""
        return {name: total / self._counts[name] for name, total in self._sums.items()}
