"""A data set that is kept whole in memory, from which batches are gathered."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

import torch
from einops import rearrange
from torch import Tensor

from coleaf_framework._machine import sent
from coleaf_framework.data import AVVPDataset
from coleaf_framework.protocol import Batch

_BY_SEGMENT = ("segment_labels", "pseudo_labels", "pseudo_label_mask")  # fields (B,T,M,C) of a batch


class ResidentVideos:
    """All videos of a data set in one tensor a stream, (segments of all videos, frames * width).

    Args:
        videos: a batch for each video, in the order of the data set.
        data: the data set.
        device: where the tensors are.
        dtype: of the streams.

    Raises:
        ValueError: some videos have a kind of labels and others not.
    """

    def __init__(self, videos: Iterator[Batch], data: AVVPDataset, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.ids, self.streams = device, data.ids, data.streams
        rows: dict[str, _Rows] = {}
        by_segment: dict[str, _Rows] = {}
        labels: list[Tensor] = []
        modality_labels: list[Tensor] = []
        self.lengths: list[int] = []
        masked = False
        for batch in videos:
            for name, x in batch.streams.items():
                frames = rearrange(x[0], "(t k) d -> t (k d)", k=data.streams[name].frames)
                rows.setdefault(name, _Rows(len(data), device)).add(frames.to(dtype))
            labels.append(batch.labels.clone())  # a reading process's tensor would keep a file open
            if batch.modality_labels is not None:
                modality_labels.append(batch.modality_labels.clone())
            masked |= batch.pseudo_label_mask is not None
            for name in _BY_SEGMENT:
                given = getattr(batch, name)
                if given is None and name == "pseudo_label_mask" and batch.pseudo_labels is not None:
                    given = torch.ones_like(batch.pseudo_labels, dtype=torch.bool)  # they say something everywhere
                if given is not None:
                    by_segment.setdefault(name, _Rows(len(data), device)).add(given[0])
            self.lengths.append(len(frames))
        self.rows = {name: x.whole() for name, x in rows.items()}
        self.labels = torch.cat(labels).to(device)
        self.modality_labels = torch.cat(modality_labels).to(device) if modality_labels else None
        if not masked:
            by_segment.pop("pseudo_label_mask", None)
        self.by_segment = {name: x.whole() for name, x in by_segment.items()}
        for name, x in self.by_segment.items():
            _require_all(name, len(x), sum(self.lengths), data)
        if self.modality_labels is not None:
            _require_all("modality_labels", len(self.modality_labels), len(data), data)
        self.starts = torch.tensor([0, *accumulate(self.lengths)][:-1])
        self.segments = torch.tensor(self.lengths)

    def batch(self, videos: tuple[int, ...]) -> Batch:
        """The batch of these videos. The CPU computes indices only, so the device never waits."""
        chosen = torch.tensor(videos)
        lengths = self.segments[chosen, None]
        longest = max(self.lengths[i] for i in videos)
        at = torch.arange(longest)[None]
        real = at < lengths
        rows = sent(self.starts[chosen, None] + torch.minimum(at, lengths - 1), self.device)
        mask = None if bool(real.all()) else sent(real, self.device)

        def gather(x: Tensor) -> Tensor:
            found = x[rows]
            return found if mask is None else found * mask.view(*mask.shape, *[1] * (found.ndim - 2))

        videos_on_device = sent(chosen, self.device)
        return Batch(
            streams={
                name: rearrange(gather(x), "b t (k d) -> b (t k) d", k=self.streams[name].frames)
                for name, x in self.rows.items()
            },
            labels=self.labels[videos_on_device],
            mask=mask,
            modality_labels=None if self.modality_labels is None else self.modality_labels[videos_on_device],
            **{name: gather(x) for name, x in self.by_segment.items()},  # type: ignore[arg-type]
            ids=tuple(self.ids[i] for i in videos),
        )


def _require_all(field: str, found: int, expected: int, data: AVVPDataset) -> None:
    if found != expected:
        raise ValueError(
            f"{data.name} {data.split}: some videos have {field} and others not: all videos of a split must have them "
            "or none"
        )


class _Rows:
    """A tensor that grows by rows; sized at once for videos as long as the first."""

    def __init__(self, videos: int, device: torch.device) -> None:
        self.videos, self.device, self.used = videos, device, 0
        self.tensor = torch.empty(0)

    def add(self, x: Tensor) -> None:
        if not self.used:
            self.tensor = torch.empty(self.videos * len(x), *x.shape[1:], dtype=x.dtype, device=self.device)
        end = self.used + len(x)
        if end > len(self.tensor):
            more = torch.empty(end + len(self.tensor) // 4, *x.shape[1:], dtype=x.dtype, device=self.device)
            more[: self.used] = self.tensor[: self.used]
            self.tensor = more
        self.tensor[self.used : end] = x
        self.used = end

    def whole(self) -> Tensor:
        return self.tensor if self.used == len(self.tensor) else self.tensor[: self.used].clone()
