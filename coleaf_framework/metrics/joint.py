"""The AV columns alone, for data sets whose events are all audible and visible. Shape letters: see `protocol.py`."""

from __future__ import annotations

import torch
from torch import Tensor

from coleaf_framework.metrics.scores import _check, _video_scores, event_counts, segment_counts

JOINT_KEYS = ("segment/AV", "event/AV")
_CHUNK = 32  # videos


def joint_scores(predictions: Tensor, ground_truth: Tensor) -> dict[str, float]:
    """AV F at segment and event level in percent, by the rule of `scores`: the columns "segment/AV" and "event/AV".

    AV is what is both audible and visible. This is our definition of Table 8 of CoLeaF (ECCV 2024), whose own is not
    published in full; numbers by it are not comparable with that table.

    Args:
        predictions: (N,T,M,C) bool, False in padding; N at least 1.
        ground_truth: (N,T,M,C) bool, False in padding.

    Returns:
        Two columns -> percent in [0,100].

    Raises:
        ValueError: another shape or dtype, or no video.

    Example:
        >>> truth = torch.ones(1, 10, 2, 1, dtype=torch.bool)  # heard and seen for ten segments
        >>> prediction = truth.clone()
        >>> prediction[0, 4:, 0] = False  # predicted to be heard in the first four
        >>> {name: round(x, 1) for name, x in joint_scores(prediction, truth).items()}  # F is 8 / 14; IoU is 0.4
        {'segment/AV': 57.1, 'event/AV': 0.0}
    """
    _check(predictions, ground_truth)
    if not len(predictions):
        raise ValueError("no videos to score")
    sums = torch.zeros(len(JOINT_KEYS), dtype=torch.float64)
    for at in range(0, len(predictions), _CHUNK):
        both = predictions[at : at + _CHUNK].all(2), ground_truth[at : at + _CHUNK].all(2)  # (K,T,C)
        sums += torch.stack([_video_scores(count(*both))[0].sum() for count in (segment_counts, event_counts)]).cpu()
    return dict(zip(JOINT_KEYS, (100 * sums / len(predictions)).tolist(), strict=True))
