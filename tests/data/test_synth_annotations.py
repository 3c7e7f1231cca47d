"""`coleaf synth` for each data set's annotations: what is written is read, checked, trained on and scored."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from coleaf_framework import StreamSpec
from coleaf_framework.data import open_folder
from coleaf_framework.data.ave_files import ROWS_FILE
from coleaf_framework.data.h5_files import h5_shape
from coleaf_framework.data.synthetic import Difficulty, Sensors
from coleaf_framework.data.writing import write_synthetic_features
from tests.helpers.command import Command
from tests.helpers.sets import (
    AVE_ROWS,
    write_ave_annotations,
    write_lfav_annotations,
    write_unav_annotations,
)

TINY = [
    x
    for setting in ("trainer.epochs=1", "trainer.batch_size=4", "trainer.device=cpu", "anchor.options.width=8")
    for x in ("--set", setting)
]
WRITERS = {"AVE": write_ave_annotations, "LFAV": write_lfav_annotations, "UnAV-100": write_unav_annotations}


@pytest.mark.parametrize("name", list(WRITERS))
def test_from_annotations_to_scores(coleaf: Command, name: str) -> None:
    WRITERS[name](Path("notes"))
    assert "synthetic features of {'train'" in coleaf("synth", "--annotations", "notes", "--out", name)
    assert "videos can be read" in coleaf("check-data", name)
    coleaf("train", "--data", name, "--anchor", "han", "--out", "run", *TINY)
    printed = coleaf("evaluate", "run")
    assert f"{name}, synthetic features test" in printed
    assert {
        "AVE": "segment accuracy",
        "LFAV": "snippet mAP AV",
        "UnAV-100": "video-label parser",
    }[name] in printed


def test_features_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    notes = write_lfav_annotations(tmp_path / "notes")
    digests = {}
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_synthetic_features(notes, tmp_path / out, seed=seed)
        content = [path.read_bytes() for path in sorted((tmp_path / out / "feats").rglob("*.npy"))]
        digests[out] = hashlib.sha256(b"".join(content)).hexdigest()
    assert digests["a"] == digests["b"] != digests["c"]


def test_lfavs_videos_last_until_their_last_event(tmp_path: Path) -> None:
    write_synthetic_features(write_lfav_annotations(tmp_path / "notes"), tmp_path / "out")
    val = open_folder(tmp_path / "out", "val")
    assert [val.segments(i) for i in range(2)] == [9, 3]  # the event that ends after 40,000 s is not counted
    assert {name: spec.width for name, spec in val.streams.items()} == {"audio": 128, "visual": 512, "visual_st": 512}


def test_aves_rows_are_numbered_anew_where_some_are_left_out(tmp_path: Path) -> None:
    notes = write_ave_annotations(tmp_path / "notes", background=3)
    counts = write_synthetic_features(notes, tmp_path / "out", limit=2)
    assert counts == {"train": 2, "val": 1, "test": 2, "background": 2}
    kept = [AVE_ROWS[row] for row in (0, 2, 5, 6, 7)]
    assert (tmp_path / "out" / ROWS_FILE).read_text().splitlines() == kept
    assert h5_shape(tmp_path / "out/visual_feature.h5", "avadataset") == (5, 10, 7, 7, 512)
    assert list(open_folder(tmp_path / "out", "test").ids) == ["fffffffffff_4", "-eeeeeeeeee_2"]
    train = open_folder(tmp_path / "out", "train")
    assert list(train.ids[2:]) == ["background_0", "background_1"]
    assert train.streams == {"audio": StreamSpec(128, "audio"), "visual": StreamSpec(512, "visual")}


def test_all_of_aves_rows_keep_their_numbers(tmp_path: Path) -> None:
    notes = write_ave_annotations(tmp_path / "notes")
    write_synthetic_features(notes, tmp_path / "out")
    assert (tmp_path / "out" / ROWS_FILE).read_bytes() == (notes / ROWS_FILE).read_bytes()
    assert list(open_folder(tmp_path / "out", "train").ids) == list(_ids([0, 2, 3, 4, 1]))


def _ids(rows: list[int]) -> list[str]:
    return [f"{AVE_ROWS[row].split('&')[1]}_{row}" for row in rows]


def test_unavs_features_have_the_published_shapes(tmp_path: Path) -> None:
    notes, out = write_unav_annotations(tmp_path / "notes"), tmp_path / "out"
    assert write_synthetic_features(notes, out) == {"train": 8, "val": 1, "test": 1}
    assert (out / "unav100_annotations.json").read_bytes() == (notes / "unav100_annotations.json").read_bytes()
    shapes = {kind: np.load(out / f"-train0_{kind}.npy").shape for kind in ("rgb", "flow")}
    assert shapes == {"rgb": (29, 1024), "flow": (29, 1024)}
    assert np.load(out / "test_rgb.npy").shape == (185, 1024)
    gaps = {
        len(np.load(path)) - len(np.load(path.with_name(path.name.replace("vggish", "rgb"))))
        for path in out.glob("*_vggish.npy")
    }
    assert gaps == {-1, 0, 1}  # readers must cut


def test_unavs_annotations_are_cut_to_the_limit(tmp_path: Path) -> None:
    write_synthetic_features(write_unav_annotations(tmp_path / "notes"), tmp_path / "out", limit=1)
    content = json.loads((tmp_path / "out/unav100_annotations.json").read_text())
    assert list(content["database"]) == ["-train0", "_val", "test"]
    assert (tmp_path / "out/classes.txt").read_text() == "dog\ncat\n"


@pytest.mark.parametrize("name", ["datasets/ave", "datasets/lfav", "datasets/unav100"])
def test_published_annotations_are_written_for(request: pytest.FixtureRequest, tmp_path: Path, name: str) -> None:
    root = request.getfixturevalue(f"published_{name.rpartition('/')[2].removesuffix('100')}")
    counts = write_synthetic_features(root, tmp_path / "out", limit=1)
    assert {split: counts[split] for split in ("train", "val", "test")} == {"train": 1, "val": 1, "test": 1}
    for split in ("train", "val", "test"):
        video = open_folder(tmp_path / "out", split)[0]
        assert all(torch.isfinite(x).all() for x in video.streams.values())


def test_classes_without_a_statistic_of_co_occurrence_have_independent_prototypes() -> None:
    streams = {"sound": StreamSpec(4, "audio"), "sight": StreamSpec(3, "visual", frames=2)}
    sensors = Sensors(Difficulty(), streams, 40)
    assert sensors.prototypes.shape == (2, 40, 64)
    np.testing.assert_allclose(np.linalg.norm(sensors.prototypes, axis=2), 1, atol=1e-5)
    features = sensors.observe(np.random.default_rng(0), np.ones((6, 2, 40), dtype=bool))
    assert {name: x.shape for name, x in features.items()} == {"sound": (6, 4), "sight": (12, 3)}


def test_annotations_of_no_or_of_two_data_sets_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no annotations of LLP, UnAV-100, AVE or LFAV"):
        write_synthetic_features(tmp_path / "empty", tmp_path / "out")
    two = write_ave_annotations(write_lfav_annotations(tmp_path / "two"))
    with pytest.raises(ValueError, match=r"several data sets \(Annotations\.txt, train_weakly\.csv\): keep one"):
        write_synthetic_features(two, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(FileExistsError, match="not an empty folder"):
        write_synthetic_features(two, two)
