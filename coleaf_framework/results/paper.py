"""The numbers published in CoLeaF (ECCV 2024), Tables 1 to 5 and 7, on LLP's test split.

They are shown next to measured scores and never mixed with them. The Anchor of Tables 2 to 4 is CMPAE.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PAPER_COLUMNS = ("segment/Ao", "segment/Vo", "segment/AV", "event/Ao", "event/Vo", "event/AV")


@dataclass(frozen=True)
class PaperTable:
    """Published F-scores in percent.

    Args:
        number: number of the table in the paper.
        rows: (Anchor, name of a variant) -> the six columns of `PAPER_COLUMNS`.
    """

    number: int
    rows: Mapping[tuple[str, str], tuple[float, ...]]


_FULL = (49.3, 62.4, 58.6, 44.1, 62.2, 52.1)
_NONE = (47.3, 61.8, 56.7, 41.6, 61.7, 50.3)

TABLE_2 = PaperTable(
    2,
    {
        ("cmpae", "nce"): (46.1, 60.8, 56.3, 40.5, 60.6, 50.1),
        ("cmpae", "bce"): (48.5, 61.2, 57.4, 43.5, 61.1, 51.2),
        ("cmpae", "no-contrast"): _NONE,
        ("cmpae", "coleaf"): _FULL,
    },
)
TABLE_3 = PaperTable(
    3,
    {("cmpae", "no-self-modality"): (48.1, 60.9, 57.9, 42.8, 60.6, 51.4), ("cmpae", "coleaf"): _FULL},
)
TABLE_4 = PaperTable(
    4,
    {
        ("cmpae", "no-cooccurrence"): (47.5, 60.3, 57.0, 41.9, 60.2, 50.4),
        ("cmpae", "no-class-tokens"): (48.2, 62.7, 57.3, 42.5, 62.5, 52.0),
        ("cmpae", "no-class-relations"): (47.8, 60.8, 56.6, 42.2, 60.6, 49.8),
        ("cmpae", "coleaf"): _FULL,
    },
)
TABLE_5 = PaperTable(
    5,
    {
        ("han", "alone"): (33.1, 50.7, 48.9, 31.0, 50.1, 43.0),
        ("han", "coleaf"): (36.3, 54.1, 49.4, 34.2, 53.5, 43.7),
        ("cmpae", "alone"): (48.2, 57.9, 57.5, 43.6, 57.5, 49.6),
        ("cmpae", "coleaf"): _FULL,
    },
)
TABLE_7 = PaperTable(
    7,
    {
        ("JoMoLD", "labels-alone"): (46.3, 64.8, 58.3, 41.5, 63.5, 52.4),
        ("CMPAE", "labels-alone"): (48.5, 66.9, 58.9, 42.7, 66.0, 53.5),
        ("VALOR", "labels-alone"): (49.0, 66.7, 58.4, 44.2, 65.0, 52.2),
        ("CMPAE", "labels-coleaf"): (51.2, 67.7, 59.3, 45.5, 67.0, 54.2),
    },
)
"""With VALOR's labels from CLIP and CLAP. The paper calls the last row CoLeaF; its Anchor is CMPAE, as in Table 5."""

TABLE_1: Mapping[str, Mapping[str, tuple[float, float, float, float]]] = {
    "unimodal": {
        "audible-only": (43.5, 97.6, 0.4, 94.7),
        "visible-only": (67.8, 97.3, 0.9, 97.7),
        "audible-visible": (80.8, 95.2, 3.3, 33.2),
    },
    "alone": {
        "audible-only": (42.7, 97.4, 0.6, 95.5),
        "visible-only": (66.4, 97.0, 0.7, 99.2),
        "audible-visible": (84.6, 95.6, 3.8, 29.9),
    },
}
"""CMPAE's TP, TN, FP and FN rates in Table 1. TP and FN do not add up to 100 (138 for audible-only), and the paper does
not define them, so they are not comparable to `metrics.analysis.type_rates`."""
