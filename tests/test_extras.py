"""Libraries of extras."""

from __future__ import annotations

import sys

import pytest

from coleaf_framework._extras import require_library


@pytest.mark.parametrize("name", ["transformers", "transformers.models"])
def test_without_a_library_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"the recipe x needs transformers: pip install 'coleaf-framework\[y\]'"):
        require_library(name, "the recipe x", "y")


def test_without_torchmetrics_its_metric_alone_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from coleaf_framework import metrics

    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    monkeypatch.delitem(vars(metrics), "ParsingScores", raising=False)
    with pytest.raises(ImportError, match=r"metrics.ParsingScores needs torchmetrics: pip install"):
        metrics.ParsingScores  # noqa: B018
    assert metrics.ScoreTotals
