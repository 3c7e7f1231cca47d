"""Metrics of audio-visual video parsing, and the thresholding that turns probabilities into predictions."""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from coleaf_framework._extras import require_library
from coleaf_framework.metrics.decision import DecisionConfig, ModalityThresholds, decide
from coleaf_framework.metrics.events import EVENT_TYPES, Event, list_events
from coleaf_framework.metrics.parsed import ParsedSplit
from coleaf_framework.metrics.scores import (
    ALL_KEYS,
    COLUMNS,
    KEYS,
    LEVELS,
    SUPPORT,
    all_scores,
    empty_parser,
    mean_of,
    over_seeds,
    parsing_scores,
    support_only_scores,
    video_label_parser,
)
from coleaf_framework.metrics.thresholds import ChosenGates, choose_gates
from coleaf_framework.metrics.totals import ScoreTotals

if TYPE_CHECKING:
    from coleaf_framework.metrics.meter import ParsingScores

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
    "ParsedSplit",
    "ScoreTotals",
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

if find_spec("torchmetrics"):  # of an extra, without which `import *` takes all the others
    __all__ += ["ParsingScores"]


def __getattr__(name: str) -> Any:
    """`ParsingScores`, imported when it is first asked for (PEP 562): torchmetrics is an extra, and slow to import."""
    if name != "ParsingScores":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_library("torchmetrics", "metrics.ParsingScores", "torchmetrics")
    from coleaf_framework.metrics.meter import ParsingScores

    globals()[name] = ParsingScores
    return ParsingScores
