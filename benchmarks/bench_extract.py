"""Speed of the recipe `tiny` in times real time, against the plainest way to the same features.

python -m benchmarks.bench_extract [ROUNDS] [--json FILE]

The three clips of examples/clips, 30 s, in one thread, networks loaded. "plain": the network as its package loads it,
one frame at a time. "ours": what `coleaf extract` does with a file, writing included. "ours, processes": `extract` of
24 links to the clips, 240 s, in a process for each core, their start and the loading of the networks included. Times
are the least of ROUNDS, taken in turn.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import main_arguments, minima, print_table
from coleaf_framework._machine import cores
from coleaf_framework.extraction import extract
from coleaf_framework.extraction.efficientnet import NAME, weights_file
from coleaf_framework.extraction.log_mel import log_mel
from coleaf_framework.extraction.one_file import FileExtractor
from coleaf_framework.extraction.tiny import Tiny
from coleaf_framework.media import Piece, decode

CLIPS = sorted((Path(__file__).parents[1] / "examples" / "clips").glob("*.mp4"))
SECONDS, LINKS = 10, 24


def pieces(clip: Path) -> Iterator[Piece[Any]]:
    """A clip as the recipe decodes it."""
    return decode(
        clip, window=SECONDS, frame_rate=8, sample_rate=16000, prepare=lambda frame: frame, frame_size=(160, 160)
    )


class Plain:
    """The features of `tiny`, frame by frame, by the network as its package loads it."""

    def __init__(self) -> None:
        self.network = import_module("efficientnet_lite_pytorch").EfficientNet.from_name(NAME)
        self.network.load_state_dict(torch.load(weights_file(None), map_location="cpu", weights_only=True))
        self.network.eval()
        self.matrix = np.random.RandomState(0).randn(3840, 512) / np.sqrt(1280)

    @torch.no_grad()
    def frame(self, frame: np.ndarray) -> np.ndarray:
        """(1280,) of (160,160,3)."""
        pixels = (torch.from_numpy(frame).permute(2, 0, 1)[None].float() - 127) / 128
        return self.network.extract_features(pixels).mean((2, 3))[0].numpy()

    def clip(self, clip: Path) -> dict[str, np.ndarray]:
        """The streams of a clip of ten seconds."""
        (piece,) = pieces(clip)
        x = np.stack([self.frame(frame) for frame in piece.frames[:80]]).reshape(SECONDS, 8, 1280)
        sound = piece.samples.mean(0)[: SECONDS * 16000].reshape(SECONDS, 16000)
        bands = np.stack([log_mel(second) for second in sound])
        moving = np.concatenate([x.mean(1), x.std(1), np.abs(np.diff(x, axis=1)).mean(1)], 1)
        return {
            "audio": np.concatenate([bands.mean(1), bands.std(1)], 1),
            "visual": x[:, (2, 6)].reshape(-1, 1280),
            "visual_st": moving @ self.matrix,
        }


def main() -> None:
    """Print the table."""
    rounds, path = main_arguments(3)
    torch.set_num_threads(1)
    plain, tiny = Plain(), Tiny()
    extractor = FileExtractor(tiny, None, SECONDS)
    for clip in CLIPS:
        (piece,) = pieces(clip)
        for stream, x in tiny.features(piece).items():
            np.testing.assert_allclose(x, plain.clip(clip)[stream], atol=1e-3)  # the same features
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        links = [folder / f"{i:02d}.mp4" for i in range(LINKS)]
        for i, link in enumerate(links):
            link.symlink_to(CLIPS[i % len(CLIPS)])

        def in_processes() -> None:
            shutil.rmtree(folder / "out", ignore_errors=True)
            extract(links, folder / "out", "tiny", jobs=cores())

        seconds = minima(
            {
                "plain": lambda: [plain.clip(clip) for clip in CLIPS],
                "ours": lambda: [extractor.extract(clip, folder / clip.stem, lambda seconds: None) for clip in CLIPS],
                "ours, processes": in_processes,
            },
            rounds,
        )
    lengths = {name: SECONDS * (LINKS if name == "ours, processes" else len(CLIPS)) for name in seconds}
    speeds = {name: lengths[name] / took for name, took in seconds.items()}
    rows = [[name, lengths[name], seconds[name], x, x / speeds["plain"]] for name, x in speeds.items()]
    columns = ["", "s of video", "s", "times real time", "times plain"]
    print_table("the recipe tiny", columns, rows, path, rounds=rounds, cores=cores())


if __name__ == "__main__":
    main()
