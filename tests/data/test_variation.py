"""How streams vary: against plain loops, and for the data sets that claim figures of their own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from coleaf_framework.data import SyntheticLLP, open_folder
from coleaf_framework.data.variation import main, measure_variation
from coleaf_framework.storage import read_tensors

MINI = Path(__file__).resolve().parents[2] / "examples/tuxav_mini"
# Of TuxAV's training split: share of variance that is constant within a clip, lag-1 autocorrelation.
REAL = {"audio": (0.53, 0.20), "visual": (0.77, 0.36), "visual_st": (0.79, 0.40)}


def test_equals_plain_loops(data_root: Path) -> None:
    data = open_folder(data_root, "train")
    found = measure_variation(data)
    for name, spec in data.streams.items():
        videos = [data[i].streams[name].double().numpy().reshape(-1, spec.frames, spec.width).mean(1) for i in range(6)]
        shares, correlations = [], []
        for d in range(spec.width):
            columns = [video[:, d] for video in videos]
            total = np.var(np.concatenate(columns))
            shares.append(np.var([column.mean() for column in columns]) / total)
            above = below = 0.0
            for column in columns:
                gap = column - column.mean()
                above += sum(gap[t] * gap[t + 1] for t in range(len(gap) - 1))
                below += sum(x * x for x in gap)
            correlations.append(above / below)
        assert (found[name].constant, found[name].persistence) == pytest.approx(
            (np.mean(shares), np.mean(correlations))
        )


def test_synthetic_streams_vary_like_real_ones() -> None:
    for name, x in measure_variation(SyntheticLLP("train", 300)).items():
        assert (x.constant, x.persistence) == pytest.approx(REAL[name], abs=0.05), name


def test_the_mini_store_is_what_its_readme_says(capsys: pytest.CaptureFixture[str]) -> None:
    splits = {split: open_folder(MINI, split) for split in ("train", "val", "test")}
    assert {name: len(data) for name, data in splits.items()} == {"train": 1000, "val": 200, "test": 600}
    readme = (MINI / "README.md").read_text()
    rows = re.findall(r"^\| (\w+) \| .* \| (\d+) \| (\d+) \| .* \| ([\d.]+) \| ([\d.]+) \|$", readme, re.M)
    train = splits["train"]
    variation = measure_variation(train)
    assert [row[0] for row in rows] == list(train.streams)
    for name, vectors, width, constant, persistence in rows:
        spec = train.streams[name]
        assert (10 * spec.frames, spec.width) == (int(vectors), int(width))
        found = f"{variation[name].constant:.2f}", f"{variation[name].persistence:.2f}"
        assert found == (constant, persistence)
    main([str(MINI)])
    assert f"tuxav_mini, audio: {rows[0][3]} of the variance" in capsys.readouterr().out
    assert sum(path.stat().st_size for path in MINI.rglob("*")) < 12e6


def test_the_mini_store_is_centred_on_its_principal_components() -> None:
    """Over the training split: means of 0, no correlation between components, the largest first."""
    train = open_folder(MINI, "train")
    for name in train.streams:
        x = torch.cat([train[i].streams[name] for i in range(len(train))]).double()
        covariance = torch.cov(x.T)
        variances = covariance.diagonal()
        assert x.mean(0).abs().max() < 1e-3
        assert (variances[1:] <= variances[:-1] * (1 + 1e-3)).all()
        assert (covariance - variances.diag()).abs().max() < 1e-3 * variances[0]


def test_the_projection_that_travels_with_it_makes_the_store_from_tuxav(tuxav: Path) -> None:
    projection = read_tensors(MINI / "projection.safetensors")
    full, mini = open_folder(tuxav, "val"), open_folder(MINI, "val")
    assert full.ids == mini.ids
    for i in (0, 77):
        for name, (mean, *components) in projection.items():
            expected = (full[i].streams[name] - mean) @ torch.stack(components).T
            torch.testing.assert_close(mini[i].streams[name], expected, atol=5e-3, rtol=2e-3)


def test_damage_is_named(tmp_path: Path) -> None:
    import shutil

    shutil.copytree(MINI, tmp_path / "mini")
    shard = tmp_path / "mini/shards/val-00000.safetensors"
    content = bytearray(shard.read_bytes())
    content[-40] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=r"val-00000.safetensors: damaged shard: stream '\w+' of video 'tuxva\d+'"):
        measure_variation(open_folder(tmp_path / "mini", "val"))
    assert json.loads((MINI / "index.json").read_text())["dtype"] == "float16"
