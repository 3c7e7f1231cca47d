"""Files that are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from coleaf_framework.storage import read_tensors, write_atomically, write_tensors


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"x": torch.ones(3)})

    def cut(file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        write_atomically(path, cut)
    assert torch.equal(read_tensors(path)["x"], torch.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_tensors_on_any_layout_come_back_equal(tmp_path: Path) -> None:
    x = torch.randn(3, 4).T
    write_tensors(tmp_path / "a", {"x": x, "y": torch.tensor(2.0)})
    again = read_tensors(tmp_path / "a")
    assert torch.equal(again["x"], x)
    assert again["y"] == 2
