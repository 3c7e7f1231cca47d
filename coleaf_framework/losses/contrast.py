"""Event-aware contrastive learning (CoLeaF, ECCV 2024, eq. 8-11). Shape letters: see `protocol.py`.

The Anchor's tokens are pulled to the Reference's of the same segment and pushed from those of the video's
other segments, the more so the more of the video's events are heard only or seen only.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import normalize as l2_normalize

from coleaf_framework.losses._precision import in_float32
from coleaf_framework.losses.weak import EPS


def event_weights(reference_probs: Tensor, threshold: float, *, inclusive: bool = False) -> Tensor:
    """The weights theta_m of eq. 9-11: the unaligned share of each modality's predicted events.

    Args:
        reference_probs: (B,M,C) in [0,1], the Reference's modality probabilities.
        threshold: an event is predicted where the probability exceeds it.
        inclusive: or equals it, as in the authors' code.

    Returns: (B,M) in [0,1], without gradient: N_m / (N_m + N_av), and 0 where nothing is predicted.
    """
    probs = reference_probs.detach()
    audio, visual = (probs >= threshold if inclusive else probs > threshold).unbind(1)
    both = (audio & visual).sum(-1)
    alone = torch.stack([(audio & ~visual).sum(-1), (visual & ~audio).sum(-1)], dim=1)
    total = alone + both[:, None]
    return alone / total.clamp(min=1)


@in_float32
def soft_event_weights(reference_probs: Tensor) -> Tensor:
    """The weights of eq. 9-11 with expected counts in place of thresholded ones (not in the paper).

    With the two modalities taken as independent, class c counts p_m (1 - p_n) for modality m alone and p_m p_n for
    both, n being the other modality.

    Args:
        reference_probs: (B,M,C) in [0,1], the Reference's modality probabilities.

    Returns: (B,M) in [0,1], without gradient; 0 where a modality's probabilities are all 0.
    """
    probs = reference_probs.detach()
    both = probs.prod(1).sum(-1, keepdim=True)
    alone = probs.sum(-1) - both
    return (alone / probs.sum(-1).clamp(min=EPS)).clamp(0, 1)


def _similarity(queries: Tensor, keys: Tensor, temperature: float, normalize: bool, mask: Tensor | None) -> Tensor:
    """Two (B,T,M,D) -> query_t . key_n / tau, (B,M,T,T)."""
    if mask is not None:  # what lies in padding may be anything, and 0 * NaN is NaN in a gradient
        queries, keys = (torch.where(mask[:, :, None, None], x, 0.0) for x in (queries, keys))
    if normalize:
        queries, keys = l2_normalize(queries, dim=-1), l2_normalize(keys, dim=-1)
    queries, keys = (rearrange(x, "b t m d -> b m t d") for x in (queries, keys))
    return queries @ keys.transpose(-1, -2) / temperature


@in_float32
def event_aware_contrast(
    anchor_tokens: Tensor,
    reference_tokens: Tensor,
    weights: Tensor,
    *,
    temperature: float,
    normalize: bool = True,
    positive_in_denominator: bool = False,
    both_directions: bool = False,
    mask: Tensor | None = None,
) -> Tensor:
    """The event-aware NCE loss of eq. 8, the mean over videos; the Reference gets no gradient.

    For each video: -(1/T) sum_m theta_m sum_t log( exp(f_t.x_t / tau) / sum_{n != t} exp(f_t.x_n / tau) ).
    The positive is not in the denominator, so the loss can be negative.

    Args:
        anchor_tokens: (B,T,M,D), queries f.
        reference_tokens: (B,T,M,D), keys x; detached here.
        weights: (B,M) theta, from `event_weights`; all ones give the standard NCE of Table 2.
        temperature: tau, above 0 (0.2 in the published code).
        normalize: L2-normalise tokens first, as the published code does and the paper does not say.
        positive_in_denominator: put n = t into the sum as well (InfoNCE).
        both_directions: take the mean with the same loss of Reference tokens as queries and Anchor tokens as keys
            (not in the paper); the Anchor alone is taught in either.
        mask: (B,T) bool, True = real. Masked segments are neither query nor key and T counts real ones;
            a video with one real segment contributes 0.

    Returns: scalar.

    Raises:
        ValueError: if the token shapes differ or the temperature is not positive.
    """
    if anchor_tokens.shape != reference_tokens.shape:
        raise ValueError(
            f"tokens must have one shape (B,T,M,D): Anchor {tuple(anchor_tokens.shape)}, "
            f"Reference {tuple(reference_tokens.shape)}"
        )
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    similarity = _similarity(anchor_tokens, reference_tokens.detach(), temperature, normalize, mask)

    batch, _, segments, _ = similarity.shape
    real = mask if mask is not None else similarity.new_ones(batch, segments, dtype=torch.bool)
    allowed = real[:, None, :].expand(batch, segments, segments)
    if not positive_in_denominator:
        allowed = allowed & ~torch.eye(segments, dtype=torch.bool, device=similarity.device)
    # A row without any key would be log(0); zeros keep its gradient finite, and the count below drops it.
    counted = real & (real.sum(1, keepdim=True) > 1)
    positive = similarity.diagonal(dim1=-2, dim2=-1)  # (B,M,T)

    def negatives(similarity: Tensor) -> Tensor:
        logits = similarity.masked_fill(~allowed[:, None], -torch.inf)
        return torch.where(counted[:, None, :, None], logits, 0.0).logsumexp(-1)

    sums = negatives(similarity)
    if both_directions:
        sums = (sums + negatives(similarity.transpose(-1, -2))) / 2
    nce = torch.where(counted[:, None], sums - positive, 0.0).sum(-1) / real.sum(1, keepdim=True).clamp(min=1)
    return (weights * nce).sum(1).mean()


@in_float32
def smoothed_contrast(
    queries: Tensor,
    keys: Tensor,
    weights: Tensor,
    *,
    temperature: float,
    normalize: bool = True,
    smoothing: float = 0.1,
    mask: Tensor | None = None,
) -> Tensor:
    """The contrast of the authors' code, and of CMPAE between its modalities; the mean over videos.

    For each video: -(1/T) sum_m w_m sum_t log( sum_n q_tn softmax_n(query_t . key_n / tau) ), where q is 1 - smoothing
    on the diagonal and smoothing / (T - 1) off it. The positive is in the softmax's sum.

    Args:
        queries, keys: (B,T,M,D), any M; detach the side that is not to be taught.
        weights: (B,M), at least 0.
        temperature: tau, above 0.
        normalize: L2-normalise tokens first.
        smoothing: in [0,1).
        mask: (B,T) bool, True = real; as in `event_aware_contrast`.

    Returns: scalar, at least 0.
    """
    logits = _similarity(queries, keys, temperature, normalize, mask)

    batch, _, segments, _ = logits.shape
    real = mask if mask is not None else logits.new_ones(batch, segments, dtype=torch.bool)
    count = real.sum(1)
    others = smoothing / (count - 1).clamp(min=1).to(logits.dtype)
    target = others[:, None, None].expand(batch, segments, segments)
    target = torch.where(torch.eye(segments, dtype=torch.bool, device=logits.device), 1 - smoothing, target)
    counted = real & (count > 1)[:, None]  # one segment alone has nothing to be told from
    logits = torch.where(counted[:, None, :, None], logits.masked_fill(~real[:, None, None], -torch.inf), 0.0)
    likelihood = (logits + target.log()[:, None]).logsumexp(-1) - logits.logsumexp(-1)  # (B,M,T)
    nce = -torch.where(counted[:, None], likelihood, 0.0).sum(-1) / count.clamp(min=1)[:, None]
    return (weights * nce).sum(1).mean()
