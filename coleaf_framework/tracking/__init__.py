"""Experiment trackers: TensorBoard, Weights & Biases, trackio, MLflow, or one of the user's own (docs/tracking.md)."""

from coleaf_framework.tracking.hyperparameters import flat
from coleaf_framework.tracking.protocol import Plain, Status, TrackedRun, Tracker
from coleaf_framework.tracking.trackers import STATE, Trackers, make_trackers, require_known, require_trackers

__all__ = [
    "STATE",
    "Plain",
    "Status",
    "TrackedRun",
    "Tracker",
    "Trackers",
    "flat",
    "make_trackers",
    "require_known",
    "require_trackers",
]
