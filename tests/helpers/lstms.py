"""PyTorch's bidirectional LSTM, to hold ours to."""

from __future__ import annotations

from coleaf_backbones.recurrent import BiLSTM
from torch import nn


def as_torchs(ours: BiLSTM) -> nn.LSTM:
    """A bidirectional `nn.LSTM` with the same weights."""
    theirs = nn.LSTM(ours.ahead.input_size, ours.ahead.hidden_size, batch_first=True, bidirectional=True)
    theirs = theirs.to(ours.ahead.weight_ih_l0)
    weights = dict(ours.ahead.state_dict())
    weights |= {f"{name}_reverse": x for name, x in ours.back.state_dict().items()}
    theirs.load_state_dict(weights)
    return theirs
