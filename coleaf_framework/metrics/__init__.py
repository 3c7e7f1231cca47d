"""Metrics of audio-visual video parsing, and the thresholding that turns probabilities into predictions."""

from coleaf_framework.metrics.decision import DecisionConfig, ModalityThresholds, decide
from coleaf_framework.metrics.events import EVENT_TYPES, Event, list_events
from coleaf_framework.metrics.scores import (
    ALL_KEYS,
    COLUMNS,
    KEYS,
    LEVELS,
    SUPPORT,
    ParsingScores,
    all_scores,
    empty_parser,
    mean_of,
    over_seeds,
    parsing_scores,
    support_only_scores,
    video_label_parser,
)
from coleaf_framework.metrics.thresholds import ChosenGates, choose_gates

__all__ = [
    "ALL_KEYS",
    "COLUMNS",
    "EVENT_TYPES",
    "KEYS",
    "LEVELS",
    "SUPPORT",
    "ChosenGates",
    "DecisionConfig",
    "Event",
    "ModalityThresholds",
    "ParsingScores",
    "all_scores",
    "choose_gates",
    "decide",
    "empty_parser",
    "list_events",
    "mean_of",
    "over_seeds",
    "parsing_scores",
    "support_only_scores",
    "video_label_parser",
]
