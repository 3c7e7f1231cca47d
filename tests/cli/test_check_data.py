"""`coleaf check-data`: what it says of a folder, and that it fails where training would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.command import Command


def test_check_data_tells_each_streams_scale_and_where_they_lie_far_apart(coleaf: Command, data_root: Path) -> None:
    printed = coleaf("check-data", data_root)
    values = np.concatenate([np.load(p).astype("f8").ravel() for p in (data_root / "feats/vggish").glob("tr*.npy")])
    expected = f"mean {values.mean():.3g}, deviation {values.std():.3g}, range {values.min():.3g} to {values.max():.3g}"
    assert f"split 'train': stream audio has {expected}" in printed
    assert "data.standardize" not in printed
    for path in (data_root / "feats/res152").glob("*.npy"):
        np.save(path, 1000 * np.load(path).astype("f4"))
    printed = " ".join(coleaf("check-data", data_root).split())
    assert "odd: split 'train': the deviation of stream visual is" in printed
    assert "consider --set data.standardize=true" in printed
    for path in (data_root / "feats/vggish").glob("*.npy"):
        np.save(path, np.ones_like(np.load(path)))
    assert "stream audio is the same value everywhere" in coleaf("check-data", data_root)


def test_check_data_says_what_is_there_missing_and_odd(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    printed = coleaf("check-data", data_root)
    assert "there:   split 'train': 6 of 6 videos can be read" in printed
    path = data_root / "feats/vggish/tr01.npy"
    path.write_bytes(path.read_bytes()[:-3])
    (data_root / "feats/vggish/va01.npy").unlink()
    (data_root / "AVVP_test_pd.csv").write_text((data_root / "AVVP_test_pd.csv").read_text() + "tr00_0_4\tDog\n")
    coleaf("check-data", data_root, fails=True)
    printed = coleaf.printed
    assert "tr01.npy: not a whole .npy file" in printed
    assert "split 'train': 5 of 6 videos can be read" in printed
    assert f"missing: split 'val': {data_root / 'feats/vggish/va01.npy'}" in printed
    assert "split 'val': 2 of 3 videos can be read" in printed
    assert "1 videos are in both 'train' and 'test', such as 'tr00'" in printed


def nothing(folder: Path) -> None:
    """No features at all."""
    for path in folder.rglob("*.npy"):
        path.unlink()


def nan(folder: Path) -> None:
    np.save(folder / "feats/vggish/tr03.npy", np.full((4, 6), np.nan))


def truncated(folder: Path) -> None:
    path = folder / "feats/res152/tr03.npy"
    path.write_bytes(path.read_bytes()[:-5])


def wrong_width(folder: Path) -> None:
    np.save(folder / "feats/res152/tr03.npy", np.zeros((8, 9)))


def unreadable(folder: Path) -> None:
    (folder / "feats/res152/tr03.npy").unlink()
    (folder / "feats/res152/tr03.npy").mkdir()


def other_streams(folder: Path) -> None:
    for path in (folder / "feats/vggish").glob("te*.npy"):
        np.save(path, np.zeros((4, 7)))


@pytest.mark.parametrize(
    ("defect", "told"),
    [
        (nothing, "missing: split 'train'"),
        (nan, "broken:  split 'train'"),
        (truncated, "broken:  split 'train'"),
        (wrong_width, "broken:  split 'train'"),
        (unreadable, "broken:  split 'train'"),
        (other_streams, "broken:  split 'test' has other streams"),
    ],
)
def test_check_data_fails_where_training_would(coleaf: Command, data_root: Path, defect: Any, told: str) -> None:
    coleaf("check-data", data_root)
    defect(data_root)
    coleaf("check-data", data_root, fails=True)
    assert told in coleaf.printed
    assert "Error" not in coleaf.printed


def test_check_data_names_a_shard_that_is_gone_and_counts_what_it_does_not_list(
    coleaf: Command, data_root: Path, tmp_path: Path
) -> None:
    coleaf("pack", data_root, "--out", "store", "--dtype", "float32")
    (tmp_path / "store/shards/train-00000.safetensors").unlink()
    coleaf("check-data", "store", fails=True)
    assert "train-00000.safetensors: no such file" in coleaf.printed
    assert "split 'test': 3 of 3 videos can be read" in coleaf.printed
