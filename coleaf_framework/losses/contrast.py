"""Event-aware contrastive loss (CoLeaF, ECCV 2024, eq. 8-11).

    L_evt = -(1/T) sum_m theta_m sum_t log( exp(f_t . x_t / tau) / sum_{n != t} exp(f_t . x_n / tau) )

The Anchor's token f_t of a segment is pulled towards the Reference's token x_t of the same segment and pushed away from
those of the video's other segments. theta_m is the share of modality m's events that are audible-only or visible-only.
Shape letters: see `protocol.py`.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import normalize as l2_normalize

from coleaf_framework.losses._precision import in_float32
from coleaf_framework.losses.weak import EPS


def event_weights(reference_probs: Tensor, threshold: float, *, inclusive: bool = False) -> Tensor:
    """Weights theta_m of eq. 9-11: for each modality, the share of its predicted events that the other one lacks.

    Args:
        reference_probs: (B,M,C) in [0,1], the Reference's modality probabilities.
        threshold: an event is predicted where the probability exceeds it.
        inclusive: count a probability equal to the threshold as an event too, as the authors' code does.

    Returns:
        (B,M) in [0,1], without gradient. It is N_m / (N_m + N_av), and 0 where nothing is predicted.

    Example:
        >>> probs = torch.tensor([[[0.9, 0.9, 0.1], [0.9, 0.2, 0.1]]])  # class 0 heard and seen, class 1 heard only
        >>> event_weights(probs, threshold=0.5)
        tensor([[0.5000, 0.0000]])
    """
    probs = reference_probs.detach()
    audio, visual = (probs >= threshold if inclusive else probs > threshold).unbind(1)
    both = (audio & visual).sum(-1)
    alone = torch.stack([(audio & ~visual).sum(-1), (visual & ~audio).sum(-1)], dim=1)
    total = alone + both[:, None]
    return alone / total.clamp(min=1)


@in_float32
def soft_event_weights(reference_probs: Tensor) -> Tensor:
    """Weights of eq. 9-11 from expected instead of thresholded event counts (not in the paper).

    Assuming independent modalities, class c adds p_m (1 - p_n) to the count of modality m alone and p_m p_n to the
    count of both, where n is the other modality.

    Args:
        reference_probs: (B,M,C) in [0,1], the Reference's modality probabilities.

    Returns:
        (B,M) in [0,1], without gradient; 0 where a modality's probabilities are all 0.

    Example:
        >>> soft_event_weights(torch.tensor([[[0.8], [0.5]]]))  # (1 - 0.5, 1 - 0.8)
        tensor([[0.5000, 0.2000]])
    """
    probs = reference_probs.detach()
    both = probs.prod(1).sum(-1, keepdim=True)
    alone = probs.sum(-1) - both
    return (alone / probs.sum(-1).clamp(min=EPS)).clamp(0, 1)


def _similarity(queries: Tensor, keys: Tensor, temperature: float, normalize: bool, mask: Tensor | None) -> Tensor:
    """Two (B,T,M,D) -> query_t . key_n / tau, (B,M,T,T)."""
    if mask is not None:  # padding may hold NaN, and 0 * NaN is NaN in a gradient
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
    """Event-aware NCE loss (eq. 8), averaged over videos; the Reference gets no gradient.

    Per video: -(1/T) sum_m theta_m sum_t log( exp(f_t . x_t / tau) / sum_{n != t} exp(f_t . x_n / tau) ).
    The positive pair is not in the denominator, so the loss can be negative.

    Args:
        anchor_tokens: (B,T,M,D), the queries f.
        reference_tokens: (B,T,M,D), the keys x; detached here.
        weights: (B,M), theta from `event_weights`; all ones give the standard NCE of Table 2.
        temperature: tau, above 0 (0.2 in the published code).
        normalize: L2-normalise the tokens first. The published code does; the paper does not say.
        positive_in_denominator: include n = t in the sum (InfoNCE).
        both_directions: average with the same loss with Reference tokens as queries and Anchor tokens as keys (not in
            the paper). In both directions only the Anchor gets a gradient.
        mask: (B,T) bool, True = real segment. Masked segments are neither query nor key, and T counts real segments; a
            video with one real segment contributes 0.

    Returns:
        Scalar.

    Raises:
        ValueError: the token shapes differ, or the temperature is not positive.

    Example:
        >>> tokens = torch.eye(2).view(1, 2, 1, 2).expand(1, 2, 2, 2)  # B=1, T=2, M=2, D=2; segments orthogonal
        >>> event_aware_contrast(tokens, tokens, torch.ones(1, 2), temperature=1.0)
        tensor(-2.)
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
    # A query without any key would give log(0). Its logits are set to 0, which keeps the gradient finite, and the sum
    # below leaves it out.
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
    cross_entropy: bool = False,
) -> Tensor:
    """Label-smoothed contrastive loss of the authors' code (and of JoMoLD and CMPAE), averaged over videos.

    Per video: -(1/T) sum_m w_m sum_t log( sum_n q_tn softmax_n(query_t . key_n / tau) ), where q is 1 - smoothing on
    the diagonal and smoothing / (T - 1) off it. The positive pair is part of the softmax. MA (Wu, Yang, CVPR 2021)
    has the cross entropy with the same q instead, sum_n q_tn log softmax_n.

    Args:
        queries: (B,T,M,D), any M; detach them if they are the teacher's.
        keys: (B,T,M,D); detach them if they are the teacher's.
        weights: (B,M), at least 0.
        temperature: tau, above 0.
        normalize: L2-normalise the tokens first.
        smoothing: label smoothing, in [0,1).
        mask: (B,T) bool, True = real segment; as in `event_aware_contrast`.
        cross_entropy: MA's form.

    Returns:
        Scalar, at least 0.

    Example:
        >>> tokens = torch.eye(2).view(1, 2, 1, 2)  # B=1, T=2, M=1, D=2; segments orthogonal
        >>> smoothed_contrast(tokens, tokens, torch.ones(1, 1), temperature=1.0, smoothing=0.0)
        tensor(0.3133)
    """
    logits = _similarity(queries, keys, temperature, normalize, mask)
    batch, _, segments, _ = logits.shape
    real = mask if mask is not None else logits.new_ones(batch, segments, dtype=torch.bool)
    count = real.sum(1)
    others = smoothing / (count - 1).clamp(min=1).to(logits.dtype)
    target = others[:, None, None].expand(batch, segments, segments)
    target = torch.where(torch.eye(segments, dtype=torch.bool, device=logits.device), 1 - smoothing, target)
    counted = real & (count > 1)[:, None]  # a single segment has no negatives
    logits = torch.where(counted[:, None, :, None], logits.masked_fill(~real[:, None, None], -torch.inf), 0.0)
    if cross_entropy:
        likelihood = (target[:, None] * logits.log_softmax(-1).masked_fill(~real[:, None, None], 0.0)).sum(-1)
    else:
        likelihood = (logits + target.log()[:, None]).logsumexp(-1) - logits.logsumexp(-1)  # (B,M,T)
    nce = -torch.where(counted[:, None], likelihood, 0.0).sum(-1) / count.clamp(min=1)[:, None]
    return (weights * nce).sum(1).mean()
