"""The straightforward training loop that `bench_step.py` compares with: the same numbers, with all the waste.

Every loss has its own forward pass, as in published code: the paper's recipe runs each branch once to be taught and
once to teach, the authors' runs the Anchor three times (for denoising, for the Reference, for itself) and the Reference
twice. Frames are projected before they are averaged, class tokens are projected for every video, modalities go through
shared layers one after the other, and labels are denoised class by class in Python. With dropout off the losses are
those of the package (`bench_step.py` checks it).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from coleaf_backbones.attention import Attention
from coleaf_backbones.cmpae import CMPAE
from coleaf_backbones.han import HAN
from torch import Tensor, nn
from torch.nn import functional as F

from coleaf_framework.collaboration import Term, anchor_loss, anchor_terms, reference_terms
from coleaf_framework.losses import smooth_visual_labels
from coleaf_framework.model.coleaf import CoLeaF
from coleaf_framework.protocol import AnchorOutput, Batch, Progress, ReferenceOutput


def attention(layer: Attention, query: Tensor, tokens: Tensor) -> Tensor:
    """Attention of (B,N,D) over (B,K,D), everything projected anew."""
    width = query.shape[-1]
    q = F.linear(query, layer.in_proj_weight[:width], layer.in_proj_bias[:width])
    k, v = F.linear(tokens, layer.in_proj_weight[width:], layer.in_proj_bias[width:]).chunk(2, dim=-1)
    weights = (q @ k.mT / width**0.5).softmax(-1)
    return layer.out_proj(F.dropout(weights, layer.dropout, layer.training) @ v)  # type: ignore[no-any-return]


def encode(layer: Any, own: Tensor, other: Tensor | None) -> Tensor:
    """HAN's layer on one modality, (B,T,D)."""
    x = own + layer.dropout(attention(layer.self_attn, own, own))
    if other is not None:
        x = x + layer.dropout(attention(layer.cm_attn, own, other))
    return layer.feed_forward(x)  # type: ignore[no-any-return]


def averaged(x: Tensor, frames: int) -> Tensor:
    """(B, frames * T, D) -> (B,T,D)."""
    return x.unflatten(1, (-1, frames)).mean(2)


def inputs(net: HAN | CMPAE, streams: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Input tokens, two (B,T,D), frames projected before they are averaged."""
    spec = net.streams
    projected = {
        name: averaged(layer(streams[name]), spec[name].frames)
        for name, layer in (("audio", net.fc_a), ("visual", net.fc_v), ("visual_st", net.fc_st))
    }
    return projected["audio"], net.fc_fusion(torch.cat([projected["visual"], projected["visual_st"]], dim=-1))


class PlainEncoder(nn.Module):
    """In place of HAN's encoder: one modality and one pass after the other."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.layers = encoder.layers

    def forward(self, audio: Tensor, visual: Tensor, mask: None = None, cross: bool = True) -> Tensor:
        """Two (B,T,D) -> (B,T,M,D)."""
        for layer in self.layers:
            audio, visual = (
                encode(layer, audio, visual if cross else None),
                encode(layer, visual, audio if cross else None),
            )
        return torch.stack([audio, visual], dim=2)

    def with_and_without_cross(self, audio: Tensor, visual: Tensor, mask: None = None) -> tuple[Tensor, Tensor]:
        """Without and with cross-attention."""
        return self(audio, visual, cross=False), self(audio, visual)


class PlainHAN(HAN):
    """HAN with frames projected before they are averaged."""

    def forward(self, audio: Tensor, visual: Tensor, visual_st: Tensor, mask: None = None) -> AnchorOutput:
        """As HAN's."""
        tokens = self.hat_encoder(*inputs(self, {"audio": audio, "visual": visual, "visual_st": visual_st}))
        segment_probs = self.fc_prob(tokens).sigmoid()
        over_time, over_modality = self.fc_frame_att(tokens).softmax(1), self.fc_av_att(tokens).softmax(2)
        video_probs = (over_modality * over_time * segment_probs).sum((1, 2))
        return AnchorOutput(segment_probs, video_probs, tokens, (over_time * segment_probs).sum(1))


def plain_model(model: CoLeaF) -> CoLeaF:
    """The model with its Anchor made straightforward; CMPAE averages after its projection anyway."""
    if type(model.anchor) is HAN:
        model.anchor.__class__ = PlainHAN
    model.anchor.hat_encoder = PlainEncoder(model.anchor.hat_encoder)
    return model


def plain_reference(net: Any, streams: dict[str, Tensor]) -> Any:
    """The class-token Reference's answer: frames projected first, class tokens projected for every video."""
    answers = []
    for branch in net.branches.values():
        projected = [averaged(layer(streams[n]), branch.frames[n]) for n, layer in branch.projections.items()]
        segments = branch.fusion(torch.cat(projected, dim=-1))
        x = torch.cat([segments, branch.class_tokens.expand(len(segments), -1, -1)], dim=1)
        encoded = encode(branch.layer, x, None)
        tokens, classes = encoded[:, : segments.shape[1]], encoded[:, segments.shape[1] :]
        probs = branch.fc_prob(tokens).sigmoid()
        pooled = (branch.fc_frame_att(tokens).softmax(1) * probs).sum(1)
        answers.append((probs, pooled, tokens, classes.mean(-1).sigmoid()))
    segment, modality, tokens, classes = zip(*answers, strict=True)
    return ReferenceOutput(
        torch.stack(segment, 2), torch.stack(modality, 1), torch.stack(tokens, 2), torch.stack(classes, 1)
    )


def denoised(labels: Tensor, probs: Tensor, ratios: Tensor) -> Tensor:
    """JoMoLD's denoising class by class, as published code writes it."""
    result = labels[:, None].repeat(1, 2, 1)
    losses = -probs.clamp(1e-7, 1 - 1e-7).log()
    for c in range(labels.shape[1]):
        videos = [i for i in range(len(labels)) if labels[i, c].item() == 1]
        order = [sorted(videos, key=lambda i: losses[i, m, c].item()) for m in range(2)]
        for m in range(2):
            n = int(ratios[m, c].item() * len(videos) + 1e-4)
            fits_other = set(order[1 - m][:n])
            for i in order[m][len(videos) - n :] if n else ():
                if i in fits_other:
                    result[i, m, c] = 0
    return result


def losses_of_step(model: CoLeaF, batch: Batch, progress: Progress) -> Iterator[dict[str, Tensor]]:
    """The terms of each update of a step, every one with forward passes of its own."""
    c, anchor, plain = model.config, model.anchor, dict(batch.streams)
    labels = batch.labels[:, None].expand(-1, 2, -1)
    if c.labels == "refined":
        if isinstance(anchor, CMPAE):
            with torch.no_grad():
                unimodal = anchor(**plain).unimodal.modality_probs
            labels = denoised(batch.labels, unimodal, anchor.noise_ratios)
        labels = smooth_visual_labels(labels)
    if c.enabled:
        with torch.no_grad():
            teacher = anchor(**plain)
        terms = reference_terms(c, plain_reference(model.reference, plain), teacher.modality_probs, labels, progress)
        yield {f"reference/{name}": term.value for name, term in terms.items()}
    output = anchor(**plain)
    if c.anchor_loss == "official" and c.enabled:
        terms = anchor_loss(c, anchor, output, labels, batch, progress)
    else:
        terms = {name: Term(x) for name, x in anchor.loss(output, batch, progress).items()}
    if c.enabled:
        with torch.no_grad():
            reference = plain_reference(model.reference, plain)
        terms |= anchor_terms(c, output, reference, labels, batch, progress)
    yield {f"anchor/{name}": term.value for name, term in terms.items()}
