"""The authors' loop with CMPAE, step by step in plain tensors: no module, loss or optimiser of this project or torch.

Parameters are dicts of tensors. One attention head, one layer, no dropout, no mask, streams of one frame per segment
but the 2D one. Loops where loops are clearest.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

Parameters = dict[str, Tensor]
FRAMES = 2


def linear(p: Parameters, name: str, x: Tensor) -> Tensor:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def elu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, x.exp() - 1)


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + (-x).exp())


def norm(p: Parameters, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / ((centred**2).mean(-1, keepdim=True) + 1e-5) ** 0.5
    return scaled * p[f"{name}.weight"] + p[f"{name}.bias"]


def attention(p: Parameters, name: str, query: Tensor, keys: Tensor) -> Tensor:
    d = query.shape[-1]
    w, b = p[f"{name}.in_proj_weight"], p[f"{name}.in_proj_bias"]
    q, k, v = query @ w[:d].T + b[:d], keys @ w[d : 2 * d].T + b[d : 2 * d], keys @ w[2 * d :].T + b[2 * d :]
    scores = (q @ k.transpose(1, 2)) / math.sqrt(d)
    return linear(p, f"{name}.out_proj", torch.softmax(scores, -1) @ v)


def block(p: Parameters, name: str, x: Tensor) -> Tensor:
    x = norm(p, f"{name}.norm1", x)
    hidden = linear(p, f"{name}.linear1", x).clamp(min=0)
    return norm(p, f"{name}.norm2", x + linear(p, f"{name}.linear2", hidden))


def frames_mean(x: Tensor) -> Tensor:
    return torch.stack([x[:, FRAMES * t : FRAMES * (t + 1)].mean(1) for t in range(x.shape[1] // FRAMES)], 1)


def cmpae(p: Parameters, streams: dict[str, Tensor]) -> dict[str, Any]:
    a = elu(linear(p, "fc_a.0", streams["audio"]))
    v = frames_mean(elu(linear(p, "fc_v.0", streams["visual"])))
    st = elu(linear(p, "fc_st.0", streams["visual_st"]))
    v = elu(linear(p, "fc_fusion.0", torch.cat([v, st], -1)))
    shared = leaky(linear(p, "classifier1.0", a)) + leaky(linear(p, "classifier1.0", v))
    logits = linear(p, "classifier2", shared)
    video = sigmoid(logits).mean(1)
    video_u = logits.shape[-1] / (evidence(logits.mean(1)) + 1).sum(-1)

    layer = "hat_encoder.layers.0"
    alone, crossed = [], []
    for own, other in ((a, v), (v, a)):
        selfed = own + attention(p, f"{layer}.self_attn", own, own)
        alone.append(block(p, layer, selfed))
        crossed.append(block(p, layer, selfed + attention(p, f"{layer}.cm_attn", own, other)))
    mixed = [0.2 * x + 0.8 * y for x, y in zip(alone, crossed, strict=True)]
    probs, uncertainty = heads(p, mixed)
    unimodal, _ = heads(p, alone)
    return {"video": video, "video_u": video_u, "tokens": mixed, "probs": probs, "u": uncertainty, "unimodal": unimodal}


def evidence(z: Tensor) -> Tensor:
    return (z.clamp(-10, 10) / 0.8).exp()


def heads(p: Parameters, tokens: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    both, probs, uncertainty = tokens[0] + tokens[1], [], []
    for x, g in zip(tokens, ("v2a", "a2v"), strict=True):
        present = linear(p, "fc_prob", x)
        absent = linear(p, "fc_prob_beta", x + leaky(linear(p, f"{g}.0", both)))
        weights = torch.softmax(linear(p, "fc_frame_att", x), 1)
        alpha = evidence((weights[..., 0::2] * present).sum(1)) + 1
        beta = evidence((weights[..., 1::2] * absent).sum(1)) + 1
        probs.append(alpha / (alpha + beta))
        uncertainty.append(2 / (alpha + beta))
    return probs, uncertainty


def reference(p: Parameters, streams: dict[str, Tensor]) -> dict[str, list[Tensor]]:
    out: dict[str, list[Tensor]] = {"probs": [], "classes": [], "tokens": []}
    for modality in ("audio", "visual"):
        b = f"branches.{modality}"
        if modality == "audio":
            x = linear(p, f"{b}.projections.audio", streams["audio"])
        else:
            frames = frames_mean(linear(p, f"{b}.projections.visual", streams["visual"]))
            clips = linear(p, f"{b}.projections.visual_st", streams["visual_st"])
            x = linear(p, f"{b}.fusion", torch.cat([frames, clips], -1))
        classes = p[f"{b}.class_tokens"]
        sequence = torch.cat([classes.expand(len(x), -1, -1), x], 1)
        encoded = block(p, f"{b}.layer", sequence + attention(p, f"{b}.layer.self_attn", sequence, sequence))
        tokens = encoded[:, len(classes) :]
        over_time = torch.softmax(linear(p, f"{b}.fc_frame_att", tokens), 1)
        out["probs"].append((over_time * sigmoid(linear(p, f"{b}.fc_prob", tokens))).sum(1))
        out["classes"].append(sigmoid(encoded[:, : len(classes)].mean(-1)))
        out["tokens"].append(tokens)
    return out


def denoised(labels: Tensor, unimodal: list[Tensor], ratios: Tensor, epoch: int) -> list[Tensor]:
    refined = [labels.clone(), labels.clone()]
    for c in range(labels.shape[1] if epoch > 1 else 0):
        positive = [i for i in range(len(labels)) if labels[i, c] == 1]
        loss = [{i: -math.log(unimodal[m][i, c].item()) for i in positive} for m in (0, 1)]
        for m in (0, 1):
            k = math.floor(float(ratios[m, c]) * len(positive))
            fits_other = sorted(positive, key=lambda i, o=loss[1 - m]: (o[i], i))[:k]
            misfits = sorted(positive, key=lambda i, o=loss[m]: (o[i], i))[len(positive) - k :]
            for i in set(fits_other) & set(misfits):
                refined[m][i, c] = 0
    return [refined[0], 0.9 * refined[1] + 0.05]


def bce(p: Tensor, y: Tensor) -> Tensor:
    p = p.clamp(1e-7, 1 - 1e-7)
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


def focal(p: Tensor, y: Tensor) -> Tensor:
    q = (1 - p + 0.05).clamp(max=1)
    w = 1 - (p * y + q * (1 - y)).detach()
    return -(w * (y * p.clamp(min=1e-8).log() + (1 - y) * q.clamp(min=1e-8).log())).sum()


def contrast(queries: Tensor, keys: Tensor, weights: Tensor) -> Tensor:
    batch, t, _ = queries.shape
    total = torch.zeros((), dtype=queries.dtype)
    for b in range(batch):
        for i in range(t):
            query = queries[b, i] / queries[b, i].norm()
            similar = torch.stack([(query * key / key.norm()).sum() / 0.2 for key in keys[b]]).exp()
            q = torch.tensor([0.9 if j == i else 0.1 / (t - 1) for j in range(t)], dtype=queries.dtype)
            total = total - weights[b] * ((q * similar).sum() / similar.sum()).log()
    return total / (batch * t)


def event_weights(probs: list[Tensor]) -> list[Tensor]:
    heard, seen = ((p >= 0.5).double() for p in probs)
    both = (heard * seen).sum(1)
    alone = [(heard * (1 - seen)).sum(1), (seen * (1 - heard)).sum(1)]
    return [torch.where(n + both > 0, n / (n + both).clamp(min=1), 0.0) for n in alone]


def reference_loss(r: dict[str, list[Tensor]], a: dict[str, Any], labels: list[Tensor], epoch: int) -> Tensor:
    late = epoch > 3
    total = torch.zeros((), dtype=labels[0].dtype)
    for m, theta in enumerate((0.5, 0.6)):
        total = total + (0.5 if late else 1.0) * focal(r["probs"][m], labels[m])
        total = total + ((0.001, 0.0) if late else (1.2, 1.0))[m] * focal(r["classes"][m], labels[m])
        if late:
            pseudo = (a["probs"][m].detach() > theta) * labels[m]
            total = total + 0.5 * focal(r["probs"][m], pseudo)
    return total


def anchor_loss(
    a: dict[str, Any], r: dict[str, list[Tensor]], y: Tensor, labels: list[Tensor], epoch: int, step: int
) -> Tensor:
    total = 2 * bce(a["probs"][0], labels[0]) + bce(a["probs"][1], labels[1]) + 2 * bce(a["video"], y)
    total = total + contrast(a["tokens"][0], a["tokens"][1], torch.ones(len(y), dtype=y.dtype))

    u = a["video_u"].clamp(min=0.9)[:, None]
    audio_larger = a["probs"][0] >= a["probs"][1]
    top = torch.where(audio_larger, *a["probs"])
    top_u = torch.where(audio_larger, *a["u"])
    mean, mean_u = (a["probs"][0] + a["probs"][1]) / 2, (a["u"][0] + a["u"][1]) / 2
    video = a["video"]
    if step % 2 == 1:
        top, mean = top.detach(), mean.detach()  # type: ignore[attr-defined]
    else:
        u, video = 1 - u, video.detach()
    total = total + (u * (1 - top_u) * (video - top) ** 2 * y + u * (1 - mean_u) * (video - mean) ** 2 * (1 - y)).mean()

    if epoch > 1:
        weights = event_weights(r["probs"])
        for m, (scale, high, low) in enumerate(((0.009, 0.8, 0.1), (1.0, 0.6, 0.4))):
            total = total + contrast(r["tokens"][m].detach(), a["tokens"][m], scale * weights[m])
            own, other = a["probs"][m], r["probs"][m]
            trusted = ((other >= high) | (other <= low)) & (labels[m] > 0.5)
            teacher = torch.where(trusted, other, own).detach()
            for b in range(len(y)):
                difference = torch.outer(teacher[b], teacher[b]) - torch.outer(own[b], own[b])
                total = total + (difference**2).sum() * len(y) / y.shape[1] * 1e-4
    return total


class Adam:
    """Kingma and Ba, ICLR 2015, with the bias corrections."""

    def __init__(self, parameters: Parameters, rate: float) -> None:
        self.parameters, self.rate, self.count = parameters, rate, 0
        self.first = {name: torch.zeros_like(x) for name, x in parameters.items()}
        self.second = {name: torch.zeros_like(x) for name, x in parameters.items()}

    def step(self, loss: Tensor) -> None:
        self.count += 1
        gradients = torch.autograd.grad(loss, list(self.parameters.values()))
        for (name, x), g in zip(list(self.parameters.items()), gradients, strict=True):
            self.first[name] = 0.9 * self.first[name] + 0.1 * g
            self.second[name] = 0.999 * self.second[name] + 0.001 * g * g
            first, second = self.first[name] / (1 - 0.9**self.count), self.second[name] / (1 - 0.999**self.count)
            self.parameters[name] = (x - self.rate * first / (second**0.5 + 1e-8)).detach().requires_grad_()


def train(
    anchor: Parameters,
    branch: Parameters,
    steps: list[tuple[int, int, dict[str, Tensor], Tensor]],
    ratios: Tensor,
    rate: float,
) -> None:
    """Update the two dicts in place; `steps` are (epoch, number, streams, labels)."""
    anchor_adam, branch_adam = Adam(anchor, rate), Adam(branch, rate)
    for epoch, number, streams, y in steps:
        labels = denoised(y, cmpae(anchor, streams)["unimodal"], ratios, epoch)
        branch_adam.step(reference_loss(reference(branch, streams), cmpae(anchor, streams), labels, epoch))
        answer = cmpae(anchor, streams)
        anchor_adam.step(anchor_loss(answer, reference(branch, streams), y, labels, epoch, number))
