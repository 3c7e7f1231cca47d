"""Packed stores: the same videos as the folder, interrupted packing, and every way in which a store can be wrong."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from coleaf_framework import StreamSpec, create_anchor
from coleaf_framework.cli.main import app
from coleaf_framework.data import AveragedFrames, AVVPFolder, open_folder, pack
from coleaf_framework.data import packing as packing_module
from coleaf_framework.data.check import check_folder
from tests.helpers.data import Bomb, last, write_features

ONE_VIDEO = 3e-4  # MB: shards of one or two videos


@pytest.fixture
def store(data_root: Path, tmp_path: Path) -> Path:
    last(data_root, "tr01", 6)
    pack(data_root, tmp_path / "store", dtype="float32", shard_megabytes=ONE_VIDEO)
    return tmp_path / "store"


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("jobs", [1, 4])
def test_a_store_reads_like_its_folder(data_root: Path, tmp_path: Path, split: str, jobs: int) -> None:
    last(data_root, "tr01", 6)
    assert pack(data_root, tmp_path / "s", dtype="float32", shard_megabytes=ONE_VIDEO, jobs=jobs) == {
        "train": 6, "val": 3, "test": 3
    }  # fmt: skip
    folder, store = AVVPFolder(data_root, split), open_folder(tmp_path / "s", split)
    assert (store.ids, store.classes, store.streams) == (folder.ids, folder.classes, folder.streams)
    for i in range(len(folder)):
        a, b = folder[i], store[i]
        assert all(torch.equal(a.streams[name], b.streams[name]) for name in folder.streams)
        assert torch.equal(a.labels, b.labels)
        assert (a.segment_labels is None and b.segment_labels is None) or torch.equal(
            a.segment_labels,
            b.segment_labels,  # type: ignore[arg-type]
        )
        assert folder.segments(i) == store.segments(i) == len(a.streams["audio"])
    for name, expected in folder.statistics().items():
        torch.testing.assert_close(store.statistics()[name], expected)


@pytest.mark.parametrize(("dtype", "step"), [("float16", 2**-10), ("bfloat16", 2**-7)])
def test_halves_are_within_their_rounding(data_root: Path, tmp_path: Path, dtype: str, step: float) -> None:
    pack(data_root, tmp_path / "s", dtype=dtype)
    a, b = AVVPFolder(data_root, "val")[0].streams["audio"], open_folder(tmp_path / "s", "val")[0].streams["audio"]
    assert ((a - b).abs() <= step * a.abs()).all()
    assert b.dtype == torch.float32


def test_averaged_frames_are_recorded_and_refused_by_networks_that_must_see_them(
    data_root: Path, tmp_path: Path
) -> None:
    pack(data_root, tmp_path / "s", average_frames=True, dtype="float32")
    store, folder = open_folder(tmp_path / "s", "val"), AVVPFolder(data_root, "val")
    assert store.streams["visual"] == StreamSpec(8, "visual", frames=1, averaged=2)
    averaged = AveragedFrames(folder)
    assert averaged.streams == store.streams
    torch.testing.assert_close(store[1].streams["visual"], folder[1].streams["visual"].unflatten(0, (-1, 2)).mean(1))
    torch.testing.assert_close(averaged[1].streams["visual"], store[1].streams["visual"])
    with pytest.raises(ValueError, match=r"CMPAE must see single frames.*'visual' holds means of 2: .* without averag"):
        create_anchor("cmpae", streams=store.streams, num_classes=3)


def test_averaging_first_gives_han_and_the_reference_the_same_answer(data_root: Path) -> None:
    from coleaf_framework import create_reference

    folder = AVVPFolder(data_root, "val")
    averaged = AveragedFrames(folder)
    for create in (create_anchor, create_reference):
        name = "han" if create is create_anchor else "class_token"
        nets = []
        for data in (folder, averaged):
            torch.manual_seed(0)
            nets.append(create(name, streams=data.streams, num_classes=3, width=8).eval())
        a, b = (
            net(**{k: x[None] for k, x in d[0].streams.items()})
            for net, d in zip(nets, (folder, averaged), strict=True)
        )
        torch.testing.assert_close(a.tokens, b.tokens)
        torch.testing.assert_close(a.segment_probs, b.segment_probs)


def test_packing_goes_on_where_it_stopped(data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, original, written = tmp_path / "s", packing_module._pack_part, []

    def stops_at(limit: int) -> Any:
        def pack_part(part: Any, *args: Any) -> Any:
            if len(written) == limit:
                raise KeyboardInterrupt
            written.append(part.name)
            return original(part, *args)

        return pack_part

    options = {"dtype": "float32", "shard_megabytes": ONE_VIDEO, "jobs": 1}
    monkeypatch.setattr(packing_module, "_pack_part", stops_at(2))
    with pytest.raises(KeyboardInterrupt):
        pack(data_root, out, **options)
    with pytest.raises(FileNotFoundError):
        open_folder(out, "train")  # not a store yet
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert len(times) == 2
    first, second = sorted(times)
    second.write_bytes(b"damaged")  # an interrupted machine may leave anything
    monkeypatch.setattr(packing_module, "_pack_part", original)
    pack(data_root, out, **options)
    assert first.stat().st_mtime_ns == times[first]
    assert [line for kind, line in check_folder(out) if kind != "there"] == []
    assert not list(out.rglob("packing.json")) + list((out / "shards").glob("*.json"))


def test_shards_of_files_that_changed_since_are_packed_again(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    out, options = tmp_path / "s", {"dtype": "float32", "shard_megabytes": ONE_VIDEO, "jobs": 1}
    with monkeypatch.context() as patch:
        patch.setattr(packing_module, "write_tensors", interrupted)  # the last thing that is written
        with pytest.raises(KeyboardInterrupt):
            pack(data_root, out, **options)
    write_features(data_root, "tr01", seed=1)
    kept = (out / "shards/train-00000.safetensors").stat().st_mtime_ns
    pack(data_root, out, **options)
    for name, x in open_folder(data_root, "train")[1].streams.items():
        torch.testing.assert_close(open_folder(out, "train")[1].streams[name], x, rtol=0, atol=0)
    assert (out / "shards/train-00000.safetensors").stat().st_mtime_ns == kept


def test_files_that_change_while_they_are_packed_are_noticed(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = packing_module._pack_part

    def and_then_changed(part: Any, *args: Any) -> Any:
        entry = original(part, *args)
        write_features(data_root, "tr01", seed=1)
        return entry

    monkeypatch.setattr(packing_module, "_pack_part", and_then_changed)
    with pytest.raises(ValueError, match="files of 'train' changed while they were packed"):
        pack(data_root, tmp_path / "s")
    assert not (tmp_path / "s/index.json").exists()


def test_other_arguments_or_a_full_folder_are_refused(data_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    np.save(data_root / "feats/vggish/te02.npy", np.full((4, 6), np.nan))
    with pytest.raises(ValueError, match=r"te02\.npy: video 'te02', stream 'audio' holds NaN"):
        pack(data_root, out)
    with pytest.raises(FileExistsError, match="begun with other arguments"):
        pack(data_root, out, dtype="float32")
    write_features(data_root, "te02")
    pack(data_root, out)
    with pytest.raises(FileExistsError, match="not an empty folder"):
        pack(data_root, out)


def test_values_too_large_for_half_precision_are_refused(data_root: Path, tmp_path: Path) -> None:
    np.save(data_root / "feats/vggish/tr02.npy", np.full((4, 6), 1e5))
    with pytest.raises(ValueError, match="video 'tr02', stream 'audio': 100000 is too large for float16: use bfloat16"):
        pack(data_root, tmp_path / "s")


def shard_of(store: Path, video: str) -> tuple[Path, dict[str, Any]]:
    for entry in json.loads((store / "index.json").read_text())["shards"]:
        if video in entry["videos"]:
            return store / "shards" / entry["file"], entry
    raise AssertionError(video)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_never_reaches_training(data_root: Path, tmp_path: Path, dtype: str, data: Any) -> None:
    """Wherever it is: the damaged shard is named, with its videos, or what is read is what was packed."""
    store = tmp_path / dtype
    if not store.exists():
        pack(data_root, store, dtype=dtype, shard_megabytes=ONE_VIDEO)
    expected = AVVPFolder(store, "train")[2].streams
    path, entry = shard_of(store, "tr02")
    whole = path.read_bytes()
    at = data.draw(st.integers(0, 8 * len(whole) - 1))
    damaged = bytearray(whole)
    damaged[at // 8] ^= 1 << at % 8
    path.write_bytes(damaged)
    try:
        streams = AVVPFolder(store, "train")[2].streams
    except ValueError as problem:
        told = str(problem)
        assert all(name in told for name in [path.name, *entry["videos"]])
    else:
        assert all(torch.equal(streams[name], expected[name]) for name in expected)
    finally:
        path.write_bytes(whole)


def test_what_was_read_is_no_part_of_the_file(store: Path) -> None:
    """Changing it harms no later reading, and truncating the file harms neither it nor the process."""
    data = AVVPFolder(store, "train")
    first = data[2].streams["audio"]
    kept = first.clone()
    first.zero_()
    assert torch.equal(data[2].streams["audio"], kept)
    path, _ = shard_of(store, "tr02")
    os.truncate(path, 100)
    with pytest.raises(ValueError, match="damaged shard"):
        data[2]


def test_what_was_written_wrong_is_noticed_when_packing(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def writes_wrong(path: Path, write: Any) -> None:
        original(path, write)
        if path.suffix == ".safetensors":
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    original = packing_module.write_atomically  # type: ignore[attr-defined]
    monkeypatch.setattr(packing_module, "write_atomically", writes_wrong)
    with pytest.raises(ValueError, match=r"00000\.safetensors: damaged shard"):
        pack(data_root, tmp_path / "s")


@pytest.mark.parametrize("name", ["AVVP_train.csv", "AVVP_eval_audio.csv", "classes.txt"])
def test_damaged_annotations_of_a_store_are_named(store: Path, name: str) -> None:
    """Also where what is left can be read."""
    path = store / name
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ValueError, match=rf"{name}: damaged, or not what was packed|unknown class"):
        AVVPFolder(store, "train")


def test_a_store_s_statistics_are_read_and_not_taken_again(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr("coleaf_framework.data.video_folder.stream_statistics", never)
    assert set(AVVPFolder(store, "val").statistics()) == {"audio", "visual", "visual_st"}


def test_a_folder_without_annotations_is_not_packed(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty: no AVVP_train\.csv, .* in it"):
        pack(tmp_path / "empty", tmp_path / "s")


@pytest.mark.parametrize("keep", [0, 7, 8, 200, -1])
def test_a_truncated_shard_is_named_with_its_videos(store: Path, keep: int) -> None:
    path, entry = shard_of(store, "va01")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=rf"{path.name}: damaged shard: .*holds {len(entry['videos'])} videos: va0"):
        AVVPFolder(store, "val")[1]


def test_a_pickle_in_place_of_a_shard_or_index_is_never_executed(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, _ = shard_of(store, "va01")
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="damaged shard"):
        AVVPFolder(store, "val")[1]
    (store / "index.json").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"index\.json: damaged"):
        AVVPFolder(store, "val")
    assert not Path("exploded").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe")
def test_a_pipe_in_place_of_a_shard_is_named_and_not_waited_for(store: Path) -> None:
    path, _ = shard_of(store, "tr02")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match=rf"{path.name}: not a regular file$"):
        AVVPFolder(store, "train")[2]


def test_a_missing_shard_is_named_before_anything_is_read(store: Path) -> None:
    path, _ = shard_of(store, "va01")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{path.name}: no such file, which holds video 'va0"):
        AVVPFolder(store, "val")


def test_a_changed_index_is_refused(store: Path) -> None:
    path = store / "index.json"
    path.write_text(path.read_text().replace('"float32"', '"float16"'))
    with pytest.raises(ValueError, match=r"index\.json: damaged: its checksum"):
        AVVPFolder(store, "val")


def test_features_twice_are_refused(store: Path) -> None:
    (store / "feats").mkdir()
    with pytest.raises(ValueError, match=r"index\.json and .*feats both exist"):
        AVVPFolder(store, "val")


@pytest.mark.slow
def test_a_disk_that_fills_leaves_no_half_shard(data_root: Path, tmp_path: Path) -> None:
    """A file-size limit stands in for the full disk."""
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600));"
        "from coleaf_framework.cli.main import main;"
        f"sys.argv = ['coleaf', 'pack', {str(data_root)!r}, '--out', {str(tmp_path / 's')!r}, '--dtype', 'float32'];"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert list((tmp_path / "s/shards").iterdir()) == []
    pack(data_root, tmp_path / "s", dtype="float32")  # goes on once there is room


def test_the_command_packs_and_says_what(data_root: Path, tmp_path: Path) -> None:
    shutil.copytree(data_root, tmp_path / "copy")
    result = CliRunner().invoke(app, ["pack", str(tmp_path / "copy"), "--out", str(tmp_path / "s"), "--average-frames"])
    assert result.exit_code == 0, result.output
    assert "{'train': 6, 'val': 3, 'test': 3}" in result.output
    assert "float16, frames averaged" in result.output


@pytest.mark.parametrize(
    ("mean", "deviation", "dtype", "advice"),
    [
        (1000, 0.1, "float16", "use float32"),
        (1000, 0.1, "bfloat16", "use float32"),
        (0, 1e-9, "float16", "use bfloat16"),
        (0, 1, "float16", None),
        (5, 1, "bfloat16", None),
    ],
)
def test_a_dtype_that_would_lose_a_stream_is_refused_before_anything_is_written(
    data_root: Path, tmp_path: Path, mean: float, deviation: float, dtype: str, advice: str | None
) -> None:
    rng = np.random.default_rng(0)
    for path in (data_root / "feats/vggish").glob("*.npy"):
        np.save(path, mean + deviation * rng.standard_normal(np.load(path).shape))
    if advice is None:
        pack(data_root, tmp_path / "s", dtype=dtype)
        return
    with pytest.raises(ValueError, match=f"stream 'audio': rounding to {dtype} loses .*{advice}"):
        pack(data_root, tmp_path / "s", dtype=dtype)
    assert not (tmp_path / "s").exists()
