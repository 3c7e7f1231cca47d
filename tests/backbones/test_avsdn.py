"""AVSDN: that the network is the one that its page describes, since nothing of it is published."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coleaf_framework import create_anchor
from tests.helpers.lstms import as_torchs
from tests.helpers.streams import SMALL, small_batch


def slow_decoder(decoder: nn.LSTM, local: Tensor, state: Tensor, cell: Tensor) -> Tensor:
    """One LSTM step after the other, with the global state beside each input: (B,T,D)."""
    step = nn.LSTMCell(decoder.input_size, decoder.hidden_size).double()
    step.load_state_dict({name.removesuffix("_l0"): x for name, x in decoder.state_dict().items()})
    everywhere, tokens = state, []
    for t in range(local.shape[1]):
        state, cell = step(torch.cat([local[:, t], everywhere], dim=1), (state, cell))
        tokens.append(state)
    return torch.stack(tokens, dim=1)


def test_tokens_as_described() -> None:
    net = create_anchor("avsdn", num_classes=4, streams=SMALL, width=8).double()
    batch = {name: x.double() for name, x in small_batch(5).items()}
    audio, frames = net.fc_a(batch["audio"]), net.fc_v(batch["visual"]).unflatten(1, (5, 3)).mean(2)
    visual = net.fc_fusion(torch.cat([frames, net.fc_st(batch["visual_st"])], dim=-1))
    last: list[Tensor] = []
    for encoder, x in ((net.encoder_audio, audio), (net.encoder_visual, visual)):
        last += as_torchs(encoder)(x)[1][0].unbind(0)
    both = torch.cat(last, dim=-1)
    state = (both @ net.fuse.weight[:8].T + net.fuse.bias[:8]).tanh()
    cell = both @ net.fuse.weight[8:].T + net.fuse.bias[8:]
    decoders = (net.decoder_audio, audio), (net.decoder_visual, visual)
    expected = torch.stack([slow_decoder(decoder, x, state, cell) for decoder, x in decoders], dim=2)
    torch.testing.assert_close(net(**batch).tokens, expected)


def test_a_token_depends_on_later_segments_and_the_other_modality_by_the_global_state_alone() -> None:
    net = create_anchor("avsdn", num_classes=4, streams=SMALL, width=8).double()
    audio, visual = (torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def reach() -> tuple[Tensor, Tensor]:
        """Whether segments of both modalities get a gradient from the third audio token: two (T,) bool."""
        token = net.encode(audio, visual, None)[:, 2, 0].square().sum()
        gradients = torch.autograd.grad(token, [audio, visual], allow_unused=True)
        found = [torch.zeros(5, dtype=torch.bool) if x is None else x.ne(0).any(-1).any(0) for x in gradients]
        return found[0], found[1]

    assert all(x.all() for x in reach())
    with torch.no_grad():  # a global state that says nothing
        net.fuse.weight.zero_()
    own, others = reach()
    assert own.tolist() == [True, True, True, False, False]
    assert not others.any()
