"""The commands about data sets: synth, pack and check-data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from coleaf_framework._text import say
from coleaf_framework.cli.importing import importing
from coleaf_framework.cli.options import Root, Streams


@contextmanager
def _progress(doing: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error; gives what is to be called with how much is done, and of how much."""
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def synth(
    annotations: Annotated[
        Path, typer.Option(help="folder with the published annotations of LLP, UnAV-100, AVE or LFAV")
    ],
    out: Annotated[Path, typer.Option(help="folder to write")],
    limit: Annotated[int | None, typer.Option(min=1, help="at most so many videos of each split")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Write synthetic features for real annotations, in the layout of their data set."""
    with importing():
        from coleaf_framework.data.writing import write_synthetic_features
        from coleaf_framework.storage import require_place

    require_place(out, "--out", folder=True)
    with _progress("writing features") as done:
        counts = write_synthetic_features(annotations, out, limit=limit, seed=seed, done=done)
    say(f"{out}: synthetic features of {counts}")


def pack(
    root: Root,
    out: Annotated[Path, typer.Option(help="folder of the store; that of an interrupted packing goes on")],
    average_frames: Annotated[
        bool, typer.Option("--average-frames", help="store the mean of each segment's frames (not for cmpae)")
    ] = False,
    streams: Streams = None,
    dtype: Annotated[str, typer.Option(help="float16, bfloat16 or float32")] = "float16",
    jobs: Annotated[int | None, typer.Option(min=1, help="threads; one per core if left out")] = None,
) -> None:
    """Pack features into few files with checksums, which train and evaluate read like a folder."""
    with importing():
        from coleaf_framework.data import pack as pack_folder
        from coleaf_framework.storage import require_place

    require_place(out, "--out", folder=True)
    with _progress("packing videos") as done:
        counts = pack_folder(
            root, out, average_frames=average_frames, streams=streams, dtype=dtype, jobs=jobs, done=done
        )
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    say(f"{out}: {counts}, {size / 1e6:.1f} MB, {dtype}" + (", frames averaged" if average_frames else ""))


def check_data(root: Root, streams: Streams = None) -> None:
    """Read every file of a data folder and say what it holds, what is missing, broken and odd.

    Ends with exit code 1 where something missing or broken would stop training or scoring.
    """
    with importing():
        from coleaf_framework.data.check import check_folder

    kinds = []
    for kind, line in check_folder(root, streams):
        kinds.append(kind)
        say(f"{kind + ':':9}{line}")
    if {"missing", "broken"} & set(kinds):
        raise typer.Exit(1)
