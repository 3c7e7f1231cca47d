"""Extracting the features of many files into a data folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from coleaf_framework.data.extracted import WITHOUT
from coleaf_framework.data.layout import Layout
from coleaf_framework.data.recipe_file import FeatureRecipe
from coleaf_framework.extraction.feature_folder import FeatureFolder, state_of, unlisted
from coleaf_framework.extraction.naming import name_files, renamed_notes
from coleaf_framework.extraction.one_file import FileExtractor, FileFeatures
from coleaf_framework.extraction.processes import Setup, Task, in_processes
from coleaf_framework.extraction.recipe import Recipe
from coleaf_framework.extraction.recipes import recipe_class
from coleaf_framework.media import decoder_name

_NAMED = 5  # files that a note names
_WINDOW = 10  # seconds of LLP's videos


@dataclass(frozen=True)
class Extracted:
    """What came of an extraction.

    Args:
        recipe: What the folder's `extraction.yaml` says.
        done: Files whose features are in the folder, those of an earlier call included.
        failed: File -> why it has none, in a sentence.
        notes: Sentences about what was seen, such as a file without an audio track.
        seconds: Seconds of video whose features this call made.
        kept: Those of `done` whose features were there already.
    """

    recipe: FeatureRecipe
    done: tuple[Path, ...]
    failed: dict[Path, str]
    notes: tuple[str, ...]
    seconds: int = 0
    kept: tuple[Path, ...] = ()


class FeatureExtractor:
    """Makes features of media files by one recipe, whose networks it keeps.

    Args:
        features: Name of a recipe; or what an `extraction.yaml` says, which what is made here must equal.
        projection: `projection.safetensors` (stream -> mean and components), by which the streams are projected.
        weights: Folder with the recipe's weights; None for where its library keeps them.
        window: Seconds of video that make one video of a folder; longer files make several. If None, that of the
            `extraction.yaml`, or the 10 s of LLP's videos where a recipe is named.
        device: Where the networks run.

    Attributes:
        recipe: What the folder's `extraction.yaml` will say.
        notes: Sentences about what was seen, such as another decoder than that of the features asked for.

    Raises:
        FileNotFoundError, ImportError: Weights or libraries are missing.
        ValueError: The recipe differs from what `features` says, or cannot take the window. The message says what
            differs.
    """

    def __init__(
        self,
        features: str | FeatureRecipe,
        *,
        projection: Path | None = None,
        weights: Path | None = None,
        window: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        kind = recipe_class(features if isinstance(features, str) else features.recipe)
        if window is None:
            window = _WINDOW if isinstance(features, str) else features.window
        _require_window(kind, window)
        self._setup = Setup(kind, weights, str(device), projection, window)
        self._extractor = self._setup.make()
        self.recipe = _recipe_of_extractor(self._extractor)
        self.notes = () if isinstance(features, str) else _require_asked(self.recipe, features)

    def extract(
        self,
        videos: Sequence[Path],
        out: Path,
        *,
        jobs: int = 1,
        progress: Callable[[Path, float], None] | None = None,
    ) -> Extracted:
        """Write the features of files into a folder; see `extract`."""
        files = tuple(dict.fromkeys(Path(video).absolute() for video in videos))
        if not files:
            raise ValueError("no files to extract features from")
        if jobs < 1:
            raise ValueError(f"jobs is {jobs}, where a whole number of at least 1 was expected")
        ids = name_files(files)
        with FeatureFolder(out, self.recipe, _layout(self._extractor), self._setup.projection) as folder:
            call = _Call(folder, ids, progress or (lambda file, seconds: None))
            if jobs == 1:
                call.run(lambda tasks: ((task, call.attempt(self._extractor, task)) for task in tasks))
            else:  # each process loads the networks for itself
                call.run(lambda tasks: in_processes(self._setup, tasks, jobs, call.progress))
            notes = (*self.notes, *folder.notes, *call.notes())
        done = tuple(file for file in files if file not in call.failed)
        return Extracted(self.recipe, done, call.failed, notes, call.seconds, tuple(call.kept))


def extract(
    videos: Sequence[Path],
    out: Path,
    features: str | FeatureRecipe,
    *,
    projection: Path | None = None,
    weights: Path | None = None,
    window: int | None = None,
    jobs: int = 1,
    device: torch.device | str = "cpu",
    progress: Callable[[Path, float], None] | None = None,
) -> Extracted:
    """Write the features of media files in LLP's layout, with streams.yaml, extraction.yaml and videos.tsv.

    A file that cannot be read is named in `failed`, and the rest goes on. What the folder already holds of the same
    files by the same recipe is kept. A call that was interrupted or killed leaves a folder that the same call goes on
    with.

    Args:
        videos: The files.
        out: The folder; made if it is missing.
        features: See `FeatureExtractor`, as for `projection`, `weights`, `window` and `device`.
        projection: See there.
        weights: See there.
        window: See there.
        jobs: Processes; with more than one, a script needs `if __name__ == "__main__":`.
        device: See there.
        progress: Called with a file, and the seconds of it that were done since the last call; once with all of them
            for a file that the folder holds already.

    Returns:
        The files done and failed, with notes, and the seconds of video whose features this call made.

    Raises:
        FileExistsError: the folder holds something else, or another process is writing to it.
        FileNotFoundError, ImportError: weights or libraries are missing.
        OSError: nothing can be written any more, as where the disk is full.
        ValueError: the folder holds features of another recipe; two files have the same name; or as `FeatureExtractor`
            does.
    """
    made = FeatureExtractor(features, projection=projection, weights=weights, window=window, device=device)
    return made.extract(videos, out, jobs=jobs, progress=progress)


class _Call:
    """One call of `extract`, once all that can be refused was.

    Args:
        folder: Where the features go.
        ids: The files, and their ids.
        progress: See `extract`.

    Raises:
        ValueError: The folder has features of another file under the id of one of these.
    """

    def __init__(self, folder: FeatureFolder, ids: dict[Path, str], progress: Callable[[Path, float], None]) -> None:
        self.folder, self.ids, self.progress = folder, ids, progress
        self.failed: dict[Path, str] = {}
        self.kept: list[Path] = []
        self.seconds = 0
        for file, name in ids.items():
            folder.require_free(file, name)

    def run(self, extracted: Callable[[Sequence[Task]], Iterable[tuple[Task, FileFeatures | str]]]) -> None:
        """Extract the files that are not there yet, by what gives each of some tasks with its result."""
        states = self._todo()
        self.folder.drop(states)
        self.folder.expect(states)
        tasks = [Task(file, self.folder.unfinished / str(number)) for number, file in enumerate(states)]
        for task, made in extracted(tasks):
            self._take(task, made, states[task.file])

    def _todo(self) -> dict[Path, str]:
        """The files that are to be extracted, and their present state."""
        states = {}
        for file in self.ids:
            try:
                states[file] = state_of(file)
                if why := unlisted(file):
                    raise ValueError(why)
                if seconds := self.folder.holds(file):
                    self.kept.append(file)
                    del states[file]
                    self.progress(file, seconds)
            except (ValueError, OSError) as problem:
                states.pop(file, None)
                self.failed[file] = "no such file" if isinstance(problem, FileNotFoundError) else str(problem)
        return states

    def attempt(self, extractor: FileExtractor, task: Task) -> FileFeatures | str:
        """Do a task in this process."""
        return extractor.attempt(task.file, task.folder, lambda seconds: self.progress(task.file, seconds))

    def _take(self, task: Task, made: FileFeatures | str, state: str) -> None:
        if isinstance(made, FileFeatures):
            try:
                self.folder.add(task.file, self.ids[task.file], state, made, task.folder)
            except ValueError as problem:
                made = str(problem)
            else:
                self.seconds += sum(end - start for start, end in made.windows)
        if isinstance(made, str):
            self.failed[task.file] = made
        task.remove()

    def notes(self) -> list[str]:
        """Sentences about the files' names, and about those that lack a track."""
        found = renamed_notes(self.ids)
        absent = {Path(video.file): video.absent for video in self.folder.videos.values()}
        for modality, clause in WITHOUT.items():
            files = [file.name for file in self.ids if absent.get(file) == modality]
            more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
            found += [f"{clause}: {', '.join(files[:_NAMED])}{more}"] if files else []
        return found


def _require_window(kind: type[Recipe], window: int) -> None:
    shortest, longest = kind.windows
    if not shortest <= window <= longest:
        raise ValueError(f"window is {window}, where the recipe {kind.name} takes {shortest} to {longest} seconds")


def _recipe_of_extractor(extractor: FileExtractor) -> FeatureRecipe:
    recipe = extractor.recipe
    return FeatureRecipe(
        recipe=recipe.name,
        version=recipe.version,
        frame_rate=recipe.frame_rate,
        sample_rate=recipe.sample_rate,
        window=extractor.window,
        weights=dict(recipe.weights),
        decoder=decoder_name(),
        projection=None if extractor.projection is None else extractor.projection.digest,
    )


def _require_asked(found: FeatureRecipe, asked: FeatureRecipe) -> tuple[str, ...]:
    """Refuse to make other features than were asked for; a note where another decoder makes them."""
    if asked.projection is not None and found.projection is None:
        raise ValueError(
            f"the features asked for are projected: give the projection, whose digest is {asked.projection}"
        )
    if differences := found.differences(asked):
        raise ValueError(f"these would be other features than those asked for: {'; '.join(differences)}")
    if found.decoder == asked.decoder:
        return ()
    return (f"decoded by {found.decoder}; the features asked for were by {asked.decoder}, which differs slightly",)


def _layout(extractor: FileExtractor) -> Layout:
    streams = dict(extractor.recipe.streams)
    if extractor.projection is not None:
        widths = extractor.projection.widths
        streams = {name: files.model_copy(update={"width": widths[name]}) for name, files in streams.items()}
    return Layout(streams=streams)
