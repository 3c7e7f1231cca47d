"""A data set in memory: random features of any streams, videos of any lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from coleaf_framework import StreamSpec
from coleaf_framework.data import Video

UNAV_LIKE = {
    "rgb": StreamSpec(8, "visual", frames=2),
    "flow": StreamSpec(5, "visual"),
    "vggish": StreamSpec(6, "audio"),
}
"""Two visual streams and one audio stream under UnAV's names, small."""


class RandomVideos:
    """One split. The numbers follow from the split's name; weak labels are those of the random truth.

    Args:
        split: "train", "val" or "test".
        lengths: T of each video.
        streams: as networks take them.
        classes: number of classes, C.
        pseudo: with random pseudo-labels, of half of the places.
    """

    name = "random"
    has_ground_truth = True

    def __init__(
        self,
        split: str,
        lengths: Sequence[int],
        streams: Mapping[str, StreamSpec] = UNAV_LIKE,
        classes: int = 4,
        pseudo: bool = False,
    ) -> None:
        self.split, self.lengths, self.pseudo = split, list(lengths), pseudo
        self.streams: Mapping[str, StreamSpec] = dict(streams)
        self.classes: tuple[str, ...] = tuple(f"class {i}" for i in range(classes))
        self.ids: Sequence[str] = [f"{split}{i:02d}" for i in range(len(lengths))]

    def __len__(self) -> int:
        return len(self.ids)

    def segments(self, index: int) -> int:
        return self.lengths[index]

    def __getitem__(self, index: int) -> Video:
        generator = torch.Generator().manual_seed(sum(map(ord, self.ids[index])) * 1000 + index)
        segments, shape = self.lengths[index], (2, len(self.classes))

        def random(*size: int) -> torch.Tensor:
            return torch.rand(*size, generator=generator)

        truth = random(segments, *shape) < 0.3
        truth[0, :, index % shape[1]] = True
        streams = {
            name: torch.randn(segments * spec.frames, spec.width, generator=generator)
            for name, spec in self.streams.items()
        }
        return Video(
            id=self.ids[index],
            streams=streams,
            labels=truth.any(0).any(0).float(),
            segment_labels=truth,
            pseudo_labels=random(segments, *shape) if self.pseudo else None,
            pseudo_label_mask=random(segments, *shape) < 0.5 if self.pseudo else None,
        )

    def statistics(self) -> dict[str, torch.Tensor]:
        return {name: torch.stack([torch.zeros(s.width), torch.ones(s.width)]) for name, s in self.streams.items()}
