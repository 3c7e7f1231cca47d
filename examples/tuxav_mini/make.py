"""Make TuxAV mini from the full TuxAV: python examples/tuxav_mini/make.py TUXAV OUT

Each stream is centred and projected on its leading principal components over the training split, not whitened, and
packed as float16. OUT also gets `projection.safetensors` (stream -> mean and components), with which other clips can be
brought into the same space, and `extraction.yaml`, which says how TuxAV's features were made.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from coleaf_framework.data import open_folder, pack
from coleaf_framework.data.recipe_file import PROJECTION_FILE, FeatureRecipe
from coleaf_framework.storage import file_digest, write_tensors

FOLDERS = {"audio": "vggish", "visual": "res152", "visual_st": "r2plus1d_18"}
COMPONENTS = {"audio": 64, "visual": 96, "visual_st": 32}
RECIPE = FeatureRecipe(
    recipe="tiny", version=1, frame_rate=8, sample_rate=16000, window=10,
    weights={"efficientnet-lite0": "579344248a93e230"}, decoder="ffmpeg 5.1",
)  # fmt: skip
Array = NDArray[np.float64]


def principal_components(rows: Array, n: int) -> tuple[Array, Array, float]:
    """Mean (D,), the n leading components as columns (D,n), and their share of the variance in [0,1].

    The sign of a component is such that its largest entry is positive, so that every machine finds the same.
    """
    mean = rows.mean(0)
    variances, vectors = np.linalg.eigh(np.cov(rows - mean, rowvar=False))
    leading = vectors[:, ::-1][:, :n]
    leading = leading * np.sign(leading[np.abs(leading).argmax(0), np.arange(n)])
    return mean, leading, float(variances[::-1][:n].sum() / variances.sum())


def make(source: Path, out: Path) -> dict[str, float]:
    """Write the mini store; returns each stream's share of variance that its components keep."""
    splits = [open_folder(source, split) for split in ("train", "val", "test")]
    shares, projection = {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "tuxav_mini"
        for stream, name in FOLDERS.items():
            (folder / "feats" / name).mkdir(parents=True)

            def read(video: str, folder: Path = source / "feats" / name) -> Array:
                values: Array = np.load(folder / f"{video}.npy").astype(np.float64)
                return values

            rows = np.concatenate([read(video) for video in splits[0].ids])
            mean, components, shares[stream] = principal_components(rows, COMPONENTS[stream])
            projection[stream] = torch.from_numpy(np.vstack([mean, components.T])).float()
            for split in splits:
                for video in split.ids:
                    np.save(folder / "feats" / name / f"{video}.npy", ((read(video) - mean) @ components).astype("f4"))
        for path in [*source.glob("AVVP_*.csv"), source / "classes.txt"]:
            shutil.copyfile(path, folder / path.name)
        pack(folder, out, dtype="float16")
    write_tensors(out / PROJECTION_FILE, projection)
    RECIPE.model_copy(update={"projection": file_digest(out / PROJECTION_FILE)}).write(out)
    return shares


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tuxav", type=Path, help="the full folder, in LLP's layout")
    parser.add_argument("out", type=Path, help="a new folder")
    arguments = parser.parse_args()
    for stream, share in make(arguments.tuxav, arguments.out).items():
        print(f"{stream}: {COMPONENTS[stream]} components keep {100 * share:.1f} % of the variance")
