"""The scores by plain loops over videos, classes and events: slow and obvious, to hold the fast ones to."""

from __future__ import annotations

import numpy as np


def runs(active: np.ndarray) -> list[tuple[int, int]]:
    found, start = [], None
    for t, on in enumerate([*active.tolist(), False]):
        if on and start is None:
            start = t
        if not on and start is not None:
            found.append((start, t))
            start = None
    return found


def iou(a: tuple[int, int], b: tuple[int, int]) -> float:
    both = len(set(range(*a)) & set(range(*b)))
    return both / len(set(range(*a)) | set(range(*b)))


def counts(predicted: np.ndarray, true: np.ndarray, level: str) -> tuple[int, int, int]:
    if level == "segment":
        return int((predicted & true).sum()), int((predicted & ~true).sum()), int((~predicted & true).sum())
    p, t = runs(predicted), runs(true)
    tp = sum(any(iou(a, b) >= 0.5 for b in t) for a in p)
    return tp, len(p) - tp, sum(not any(iou(a, b) >= 0.5 for a in p) for b in t)


def f_of_video(per_class: list[tuple[int, int, int]]) -> tuple[float, bool]:
    fs = [2 * tp / (2 * tp + fp + fn) for tp, fp, fn in per_class if tp + fp + fn]
    return (sum(fs) / len(fs), True) if fs else (1.0, False)


def types(x: np.ndarray) -> dict[str, np.ndarray]:
    a, v = x[:, 0], x[:, 1]
    return {"A": a, "V": v, "Ao": a & ~v, "Vo": v & ~a, "AV": a & v}


def slow_scores(predictions: np.ndarray, truth: np.ndarray) -> tuple[dict[str, float], dict[str, float]]:
    """(N,T,M,C) bool twice -> the 18 columns in percent, and their support-only twins (NaN without support)."""
    published, support = {}, {}
    for level in ("segment", "event"):
        columns: dict[str, list[tuple[float, bool]]] = {}
        for p, t in zip(predictions, truth, strict=True):
            tp, tt = types(p), types(t)
            by_type = {k: [counts(tp[k][:, c], tt[k][:, c], level) for c in range(p.shape[2])] for k in tp}
            for k, per_class in by_type.items():
                columns.setdefault(k, []).append(f_of_video(per_class))
            for name, (x, y) in {"Event@AV": ("A", "V"), "Event@AVo": ("Ao", "Vo")}.items():
                pooled = [tuple(map(sum, zip(i, j, strict=True))) for i, j in zip(by_type[x], by_type[y], strict=True)]
                columns.setdefault(name, []).append(f_of_video(pooled))
        for k, videos in columns.items():
            published[f"{level}/{k}"] = 100 * float(np.mean([f for f, _ in videos]))
            supported = [f for f, has in videos if has]
            support[f"{level}/{k}"] = 100 * float(np.mean(supported)) if supported else float("nan")
        for scores in (published, support):
            for name, parts in {"Type@AV": ("A", "V", "AV"), "Type@AVo": ("Ao", "Vo", "AV")}.items():
                values = [scores[f"{level}/{k}"] for k in parts if scores[f"{level}/{k}"] == scores[f"{level}/{k}"]]
                scores[f"{level}/{name}"] = sum(values) / len(values) if values else float("nan")
    return published, support
