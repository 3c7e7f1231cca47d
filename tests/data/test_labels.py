"""Pseudo-labels of every published kind, against what their samples must give; and the data set that carries them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from coleaf_framework.collaboration import read_noise_ratios
from coleaf_framework.data import LLP, LLP_CLASSES, AveragedFrames, AVVPFolder, SyntheticLLP, UnAV100, Video, collate
from coleaf_framework.data.annotation_files import read_weak
from coleaf_framework.data.dataset import further_scores_of
from coleaf_framework.data.labels import (
    LabelsConfig,
    WithPseudoLabels,
    check_labels,
    convert_labels,
    parse_labels,
    read_labels_file,
    read_removals,
)
from coleaf_framework.metrics import ParsedSplit
from coleaf_framework.protocol import MODALITIES
from coleaf_framework.training.batch_loader import BatchLoader
from coleaf_framework.training.plan import MicroBatch
from tests.helpers.data import last, write_features
from tests.helpers.labels import label, write_labels
from tests.helpers.unav import write_unav


def of(kind: str, path: Path, **more: Any) -> LabelsConfig:
    return LabelsConfig(sources=({"kind": kind, "path": str(path), **more},))


def labels_of(data: WithPseudoLabels, modality: str) -> dict[str, Tensor]:
    return {v: data.pseudo_labels(i).labels[:, MODALITIES.index(modality)] for i, v in enumerate(data.ids)}


@pytest.fixture
def expected(pseudo_label_files: Path) -> Any:
    return json.loads((pseudo_label_files / "samples" / "expected.json").read_text())


@pytest.fixture
def sampled(pseudo_label_files: Path, expected: Any, tmp_path: Path) -> LLP:
    """The five videos of the samples, with features of no meaning."""
    root = tmp_path / "five"
    for video in expected["ids"]:
        write_features(root, video, segments=10)
    (root / "AVVP_train.csv").write_text((pseudo_label_files / "samples" / "AVVP_train.csv").read_text())
    return LLP(root, "train")


def require_equal(found: dict[str, Tensor], expected: Any) -> None:
    for video, values in expected.items():
        torch.testing.assert_close(found[video], torch.tensor(values).float(), atol=1e-6, rtol=0)


def test_valors_folders_are_read_audio_and_visual(sampled: LLP, expected: Any, pseudo_label_files: Path) -> None:
    data = WithPseudoLabels(sampled, of("valor", pseudo_label_files / "samples" / "VALOR"))
    require_equal(labels_of(data, "audio"), expected["valor_audio"])
    require_equal(labels_of(data, "visual"), expected["valor_visual"])
    assert data[0].pseudo_label_mask is None  # they say something everywhere, if only that a class is absent


def test_lslds_file_is_converted_to_arrays(
    sampled: LLP, expected: Any, pseudo_label_files: Path, tmp_path: Path
) -> None:
    convert_labels(pseudo_label_files / "samples" / "LSLD" / "refine_label" / "final_label.npz", tmp_path / "lsld")
    labels, _ = parse_labels([f"lsld={tmp_path / 'lsld'}"])
    data = WithPseudoLabels(sampled, labels)
    require_equal(labels_of(data, "audio"), expected["lsld_audio"])
    require_equal(labels_of(data, "visual"), expected["lsld_final_visual"])


def test_lslds_visual_labels_outside_the_weak_label_are_kept_unless_intersected(
    sampled: LLP, expected: Any, pseudo_label_files: Path, tmp_path: Path
) -> None:
    convert_labels(pseudo_label_files / "samples" / "LSLD" / "refine_label" / "final_label.npz", tmp_path / "lsld")
    kept = check_labels(WithPseudoLabels(sampled, of("lsld", tmp_path / "lsld")))
    assert not int(kept.outside.sum())  # those outside are 0.09: not positive, and yet kept
    weak = torch.tensor(expected["weak"])
    plain, confined = (
        torch.stack(
            [*labels_of(WithPseudoLabels(sampled, of("lsld", tmp_path / "lsld", intersect=c)), "visual").values()]
        )
        for c in (False, True)
    )
    assert (plain * (1 - weak[:, None])).any()
    assert torch.equal(confined, plain * weak[:, None])


def test_mas_removals_give_its_targets(sampled: LLP, expected: Any, pseudo_label_files: Path, tmp_path: Path) -> None:
    convert_labels(pseudo_label_files / "samples" / "MA" / "need_to_change.pkl", tmp_path / "ma")
    data = WithPseudoLabels(sampled, of("ma", tmp_path / "ma" / "removals.json"))
    labels = torch.stack([given for i in range(5) if (given := data[i].modality_labels) is not None])
    weak = torch.tensor(expected["weak"])
    assert torch.equal(labels[:, 0], torch.tensor(expected["ma_audio_targets"]).float())
    removed = (labels[:, 1] == 0) & (weak == 1)
    torch.testing.assert_close(
        torch.where(removed, 0.0, 0.9 * labels[:, 1] + 0.05), torch.tensor(expected["ma_visual_targets"]).float()
    )
    assert data[0].pseudo_labels is None
    assert torch.equal(data.pseudo_labels(3).labels, labels[3].expand(10, -1, -1))


def test_jomolds_ratios_are_those_of_the_package(pseudo_label_files: Path) -> None:
    published = Path(__file__).parents[2] / "backbones" / "coleaf_backbones" / "llp_noise_ratios.json"
    found = read_noise_ratios(pseudo_label_files / "real" / "jomold_noise_ratios.npz")
    for modality, values in json.loads(published.read_text()).items():
        np.testing.assert_allclose(getattr(found, modality), values, atol=1e-6)


@pytest.mark.parametrize(
    ("file", "audio", "visual", "both"), [("dhhn", 1528, 3591, 792), ("cm_co_occurrence", 1583, 3509, 811)]
)
def test_published_removals_fit_llps_training_file(
    pseudo_label_files: Path, published_llp: Path, file: str, audio: int, visual: int, both: int
) -> None:
    weak, _ = read_weak(published_llp / "AVVP_train.csv", {name: i for i, name in enumerate(LLP_CLASSES)})
    path = pseudo_label_files / "real" / f"ma_need_to_change.{file}.json"
    found = read_removals(path, LLP_CLASSES, tuple(weak), weak)
    assert [len(pairs) for pairs in found.pairs] == [audio, visual]
    assert len(found.pairs[0] & found.pairs[1]) == both


def test_arrays_of_the_users_own_reach_the_batch(data_root: Path, tmp_path: Path) -> None:
    root = write_labels(tmp_path / "own")
    data = WithPseudoLabels(AveragedFrames(AVVPFolder(data_root, "train")), of("npy", root))
    batch = collate([data[0], data[4]], data.streams)
    assert batch.pseudo_labels is not None
    for i, video in enumerate(("tr00", "tr04")):
        for m, modality in enumerate(MODALITIES):
            assert torch.equal(batch.pseudo_labels[i, :, m], torch.from_numpy(label(root, modality, video)))
    assert data.positive_shares is not None
    each = [np.mean([label(root, m, v) for v in data.ids], axis=(0, 1)) for m in MODALITIES]
    torch.testing.assert_close(data.positive_shares, torch.tensor(np.stack(each)))


def test_a_modality_without_files_says_nothing(data_root: Path, tmp_path: Path) -> None:
    root = write_labels(tmp_path / "own", modalities=("visual",))
    data = WithPseudoLabels(AVVPFolder(data_root, "train"), of("npy", root))
    mask = data[0].pseudo_label_mask
    assert mask is not None
    assert (bool(mask[:, 0].any()), bool(mask[:, 1].all())) == (False, True)


def test_of_several_sources_the_first_wins_where_it_says_something(data_root: Path, tmp_path: Path) -> None:
    first = write_labels(tmp_path / "first", modalities=("visual",))
    second = write_labels(tmp_path / "second")
    labels = LabelsConfig(sources=(*of("npy", first).sources, *of("npy", second).sources))
    found = WithPseudoLabels(AVVPFolder(data_root, "train"), labels).pseudo_labels(0)
    assert torch.equal(found.labels[:, 1], torch.from_numpy(label(first, "visual", "tr00")))
    assert torch.equal(found.labels[:, 0], torch.from_numpy(label(second, "audio", "tr00")))
    assert found.mask.all()


def test_videos_may_lack_labels_where_the_source_says_so(data_root: Path, tmp_path: Path) -> None:
    root = write_labels(tmp_path / "own", videos=4)
    data = WithPseudoLabels(AVVPFolder(data_root, "train"), of("npy", root, partial=True))
    assert [bool(data.pseudo_labels(i).mask.any()) for i in range(6)] == [True] * 4 + [False] * 2


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_a_cache_keeps_labels_and_what_they_say_nothing_of(data_root: Path, tmp_path: Path, cache: Any) -> None:
    last(data_root, "tr01", 6)
    root = write_labels(tmp_path / "own", videos=4)
    for modality in MODALITIES:
        np.save(root / modality / "tr01.npy", np.full((6, 3), 0.25))
    data = WithPseudoLabels(AVVPFolder(data_root, "train"), of("npy", root, partial=True))
    (batch,) = BatchLoader(data, torch.device("cpu"), cache=cache)([MicroBatch((0, 1, 5))])
    expected = collate([data[i] for i in (0, 1, 5)], data.streams)
    assert batch.mask is not None
    for name in ("pseudo_labels", "pseudo_label_mask", "mask"):
        assert torch.equal(getattr(batch, name), getattr(expected, name))
    assert (batch.pseudo_labels[1] == 0.25).all() if batch.pseudo_labels is not None else False


class Some(AVVPFolder):
    """Labels of some videos alone, or a mask of some, as a data set of the user's own may have them."""

    fields: Mapping[int, Mapping[str, Tensor]]

    def __getitem__(self, index: int) -> Video:
        return replace(super().__getitem__(index), **self.fields.get(index, {}))


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_a_video_without_a_mask_says_something_everywhere_though_another_has_one(data_root: Path, cache: Any) -> None:
    data = Some(data_root, "train")
    labels, silent = torch.full((4, 2, 3), 0.75), torch.zeros(4, 2, 3, dtype=torch.bool)
    masks = {2: {"pseudo_label_mask": silent}, 4: {"pseudo_label_mask": silent}}
    data.fields = {i: {"pseudo_labels": labels, **masks.get(i, {})} for i in range(6)}
    (batch,) = BatchLoader(data, torch.device("cpu"), cache=cache)([MicroBatch((0, 2, 3, 4))])
    assert batch.pseudo_label_mask is not None
    assert batch.pseudo_label_mask.all((1, 2, 3)).tolist() == [True, False, True, False]


@pytest.mark.parametrize("cache", ["none", "memory"])
@pytest.mark.parametrize("field", ["pseudo_labels", "modality_labels"])
def test_labels_of_some_videos_alone_are_refused(data_root: Path, cache: Any, field: str) -> None:
    data = Some(data_root, "train")
    data.fields = {3: {field: torch.ones(4, 2, 3) if field == "pseudo_labels" else torch.ones(2, 3)}}
    with pytest.raises(ValueError, match=f"{field}.* all videos of a split must have them or none"):
        list(BatchLoader(data, torch.device("cpu"), cache=cache)([MicroBatch((0, 3))]))


def test_pseudo_labels_keep_what_a_data_set_says_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = UnAV100(write_unav(tmp_path / "unav"), "val")
    for modality in MODALITIES:
        (tmp_path / modality).mkdir()
        for i, video in enumerate(data.ids):
            np.save(tmp_path / modality / f"{video}.npy", np.full((data.segments(i), 3), 0.5))
    found = AveragedFrames(WithPseudoLabels(data, of("npy", tmp_path)))
    assert (found.truth, found.segment_seconds, found.caveats) == ("joint", 0.32, data.caveats)
    monkeypatch.setattr(data, "further_scores", lambda parsed: {parsed: 1.0})
    assert further_scores_of(found, cast("ParsedSplit", "mAP")) == {"mAP": 1.0}


def test_the_digest_follows_the_content(data_root: Path, tmp_path: Path) -> None:
    root, train = write_labels(tmp_path / "own"), AVVPFolder(data_root, "train")
    before = WithPseudoLabels(train, of("npy", root)).digests()
    assert before == WithPseudoLabels(train, of("npy", root)).digests()
    np.save(root / "audio" / "tr05.npy", 1 - label(root, "audio", "tr05"))
    after = WithPseudoLabels(train, of("npy", root)).digests()
    assert {part for part in before if before[part] != after[part]} == {"pseudo-labels"}


def test_removals_may_name_videos(data_root: Path, tmp_path: Path) -> None:
    train = AVVPFolder(data_root, "train")
    path = tmp_path / "removals.json"
    named = {"audio": {"Dog": ["tr00"]}, "visual": {"Dog": ["tr03"], "Car": ["tr01"]}}
    for content in ({"kind": "removals", **named}, {"kind": "removals", "ids": named},
                    {"audio": [[0], [], []], "visual": [[3], [1], []]}):  # fmt: skip
        path.write_text(json.dumps(content))
        found = WithPseudoLabels(train, of("ma", path))
        labels = [found[i].modality_labels for i in range(6)]
        assert [None if x is None else x.tolist() for x in labels[:2]] == [
            [[0, 0, 0], [1, 0, 0]],
            [[0, 1, 0], [0, 0, 0]],
        ]


def test_a_data_set_without_annotations_is_read_for_its_weak_labels(tmp_path: Path) -> None:
    data = SyntheticLLP("train", 3)
    for modality in MODALITIES:
        (tmp_path / modality).mkdir()
        for i, video in enumerate(data.ids):
            np.save(tmp_path / modality / f"{video}.npy", data[i].labels.expand(10, -1).numpy())
    found = WithPseudoLabels(data, of("npy", tmp_path, intersect=True))
    assert all(torch.equal(found.pseudo_labels(i).labels[0, 0], data[i].labels) for i in range(3))


def test_agreement_is_counted_segment_by_segment(data_root: Path, tmp_path: Path) -> None:
    """Ground truth of val: class i of video i in segments 1 and 2, heard in all videos, seen in the first and third."""
    for modality in MODALITIES:
        (tmp_path / modality).mkdir()
        for i in range(3):
            labels = np.zeros((4, 3))
            labels[0:2, i] = 1  # half right
            labels[3, 0] = 1
            np.save(tmp_path / modality / f"va0{i}.npy", labels)
    found = check_labels(WithPseudoLabels(AVVPFolder(data_root, "val"), of("npy", tmp_path)))
    rows = {(row["modality"], row["class"]): row for row in found.rows()}
    dog = rows["audio", "Dog"]
    assert (dog["positive"], dog["true"], dog["correct"], dog["outside"]) == (5, 2, 1, 2)
    assert (dog["precision"], dog["recall"]) == (20, 50)
    assert dog["f"] == pytest.approx(2 * 20 * 50 / 70)
    car = rows["visual", "Car"]
    assert (car["true"], car["precision"], car["recall"]) == (0, 0, None)
    assert (rows["audio", "all"]["weak_videos"], rows["audio", "all"]["confirmed_videos"]) == (3, 3)
    assert "2 of 9 positive segments (22.2 %) are outside the weak label" in found.sentences()[0]


def test_a_labels_file_names_one_source_or_several(tmp_path: Path) -> None:
    path = tmp_path / "labels.yaml"
    path.write_text("kind: npy\nintersect: true\nabout: {teacher: anything}\naudio: {thresholds: 1}\n")
    (one,) = read_labels_file(path).sources
    assert (one.kind, one.intersect, one.path) == ("npy", True, tmp_path.resolve().as_posix())
    assert parse_labels([f"npy={tmp_path}"])[0].sources == (one,)
    path.write_text("sources:\n- {kind: ma, path: removals.json}\n- {kind: npy, path: soft}\n")
    assert [Path(source.path).name for source in read_labels_file(path).sources] == ["removals.json", "soft"]


def test_scores_of_the_data_sets_own_survive_the_wrapping(data_root: Path, tmp_path: Path) -> None:
    class Scored(AVVPFolder):
        def further_scores(self, parsed: Any) -> dict[str, float]:
            return {"own": 1.0}

    data = WithPseudoLabels(Scored(data_root, "train"), of("npy", write_labels(tmp_path / "own")))
    parsed: Any = None  # the data set of this test does not read it
    assert further_scores_of(data, parsed) == {"own": 1.0}
