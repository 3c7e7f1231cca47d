"""A model's predictions of a split, and what is computed from them: scores, events, thresholds, tables, comparisons."""

from coleaf_framework.results.evaluation import Evaluation
from coleaf_framework.results.predictions import Predictions
from coleaf_framework.results.predictions_file import read_predictions, write_predictions
from coleaf_framework.results.selection import Selection, load_decision, select_thresholds

__all__ = [
    "Evaluation",
    "Predictions",
    "Selection",
    "load_decision",
    "read_predictions",
    "select_thresholds",
    "write_predictions",
]
