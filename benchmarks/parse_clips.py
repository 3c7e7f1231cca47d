"""Parse the bundled clips with a run, and score it: python -m benchmarks.parse_clips RUN [CLIPS]

Prints F of the classes found in each clip (whatever their times and modalities) and segment-level Type@AV, beside the
video-label parser that says one random class everywhere: the mean over all classes. CLIPS is a folder with media files
and their annotations in LLP's layout; examples/clips if left out. Three clips tell whether it works, not how well.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from coleaf_framework.data.annotation_files import read_classes
from coleaf_framework.data.annotations import dense_labels, read_annotations
from coleaf_framework.metrics import all_scores
from coleaf_framework.parsing import VideoParser


def class_f(found: Tensor, true: Tensor) -> float:
    """Mean over clips of F of the classes found, in percent: (N,T,M,C) bool each."""
    found, true = found.flatten(1, 2).any(1), true.flatten(1, 2).any(1)
    hits = (found & true).sum(1)
    return float((200 * hits / (found.sum(1) + true.sum(1)).clamp(min=1)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("clips", type=Path, nargs="?", default=Path("examples/clips"))
    arguments = parser.parse_args()
    classes = read_classes(arguments.clips)
    annotations = read_annotations(arguments.clips, classes)
    parsed, failed = VideoParser(arguments.run).parse(sorted(arguments.clips.glob("*.mp4")))
    assert not failed, failed
    found = torch.stack([video.decided for video in parsed])
    true = torch.stack(
        [
            torch.from_numpy(dense_labels(annotations.dense[video.id], len(video.decided), len(classes)))
            for video in parsed
        ]
    )
    for video, decided, labels in zip(parsed, found, true, strict=True):
        told, there = ({classes[c] for c in x.flatten(0, 1).any(0).nonzero()} for x in (decided, labels))
        print(f"{video.id}: found {', '.join(sorted(told)) or 'nothing'}; there is {', '.join(sorted(there))}")
    everywhere = torch.eye(len(classes), dtype=torch.bool)[:, None, None, None].expand(-1, *found.shape[:3], -1)
    scores = [(class_f(x, true), all_scores(x, true)["segment/Type@AV"]) for x in (found, *everywhere)]
    own, random = torch.tensor(scores[0]), torch.tensor(scores[1:]).mean(0)
    print(f"F of classes: {parsed[0].parser} {own[0]:.1f}, a random label everywhere {random[0]:.1f}")
    print(f"segment-level Type@AV: {parsed[0].parser} {own[1]:.1f}, a random label everywhere {random[1]:.1f}")


if __name__ == "__main__":
    main()
