"""Pseudo-labels: their sources, their place in a data set, and how far they agree with what is known."""

from coleaf_framework.data.labels.agreement import Agreement, check_labels
from coleaf_framework.data.labels.attached import WithPseudoLabels, weak_labels_of
from coleaf_framework.data.labels.config import (
    KINDS,
    LABELS_FILE,
    LabelsConfig,
    SourceConfig,
    parse_labels,
    read_labels_file,
)
from coleaf_framework.data.labels.converting import convert_labels
from coleaf_framework.data.labels.removals import Removals, read_removals, write_removals
from coleaf_framework.data.labels.sources import SourceLabels

__all__ = [
    "KINDS",
    "LABELS_FILE",
    "Agreement",
    "LabelsConfig",
    "Removals",
    "SourceConfig",
    "SourceLabels",
    "WithPseudoLabels",
    "check_labels",
    "convert_labels",
    "parse_labels",
    "read_labels_file",
    "read_removals",
    "weak_labels_of",
    "write_removals",
]
