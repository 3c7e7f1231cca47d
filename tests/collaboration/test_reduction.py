"""Each reduction says what a micro-batch's term is of its step's."""

from __future__ import annotations

import pytest
import torch

from coleaf_framework.collaboration import Reduction, Term, scaled_by_fraction

OF_VIDEOS = {
    Reduction.MEAN: lambda x: x.mean(),
    Reduction.SUM: lambda x: x.sum(),
    Reduction.SUM_TIMES_VIDEOS: lambda x: x.sum() * len(x),
}


@pytest.mark.parametrize("reduction", Reduction)
def test_shares_of_micro_batches_add_up_to_the_step(reduction: Reduction) -> None:
    videos, reduce = torch.tensor([1.0, 2.0, 4.0, 8.0]), OF_VIDEOS[reduction]
    parts = [
        scaled_by_fraction({"term": Term(reduce(x), reduction)}, len(x) / len(videos))["term"]
        for x in (videos[:1], videos[1:])
    ]
    torch.testing.assert_close(sum(parts), reduce(videos))


@pytest.mark.parametrize("reduction", Reduction)
def test_a_placeholders_term_counts_nothing(reduction: Reduction) -> None:
    assert scaled_by_fraction({"term": Term(torch.tensor(3.0), reduction)}, 0.0)["term"] == 0
