"""A small run of TuxAV mini's streams, untrained, that parses media files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from coleaf_framework import wrap
from coleaf_framework.data import open_folder
from coleaf_framework.data.recipe_file import PROJECTION_FILE, recipe_of
from coleaf_framework.metrics import DecisionConfig
from coleaf_framework.model.coleaf import require_record

ROOT = Path(__file__).resolve().parents[2]
MINI, CLIPS = ROOT / "examples/tuxav_mini", sorted((ROOT / "examples/clips").glob("*.mp4"))
# Thresholds near which an untrained network's probabilities lie, so that some events are found and others are not.
DECISION = DecisionConfig(segment_threshold=0.5, gate_threshold=0.5)


def write_run(folder: Path, *, knows_recipe: bool = True, **changes: Any) -> Path:
    """Write a run with random weights; `changes` are of its record."""
    data = open_folder(MINI, "test")
    torch.manual_seed(0)
    model = wrap("han", streams=data.streams, num_classes=len(data.classes), anchor_options={"width": 16})
    extracted = recipe_of(data)
    assert extracted is not None
    recipe, projection = extracted
    record = require_record(model).with_classes(data.classes)
    if knows_recipe:
        record = record.changed(features=recipe)
    model.record = record.changed(decision=DECISION, **changes)
    model.save(folder)
    if knows_recipe and projection is not None:
        shutil.copyfile(projection, folder / PROJECTION_FILE)
    return folder
