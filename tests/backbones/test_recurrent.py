"""LSTMs over real segments, and what the networks made of them, AVE and AVSDN, have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from coleaf_backbones.recurrent import BiLSTM, run_over_real
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from coleaf_framework import Batch, CoLeaFConfig, check_anchor, create_anchor, recipe, wrap
from coleaf_framework.protocol import Progress
from coleaf_framework.training import import_checkpoint
from tests.helpers.lstms import as_torchs
from tests.helpers.streams import SMALL, small_batch
from tests.helpers.videos import UNAV_LIKE

NETWORKS = ("ave", "avsdn")
STEPS = {"paper": CoLeaFConfig(), "official": CoLeaFConfig.official()}


def make(name: str) -> Any:
    return create_anchor(name, num_classes=4, streams=SMALL, width=8)


@pytest.mark.parametrize("lengths", [None, [5, 1, 3]])
def test_a_bilstm_is_torchs_on_packed_videos(lengths: list[int] | None) -> None:
    """Outputs, last states and gradients."""
    ours = BiLSTM(3, 4).double()
    theirs = as_torchs(ours)
    x = torch.randn(3, 5, 3, dtype=torch.float64, requires_grad=True)
    mask = None if lengths is None else torch.arange(5) < torch.tensor(lengths)[:, None]
    y, last_ = ours(x, mask)
    packed = pack_padded_sequence(x, lengths or [5, 5, 5], batch_first=True, enforce_sorted=False)
    expected, (states, _) = theirs(packed)
    expected, _ = pad_packed_sequence(expected, batch_first=True)  # 0 in the padding
    real = torch.ones(3, 5, dtype=torch.bool) if mask is None else mask
    torch.testing.assert_close(y[real], expected[real])
    torch.testing.assert_close(last_, torch.cat(list(states), dim=-1))
    share = torch.randn_like(expected) * real[:, :, None]
    found, wanted = (torch.autograd.grad((z * share).sum(), x)[0] for z in (y, expected))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("backwards", [False, True])
def test_masked_segments_are_skipped_wherever_they_are(backwards: bool) -> None:
    lstm, x = nn.LSTM(3, 4, batch_first=True).double(), torch.randn(2, 5, 3, dtype=torch.float64)
    mask = torch.tensor([[False, True, True, False, True], [True, False, True, True, False]])
    state = torch.randn(2, 4).double(), torch.randn(2, 4).double()
    y, end = run_over_real(lstm, x, mask, backwards=backwards, state=state)
    for i in range(2):
        alone, alone_end = run_over_real(
            lstm, x[i : i + 1, mask[i]], None, backwards=backwards, state=(state[0][i : i + 1], state[1][i : i + 1])
        )
        torch.testing.assert_close(y[i, mask[i]], alone[0])
        torch.testing.assert_close(end[i], alone_end[0])


@pytest.mark.parametrize("name", NETWORKS)
def test_conforms_and_each_parameter_is_trained(name: str) -> None:
    assert len(check_anchor(name, streams=UNAV_LIKE, num_classes=4, anchor_options={"width": 8})) == 8


@pytest.mark.parametrize("name", NETWORKS)
def test_tokens_are_what_the_segment_classifier_reads(name: str) -> None:
    net = make(name)
    output = net(**small_batch(5))
    torch.testing.assert_close(net.fc_prob(output.tokens).sigmoid(), output.segment_probs)
    assert torch.autograd.grad(output.segment_probs.sum(), output.tokens)[0].any()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("config", STEPS)
def test_a_masked_step_asks_the_device_for_no_value(name: str, config: str) -> None:
    """The device "meta" has no values: whoever asks for one, as `.item()` or lengths on the CPU do, fails."""
    model = wrap(name, streams=SMALL, num_classes=4, config=STEPS[config], anchor_options={"width": 8}).to("meta")
    mask = torch.tensor([[True] * 4, [True, True, False, False], [True] * 3 + [False]])
    batch = Batch(small_batch(4), (torch.rand(3, 4) < 0.5).float(), mask=mask).to("meta")
    when = Progress(4, 3)
    shared = model.shared_pass(batch, when)
    for which in model.updates(when):
        model.update(batch, when, which, shared).total().backward()


@pytest.mark.parametrize("name", NETWORKS)
def test_an_odd_width_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name.upper()}: width=7: expected an even number"):
        create_anchor(name, streams=SMALL, num_classes=4, width=7)
    with pytest.raises(ValueError, match="width=0: expected a whole number of at least 1"):
        create_anchor(name, streams=SMALL, num_classes=4, width=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_schedule_is_published(name: str) -> None:
    with pytest.raises(ValueError, match=f"the Anchor '{name}' has no published schedule"):
        recipe("published", f"anchor.name={name}")


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_of_its_own_load(name: str, tmp_path: Path) -> None:
    net = make(name).eval()
    torch.save({"model": net.state_dict()}, tmp_path / "own.pt")
    loaded = import_checkpoint(tmp_path / "own.pt", name, streams=SMALL, num_classes=4, width=8)
    batch = small_batch(5)
    assert torch.equal(loaded(**batch).segment_probs, net(**batch).segment_probs)
