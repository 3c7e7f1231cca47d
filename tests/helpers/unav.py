"""UnAV-100's annotations and recorded answers, where they lie beside the repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coleaf_framework.metrics.localization import TimedEvents
from tests.helpers.slow_localization import Rows

UNAV = Path(__file__).resolve().parents[3] / "shared" / "datasets" / "unav100"
ANNOTATIONS = UNAV / "unav100_annotations.json"
needs_unav = pytest.mark.skipif(not UNAV.is_dir(), reason="needs UnAV-100's annotations in ../shared/datasets/unav100")


def recorded(name: str) -> Any:
    return json.loads((UNAV / "recorded" / name).read_text())


def database(name: str) -> dict[str, Any]:
    """The videos of a JSON file, in the folder of the data set or among the recorded answers."""
    path = ANNOTATIONS if name == ANNOTATIONS.name else UNAV / "recorded" / name
    return json.loads(path.read_text())["database"]


def true_rows(name: str, subset: str) -> list[tuple[str, int, float, float]]:
    """Video, class, start and end of every event of a subset, in the file's order."""
    return [
        (video, event["label_id"], *event["segment"])
        for video, entry in database(name).items()
        if entry["subset"] == subset
        for event in entry["annotations"]
    ]


def events(rows: Rows) -> TimedEvents:
    return TimedEvents(*zip(*rows, strict=True)) if rows else TimedEvents([], [], [], [], [])


def predicted_rows(arrays: Any, prefix: str) -> list[tuple[str, int, float, float, float]]:
    """Video, class, start, end and score of each recorded prediction under a prefix."""
    videos = arrays[f"{prefix}/video_ids"][arrays[f"{prefix}/video"]].tolist()
    columns = (arrays[f"{prefix}/{name}"].tolist() for name in ("label", "start", "end", "score"))
    return list(zip(videos, *columns, strict=True))


def case_rows(arrays: Any, case: str) -> list[tuple[str, int, float, float, float]]:
    """The predictions of a recorded case, built from those of "base" as its note says."""
    base = predicted_rows(arrays, "base")
    absent = set(recorded("scores.json")["absent_classes_in_val200"])
    if case == "no_predictions_at_all":
        return []
    if case == "val200_known_classes":
        return [row for row in base if row[1] not in absent]
    if case == "no_predictions_for_classes_3_50_99":
        return [row for row in base if row[1] not in (3, 50, 99)]
    if case == "every_detection_twice":
        return base + [(*row[:4], row[4] * 0.999) for row in base]
    if case == "every_detection_twice_equal_scores":
        return base + base
    if case == "single_prediction":
        return [max(base, key=lambda row: row[4])]
    if case == "base_rounded_to_float32":
        return [(*row[:2], *(float(np.float32(x)) for x in row[2:])) for row in base]
    extra = {"zero_length_predictions": "zero_length_extra", "predictions_for_foreign_videos": "foreign_extra"}
    return base + (predicted_rows(arrays, extra[case]) if case in extra else [])


CLASSES = ("dog barking", "car passing by", "people clapping")
WIDTHS = {"vggish": 6, "rgb": 5, "flow": 4}


def small_database() -> dict[str, dict[str, Any]]:
    """Three training, two validation and two test videos of 4 to 7 s, with the three classes."""

    def video(subset: str, duration: float, *found: tuple[int, float, float]) -> dict[str, Any]:
        listed = [{"segment": [start, end], "label": CLASSES[c], "label_id": c} for c, start, end in found]
        return {"duration": duration, "subset": subset, "annotations": listed}

    return {
        "-train_vid0": video("train", 4, (0, 0, 2.5)),
        "_train_vid1": video("Train", 5.5, (1, 1.0, 2.0), (2, 0.5, 5.5)),
        "train_vid2.": video("train", 7, (2, 3, 7)),
        "valid_vid00": video("validation", 4, (0, 1.0, 2.0), (1, 1.15, 1.2)),
        "valid_vid01": video("VALIDATION", 6, (2, 0, 6)),
        "test_vid000": video("test", 4, (1, 2, 4)),
        "test_vid001": video("test", 5, (0, 0, 1), (0, 3, 5)),
    }


def write_unav(
    root: Path, videos: dict[str, Any] | None = None, folder: str = "", cut: dict[str, int] | None = None
) -> Path:
    """A folder with the annotations and features of `small_database`; `cut` takes rows off each file of a kind."""
    videos = small_database() if videos is None else videos
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / ANNOTATIONS.name).write_text(json.dumps({"version": "unav100", "database": videos}))
    for i, (video, entry) in enumerate(videos.items()):
        rows = int((25 * entry["duration"] - 25) // 8) + 1
        for kind, width in WIDTHS.items():
            x = np.random.default_rng([i, width]).standard_normal((rows - (cut or {}).get(kind, 0), width))
            np.save(root / folder / f"{video}_{kind}.npy", x.astype(np.float32))
    return root
