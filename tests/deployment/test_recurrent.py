"""LSTMs of a network, while it is traced for ONNX and afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from coleaf_framework.deployment.recurrent import onnx_lstms


def test_an_lstm_computes_afterwards_as_before_also_where_tracing_failed() -> None:
    network, x = nn.ModuleList([nn.LSTM(4, 3)]), torch.randn(5, 2, 4)
    before, _ = network[0](x)
    with pytest.raises(RuntimeError, match="stopped"), onnx_lstms(network):
        raise RuntimeError("stopped")
    after, _ = network[0](x)
    assert torch.equal(before, after)


def test_a_packed_sequence_is_refused() -> None:
    lstm = nn.LSTM(4, 3)
    packed = nn.utils.rnn.pack_sequence([torch.randn(3, 4), torch.randn(2, 4)])
    with onnx_lstms(lstm), pytest.raises(ValueError, match="single or packed sequence has no counterpart in ONNX"):
        lstm(packed)
