"""The command extract."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from coleaf_framework._machine import cores
from coleaf_framework._text import one_line, say
from coleaf_framework.cli.importing import importing
from coleaf_framework.cli.options import Weights

if TYPE_CHECKING:
    from coleaf_framework.data.recipe_file import FeatureRecipe
    from coleaf_framework.extraction import Extracted


def extract(
    videos: Annotated[list[Path], typer.Argument(help="media files, or folders of them")],
    features: Annotated[
        str,
        typer.Option(
            help="recipe: tiny, llp or clip-clap; or a data folder with an extraction.yaml, whose features are made"
        ),
    ],
    out: Annotated[Path, typer.Option(help="folder to write; that of an interrupted extraction goes on")],
    weights: Weights = None,
    projection: Annotated[
        Path | None, typer.Option(help="projection.safetensors, by which streams are projected on few components")
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(min=1, help="seconds that make one video of the folder; 10, or those of --features FOLDER"),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="processes; one per core if left out")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps")] = "cpu",
    pack: Annotated[bool, typer.Option("--pack", help="make the folder a packed store, in float32")] = False,
) -> None:
    """Make features of media files, in LLP's layout, for `coleaf predict` and, with annotations, for training.

    Called again, it goes on where it was interrupted, and makes anew what is of files that have changed. Ends with exit
    code 1 if a file could not be read.
    """
    with importing():
        from coleaf_framework import extraction
        from coleaf_framework.extraction.finding import find_media
        from coleaf_framework.storage import require_place

    require_place(out, "--out", folder=True)
    recipe, projection = _asked(features, projection)
    files = find_media(videos)
    if any(path.is_dir() for path in videos):
        say(f"{len(files)} media files")
    folder = _unpacked(out) if pack else out
    started = time.monotonic()
    try:
        with seconds_bar(files) as progress:
            made = extraction.extract(
                files, folder, recipe, projection=projection, weights=weights, window=window, device=device,
                jobs=jobs or min(cores(), len(files)), progress=progress,
            )  # fmt: skip
    except KeyboardInterrupt:
        raise KeyboardInterrupt("finished files are kept; the same command goes on with the others") from None
    took = time.monotonic() - started
    if pack and made.done:
        _pack(folder, out)
    _tell(made, out, took)


def _asked(features: str, projection: Path | None) -> tuple[str | FeatureRecipe, Path | None]:
    """The recipe that `--features` names, or that of the folder or file it names with the projection beside it."""
    with importing():
        from coleaf_framework.data.recipe_file import RECIPE_FILE, projection_of, read_recipe
        from coleaf_framework.extraction.recipes import RECIPES, recipe_class

    if features in RECIPES or not Path(features).exists():
        recipe_class(features)  # refuses a name that there is not
        return features, projection
    path = Path(features) / RECIPE_FILE if Path(features).is_dir() else Path(features)
    recipe = read_recipe(path)
    return recipe, projection or projection_of(path.parent, recipe)


def _unpacked(out: Path) -> Path:
    """Where features are written that will be packed: beside the store, so that an interrupted extraction goes on."""
    unpacked = out.parent / f".{out.name}.unpacked"
    if out.exists() and any(out.iterdir()) and not unpacked.exists():
        raise FileExistsError(f"{out} exists already and is not an empty folder: choose another one for --pack")
    return unpacked


def _pack(folder: Path, out: Path) -> None:
    from coleaf_framework.data import pack

    pack(folder, out, dtype="float32")
    shutil.rmtree(folder)


def _tell(made: Extracted, out: Path, took: float) -> None:
    for path, why in made.failed.items():
        say(f"FAILED: {path}: {why}", sys.stderr)
    for note in made.notes:
        say(f"NOTE: {note}", sys.stderr)
    if made.done:
        kept = f"{len(made.kept)} of {len(made.done)} files were there already; " if made.kept else ""
        speed = f", {made.seconds / took:.1f} times real time" if made.seconds else ""
        say(f"{out}: {kept}{made.seconds} s of {len(made.done) - len(made.kept)} files in {took:.1f} s{speed}")
        say(f"next: `coleaf predict RUN --data {out}` with a run of the same features (`coleaf check-data` shows them)")
    if made.failed:
        raise ValueError(f"{len(made.failed)} of {len(made.done) + len(made.failed)} files could not be read")


@contextmanager
def seconds_bar(files: Sequence[Path]) -> Iterator[Callable[[Path, float], None]]:
    """A bar on standard error over the seconds of media files; nothing where that is no terminal.

    Args:
        files: The files.

    Yields:
        What is to be called with a file and the seconds of it that were done since the last call.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda file, seconds: None
        return
    begun: set[Path] = set()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.0f} of {task.total:.0f} s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("extracting", total=sum(map(_seconds, files)))

        def progress(file: Path, seconds: float) -> None:
            begun.add(file)
            bar.update(task, advance=seconds, description=f"{one_line(file.name)} ({len(begun)} of {len(files)} files)")

        yield progress


def _seconds(file: Path) -> float:
    """Length of a file by its header; 0 where that cannot be read, of which the extraction will tell."""
    from coleaf_framework.media import probe

    try:
        return probe(file).seconds
    except (ValueError, OSError):
        return 0.0
