"""The source of an adapter and a loss counts among the code that a run is made of."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from torch import nn

from coleaf_framework.plugins import import_function
from coleaf_framework.record.provenance import changes, made_of


def test_a_changed_loss_in_another_module_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "losses_of_theirs.py").write_text("def loss(raw, batch):\n    return raw[0].sum()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    loss = import_function("losses_of_theirs:loss", "loss")
    before = made_of(nn.Linear, None, (), {"loss": loss, "adapter": None})
    (tmp_path / "losses_of_theirs.py").write_text("def loss(raw, batch):\n    return raw[1].sum()\n")
    after = made_of(nn.Linear, None, (), {"loss": loss, "adapter": None})
    del sys.modules["losses_of_theirs"]
    assert changes(before, before) == []
    assert any("losses_of_theirs.py" in clause for clause in changes(before, after))
