"""LSTMs over the real segments of padded videos. Shape letters: see `coleaf_framework.protocol`."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def run_over_real(
    lstm: nn.LSTM,
    x: Tensor,
    mask: Tensor | None,
    *,
    backwards: bool = False,
    state: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Run an LSTM over the real segments of each video, wherever its padding is.

    Real segments are moved to the front, read there, and their outputs moved back, so padding is read after them.
    Unlike `torch.nn.utils.rnn.pack_padded_sequence`, this needs no lengths on the CPU, so the device never waits.

    Args:
        lstm: of one layer and direction, with `batch_first`.
        x: (B,T,inputs).
        mask: (B,T) bool, True = real segment, at least one a video; None where all segments are real.
        backwards: read from the last segment to the first.
        state: initial hidden state and cell, each (B,H); None for zeros.

    Returns:
        Outputs (B,T,H), those of masked segments without meaning, and the hidden state after the segment read last,
        (B,H).
    """
    initial = None if state is None else (state[0][None], state[1][None])
    if mask is None:
        y, _ = lstm(x.flip(1) if backwards else x, initial)
        return y.flip(1) if backwards else y, y[:, -1]
    place = torch.arange(x.shape[1], device=x.device)
    order = torch.where(mask, -place if backwards else place, place + x.shape[1]).argsort(dim=1)
    video = torch.arange(len(x), device=x.device)
    y, _ = lstm(x[video[:, None], order], initial)
    return y[video[:, None], order.argsort(dim=1)], y[video, mask.sum(1) - 1]


class BiLSTM(nn.Module):
    """A bidirectional LSTM of one layer that reads no padding.

    Two LSTMs of one direction, since the reverse one of a bidirectional `nn.LSTM` starts in the padding: `ahead` has
    the weights that PyTorch calls `NAME_l0`, `back` those of `NAME_l0_reverse`.

    Args:
        inputs: width of the input.
        hidden: width of each direction, H.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.ahead = nn.LSTM(inputs, hidden, batch_first=True)
        self.back = nn.LSTM(inputs, hidden, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read the videos in both directions.

        Args:
            x: (B,T,inputs).
            mask: (B,T) bool, True = real segment, at least one a video; None where all segments are real.

        Returns:
            Outputs (B,T,2H), and the last hidden states of both directions, (B,2H).
        """
        ahead, end = run_over_real(self.ahead, x, mask)
        back, start = run_over_real(self.back, x, mask, backwards=True)
        return torch.cat([ahead, back], dim=-1), torch.cat([end, start], dim=-1)


def require_even(owner: str, width: int) -> None:
    """Check that a width can be shared by the two directions of a `BiLSTM`.

    Raises:
        ValueError: it is odd.
    """
    if width % 2:
        raise ValueError(f"{owner}: width={width}: expected an even number, half of it for each direction of its LSTMs")
