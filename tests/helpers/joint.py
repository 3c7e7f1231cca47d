"""A tiny data set in memory, of short segments, all of whose events are audible and visible."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from coleaf_framework.data import Video, stream_statistics
from coleaf_framework.data.dataset import Truth
from coleaf_framework.metrics import ParsedSplit
from coleaf_framework.protocol import StreamSpec
from coleaf_framework.training import experiment

SECONDS = 0.32


class TinyJoint:
    """Videos of 4 to 6 segments with three classes; the class of each video is in its second to fourth segment."""

    name = "tiny-joint"
    classes = ("Dog", "Car", "Speech")
    streams: Mapping[str, StreamSpec] = {
        "audio": StreamSpec(6, "audio"),
        "visual": StreamSpec(8, "visual", frames=2),
        "visual_st": StreamSpec(4, "visual"),
    }
    has_ground_truth = True
    segment_seconds: float = SECONDS
    truth: Truth = "joint"

    def __init__(self, split: str = "train", videos: int = 6) -> None:
        self.split = split
        self.ids = tuple(f"{split}{i}" for i in range(videos))

    def __len__(self) -> int:
        return len(self.ids)

    def segments(self, index: int) -> int:
        return 4 + index % 3

    def __getitem__(self, index: int) -> Video:
        noise = torch.Generator().manual_seed(index)
        length = self.segments(index)
        truth = torch.zeros(length, 2, 3, dtype=torch.bool)
        truth[1:4, :, index % 3] = True
        streams = {
            name: torch.randn(spec.frames * length, spec.width, generator=noise) for name, spec in self.streams.items()
        }
        return Video(self.ids[index], streams, truth.any(0).any(0).float(), truth)

    def statistics(self) -> dict[str, Tensor]:
        return stream_statistics(self)


class TinyWithScores(TinyJoint):
    """Defines two scores of its own: the share of right cells, and the mean probability of true ones."""

    def further_scores(self, parsed: ParsedSplit) -> dict[str, float]:
        assert parsed.ids == self.ids
        real = parsed.mask[:, :, None, None].expand_as(parsed.truth)
        right = (parsed.decided == parsed.truth)[real].float().mean().item()
        return {"right cells": 100 * right, "confidence": 100 * parsed.segment_probs[parsed.truth].mean().item()}


def open_as(monkeypatch: pytest.MonkeyPatch, kind: type[TinyJoint]) -> Path:
    """Let every data folder of this process be the tiny data set; returns the name of one."""
    monkeypatch.setattr(experiment, "open_folder", lambda root, split, **_: kind(split))
    monkeypatch.setattr(experiment, "splits_of", lambda root: ("train", "val", "test"))
    return Path("tiny-joint")
