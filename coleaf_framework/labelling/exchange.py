"""Labels to remove from a modality, by a trained run's answers to videos with one track exchanged (MA).

Wu and Yang, CVPR 2021; the rule is `losses.exchange_removals`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from coleaf_framework.data import AVVPDataset, Video
from coleaf_framework.data.dataset import segment_seconds_of, truth_of
from coleaf_framework.losses import exchange_removals
from coleaf_framework.protocol import MODALITIES, Modality, StreamSpec
from coleaf_framework.storage import WEIGHTS, file_digest, write_json
from coleaf_framework.training import CoLeaFTrainer
from coleaf_framework.training.plan import mixed_seed

logger = logging.getLogger(__name__)


class ExchangedTrack(Dataset[Video]):
    """A data set in which each video has one modality's streams from another video.

    A longer track is cut to the video's number of segments, a shorter one begins again.

    Args:
        data: The data set.
        partners: For each video the index of the one whose track it gets.
        modality: The track that is exchanged.

    Example:
        >>> from coleaf_framework.data import SyntheticLLP
        >>> data = SyntheticLLP("val", 2)
        >>> other = ExchangedTrack(data, [1, 0], "audio")[0]
        >>> bool((other.streams["audio"] == data[1].streams["audio"]).all()), other.id == data[0].id
        (True, True)
        >>> bool((other.streams["visual"] == data[0].streams["visual"]).all())
        True
    """

    def __init__(self, data: AVVPDataset, partners: Sequence[int], modality: Modality) -> None:
        self.data, self.partners, self.modality = data, tuple(partners), modality
        self.name, self.split, self.classes, self.ids = data.name, data.split, data.classes, data.ids
        self.streams: Mapping[str, StreamSpec] = data.streams
        self.has_ground_truth = data.has_ground_truth
        self.segment_seconds, self.truth = segment_seconds_of(data), truth_of(data)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Video:
        video, partner = self.data[index], self.data[self.partners[index]]
        streams = {
            name: _of_length(partner.streams[name], len(x)) if self.streams[name].modality == self.modality else x
            for name, x in video.streams.items()
        }
        return replace(video, streams=streams)

    def statistics(self) -> dict[str, Tensor]:
        """Those of the data set, whose features these are."""
        return self.data.statistics()

    def segments(self, index: int) -> int:
        """T of a video."""
        return self.data.segments(index)


def _of_length(rows: Tensor, length: int) -> Tensor:
    return rows.repeat(-(-length // len(rows)), 1)[:length]


def draw_partners(ids: Sequence[str], labels: Tensor, seed: int = 0) -> list[int]:
    """For each video another one that shares no label with it, drawn at random.

    The draw depends on the seed, the video's id and the set of ids that it can take, not on the order of the videos.

    Args:
        ids: N ids, each once.
        labels: (N,C) in {0,1}, weak labels.
        seed: Another one draws others.

    Returns:
        N indices.

    Raises:
        ValueError: A video shares a label with every other one. The message names it.

    Example:
        >>> draw_partners(["a", "b", "c"], torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]))[1:]
        [0, 0]
    """
    order = torch.tensor(sorted(range(len(ids)), key=ids.__getitem__))
    ordered = labels[order]
    partners = []
    for i, video in enumerate(ids):
        candidates = order[(ordered @ labels[i] == 0) & (order != i)]
        if not len(candidates):
            raise ValueError(
                f"video {video!r} shares a label with every other one of {len(ids)}, so there is no track to exchange "
                "with its own"
            )
        partners.append(int(candidates[mixed_seed(seed, "partner", video) % len(candidates)]))
    return partners


def find_removals(trainer: CoLeaFTrainer, data: AVVPDataset, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The labels that MA would remove from a modality, found with a trained Anchor of any kind.

    Args:
        trainer: Of the run.
        data: The training split.
        seed: Of the partners.

    Returns:
        (N,M,C) bool, True = remove; and the weak labels (N,C) in {0,1}.

    Raises:
        ValueError: The data does not fit the model, or a video has no partner.
    """
    own = trainer.predict(data)
    partners = draw_partners(own.ids, own.labels, seed)
    visual, audio = (
        trainer.predict(ExchangedTrack(data, partners, modality)).modality_probs for modality in ("visual", "audio")
    )
    right = (own.modality_probs > 0.5) == (own.labels > 0.5)[:, None]
    return exchange_removals(own.labels, right.float().mean(0), visual, audio), own.labels


def remove_labels(trainer: CoLeaFTrainer, run: Path, data: AVVPDataset, path: Path, seed: int = 0) -> str:
    """Find the labels to remove and write them to a file, for labels of kind ma; under torchrun the first rank writes.

    Args:
        trainer: Of the run.
        run: Its folder, which the file names.
        data: The training split.
        path: JSON file to write.
        seed: Of the partners.

    Returns:
        A sentence that says how many are removed.

    Raises:
        ValueError: As `find_removals` does.
    """
    removed, labels = find_removals(trainer, data, seed)
    if trainer.distributed.first:
        made_by = {"run": str(run), "weights": file_digest(run / WEIGHTS), "anchor": trainer.name, "seed": seed}
        about = {"data": data.name, "videos": len(data), "classes": list(data.classes), "made_by": made_by}
        lists = removal_lists(removed, data.ids, data.classes)
        write_json(path, {"kind": "removals", "method": "ma", **lists, **about})
    audio, visual, all_labels = (int(x.sum()) for x in (*removed.unbind(1), labels))
    if trainer.distributed.first and max(audio, visual) > all_labels / 2:
        logger.warning("%s: removes most labels of a modality, as a run does that was hardly trained", path)
    return (
        f"{path}: removes {audio:,} audio and {visual:,} visual labels, of {all_labels:,} each, from {len(data):,} "
        f"videos of {data.name}"
    )


def removal_lists(removed: Tensor, ids: Sequence[str], classes: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Removals as the file has them: modality -> class -> sorted ids; classes without removals are left out.

    Example:
        >>> removal_lists(torch.tensor([[[True], [False]]]), ["a"], ["Dog"])
        {'audio': {'Dog': ['a']}, 'visual': {}}
    """
    return {
        modality: {
            name: sorted(ids[i] for i in rows.tolist())
            for c, name in enumerate(classes)
            if len(rows := removed[:, m, c].nonzero().flatten())
        }
        for m, modality in enumerate(MODALITIES)
    }
