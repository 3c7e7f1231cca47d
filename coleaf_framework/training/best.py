"""The weights of the best epoch so far."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn

from coleaf_framework.storage import read_tensors, write_tensors
from coleaf_framework.training.run_folder import RunFolder


class BestWeights:
    """Keeps the weights of the best epoch: in the run folder, or in memory where there is none.

    Args:
        folder: the run's, or None.
    """

    def __init__(self, folder: RunFolder | None) -> None:
        self.folder = folder
        self.value, self.epoch = -float("inf"), 0
        self._kept: Mapping[str, Tensor] | None = None

    def offer(self, value: float | None, epoch: int, model: nn.Module) -> None:
        """Keep the weights of `model` if `value` exceeds all earlier values, or if it is None."""
        if value is not None:
            if self.epoch and not (value > self.value or math.isnan(self.value)):
                return
            self.value = value
        self.epoch = epoch
        if self.folder is not None:
            write_tensors(self.folder.weights, model.state_dict())
        else:
            self._kept = {name: x.detach().cpu().clone() for name, x in model.state_dict().items()}

    def require(self) -> None:
        """Check that the weights kept in the folder exist and are not damaged.

        Raises:
            FileNotFoundError, ValueError: they are not; names the file.
        """
        if self.folder is not None and self.epoch:
            read_tensors(self.folder.weights)

    def restore(self, model: nn.Module) -> None:
        """Load the kept weights into `model`."""
        kept = read_tensors(self.folder.weights) if self.folder is not None else self._kept
        if kept is not None:
            model.load_state_dict(dict(kept))
