"""LSTMs as ONNX has them.

PyTorch traces an LSTM as one copy of its cell for each segment, which fixes T. ONNX has an operator for the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

State = tuple[Tensor, Tensor]


@contextmanager
def onnx_lstms(network: nn.Module) -> Iterator[None]:
    """Within this, the LSTMs of a network are traced as ONNX's operator; they cannot compute anything.

    An LSTM with projections (`proj_size`), which the operator lacks, stays as it is.
    """
    lstms = [module for module in network.modules() if isinstance(module, nn.LSTM) and not module.proj_size]
    for lstm in lstms:
        lstm.forward = partial(_traced, lstm)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for lstm in lstms:
            del lstm.forward


def _traced(lstm: nn.LSTM, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    """What `nn.LSTM.forward` returns in evaluation mode, of a batch (B,T,inputs), or (T,B,inputs) as the LSTM has it.

    Raises:
        ValueError: `x` is a single sequence, or packed.
    """
    if not isinstance(x, Tensor) or x.ndim != 3:
        raise ValueError("an LSTM that reads a single or packed sequence has no counterpart in ONNX")
    y = x.transpose(0, 1) if lstm.batch_first else x  # (T,B,inputs)
    directions = ["", "_reverse"] if lstm.bidirectional else [""]
    count = len(directions)
    if state is None:
        zeros = y.new_zeros(lstm.num_layers * count, y.shape[1], lstm.hidden_size)
        state = (zeros, zeros)
    ends = []
    for layer in range(lstm.num_layers):
        own = slice(layer * count, (layer + 1) * count)
        names = [f"l{layer}{direction}" for direction in directions]
        y, *end = _run_layer(lstm, names, y, state[0][own], state[1][own])
        ends.append(end)
    hidden, cell = (torch.cat(parts) for parts in zip(*ends, strict=True))
    return (y.transpose(0, 1) if lstm.batch_first else y), (hidden, cell)


def _run_layer(lstm: nn.LSTM, names: list[str], x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, ...]:
    """One layer over (T,B,inputs) -> its outputs (T,B,directions * H), last hidden states and cells."""
    biases = None
    if lstm.bias:
        biases = torch.cat([_stacked(lstm, "bias_ih", names), _stacked(lstm, "bias_hh", names)], dim=1)
    y, *end = torch.onnx.ops.symbolic_multi_out(
        "::LSTM",
        [x, _stacked(lstm, "weight_ih", names), _stacked(lstm, "weight_hh", names), biases, None, hidden, cell],
        {"hidden_size": lstm.hidden_size, "direction": "bidirectional" if len(names) == 2 else "forward"},
        dtypes=[x.dtype] * 3,
        shapes=[(x.shape[0], len(names), x.shape[1], lstm.hidden_size), hidden.shape, cell.shape],
    )
    return y.transpose(1, 2).flatten(2), *end


def _stacked(lstm: nn.LSTM, kind: str, names: list[str]) -> Tensor:
    """Weights of each direction, their gates from PyTorch's order (input, forget, cell, output) to ONNX's (i,o,f,c)."""
    size, stacked = lstm.hidden_size, []
    for name in names:
        rows: Tensor = getattr(lstm, f"{kind}_{name}")
        stacked.append(torch.cat([rows[:size], rows[3 * size :], rows[size : 2 * size], rows[2 * size : 3 * size]]))
    return torch.stack(stacked)
