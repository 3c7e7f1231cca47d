"""Synthetic LLP: drawn from LLP's statistics, the same every time, hard in the way CoLeaF is about."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from coleaf_framework.data import LLP_CLASSES, SyntheticLLP
from coleaf_framework.data.statistics import SEGMENTS, llp_statistics, measure
from coleaf_framework.data.synthetic import Difficulty, Sensors, draw_events, draw_labels
from coleaf_framework.protocol import LLP_STREAMS


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,C) and events (N,T,M,C) of 3,000 videos."""
    rng = np.random.default_rng(0)
    sets = [draw_labels(rng) for _ in range(3000)]
    labels = np.zeros((3000, len(LLP_CLASSES)), dtype=bool)
    for row, classes in zip(labels, sets, strict=True):
        row[list(classes)] = True
    return labels, np.stack([draw_events(rng, classes) for classes in sets])


def test_the_packaged_figures_are_those_of_the_published_annotations(published_llp: Path) -> None:
    text = Path("coleaf_framework/data/llp_statistics.json")
    packaged = json.loads((Path(__file__).resolve().parents[2] / text).read_text())
    assert measure(published_llp) == packaged


def test_class_frequencies_are_llps(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    s = llp_statistics()
    expected = np.zeros(len(LLP_CLASSES))
    for classes, p in zip(s.label_sets, s.label_set_probs, strict=True):
        expected[list(classes)] += p
    np.testing.assert_allclose(drawn[0].mean(0), expected, atol=0.015)


def test_every_label_occurs_and_nothing_else(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    labels, events = drawn
    assert (events.any((1, 2)) == labels).all()


def test_event_types_are_llps(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    heard, seen = drawn[1].any(1)[:, 0], drawn[1].any(1)[:, 1]
    speech = LLP_CLASSES.index("Speech")
    drawn_types = np.array(
        [(heard & ~seen)[:, speech].sum(), (~heard & seen)[:, speech].sum(), (heard & seen)[:, speech].sum()]
    )
    np.testing.assert_allclose(drawn_types / drawn_types.sum(), llp_statistics().type_probs[speech], atol=0.05)


def test_videos_are_the_same_every_time_and_differ_by_seed_and_split() -> None:
    a, b = SyntheticLLP("val", 3)[1], SyntheticLLP("val", 5)[1]
    assert all(torch.equal(a.streams[name], b.streams[name]) for name in LLP_STREAMS)
    for other in (SyntheticLLP("val", 3, seed=1)[1], SyntheticLLP("test", 3)[1], SyntheticLLP("val", 3)[2]):
        assert not torch.equal(a.streams["audio"], other.streams["audio"])


def test_shapes_are_llps() -> None:
    data = SyntheticLLP("test")
    assert len(data) == 1200
    video = data[0]
    assert {name: tuple(x.shape) for name, x in video.streams.items()} == {
        name: (SEGMENTS * spec.frames, spec.width) for name, spec in LLP_STREAMS.items()
    }
    assert video.segment_labels is not None
    assert SyntheticLLP("train", 1)[0].segment_labels is None


def test_an_event_leaves_a_trace_in_the_modality_where_it_does_not_occur() -> None:
    quiet = {"gain": 0.0, "nuisance": (0.0, 0.0), "noise": (0.0, 0.0), "jitter": 0.0}
    truth = np.zeros((SEGMENTS, 2, len(LLP_CLASSES)), dtype=bool)
    truth[2:5, 0, 3] = True  # heard only
    with_trace = Sensors(Difficulty(trace=0.5, **quiet)).observe(np.random.default_rng(0), truth)
    without = Sensors(Difficulty(trace=0.0, **quiet)).observe(np.random.default_rng(0), truth)
    assert with_trace["visual_st"][2:5].any()
    assert not with_trace["visual_st"][5:].any()
    assert not without["visual_st"].any()


def test_classes_that_occur_together_share_directions() -> None:
    cooccurrence = llp_statistics().cooccurrence()
    often = cooccurrence + cooccurrence.T > 0.3

    def similarity(related: float) -> float:
        prototypes = Sensors(Difficulty(related=related)).prototypes[0]
        return float((prototypes @ prototypes.T)[often].mean())

    assert similarity(0.5) > similarity(0.0) + 0.2


@pytest.mark.parametrize(("split", "n", "message"), [("dev", 1, "split 'dev'"), ("val", 0, "n must be at least 1")])
def test_wrong_arguments_are_named(split: str, n: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SyntheticLLP(split, n)
