"""The cost of a network or of a training step, as tables show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Cost of one network or training step.

    Args:
        parameters: number of parameters.
        gflops: GFLOPs per video of matrix products, attention and convolutions, two FLOPs per multiply-add; including
            the backward pass in a training step.
        milliseconds: time per video, the median over several batches.
    """

    parameters: int
    gflops: float
    milliseconds: float

    def cells(self) -> list[str]:
        """The three numbers as text."""
        return [f"{self.parameters:,}", f"{self.gflops:.4f}", f"{self.milliseconds:.3f}"]
