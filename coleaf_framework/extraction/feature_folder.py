"""The folder of extracted features: begun, gone on with, and never left with a video whose features are not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from coleaf_framework._text import one_line
from coleaf_framework.data.extracted import COLUMNS, VIDEOS_FILE, ExtractedVideo, read_videos
from coleaf_framework.data.layout import STREAMS_FILE, Layout, read_layout
from coleaf_framework.data.recipe_file import PROJECTION_FILE, RECIPE_FILE, FeatureRecipe, read_recipe
from coleaf_framework.data.store import INDEX
from coleaf_framework.extraction.naming import file_id, window_ids
from coleaf_framework.extraction.one_file import FileFeatures, window_file
from coleaf_framework.storage import file_digest, make_folder, write_atomically, write_text, write_yaml

_LOCK, _UNFINISHED = ".extracting.lock", ".unfinished-"


def state_of(file: Path) -> str:
    """Size in bytes and time of the last change in nanoseconds.

    Raises:
        OSError: There is no such file.
    """
    found = file.stat()
    return f"{found.st_size} {found.st_mtime_ns}"


def unlisted(file: Path) -> str | None:
    """Why a file's path cannot be written into a row of `videos.tsv`; None where it can."""
    if one_line(str(file)) == str(file):
        return None
    return f"its path has a character that {VIDEOS_FILE} cannot hold: rename it"


class FeatureFolder:
    """A folder that features are being written to; a context manager, so that no other process writes to it too.

    Args:
        root: The folder; made if it is missing.
        recipe: How the features are made.
        layout: Its `streams.yaml`.
        projection: The file by which streams are projected.

    Raises:
        FileExistsError: Another process is writing to it, or it holds something else.
        ValueError: It holds features of another recipe, or a file of it is malformed. The message says what differs.
    """

    def __init__(self, root: Path, recipe: FeatureRecipe, layout: Layout, projection: Path | None) -> None:
        self.root, self.layout, self.notes = root, layout, list[str]()
        make_folder(root)
        self._lock = FileLock(root / _LOCK)  # released by the system even if the process is killed
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise FileExistsError(f"{root}: another process is writing features to it") from None
        try:
            self._begin(recipe, projection)
            self.videos: dict[str, ExtractedVideo] = read_videos(root / VIDEOS_FILE)
            for left in root.glob(f"{_UNFINISHED}*"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            self.unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=root))
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> FeatureFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        shutil.rmtree(self.unfinished, ignore_errors=True)
        self._lock.release()

    def _begin(self, recipe: FeatureRecipe, projection: Path | None) -> None:
        root = self.root
        if (root / INDEX).exists():
            raise FileExistsError(
                f"{root}: is a packed store, to which no features can be added: choose another folder"
            )
        if (root / RECIPE_FILE).exists():
            self._require_same(recipe)
        else:
            held = [name for name in ("feats", STREAMS_FILE, VIDEOS_FILE, PROJECTION_FILE) if (root / name).exists()]
            if held:
                raise FileExistsError(
                    f"{root}: has {', '.join(held)}, but no {RECIPE_FILE} that says how its features were made: "
                    "choose another folder"
                )
            recipe.write(root)
        if not (root / STREAMS_FILE).exists():
            write_yaml(root / STREAMS_FILE, self.layout.model_dump(exclude_defaults=True) | {"segment_seconds": 1.0})
        elif read_layout(root / STREAMS_FILE) != self.layout:
            raise ValueError(f"{root / STREAMS_FILE}: says other than the streams of the recipe {recipe.recipe}")
        if projection is not None and not _has_digest(root / PROJECTION_FILE, recipe.projection):
            content = projection.read_bytes()
            write_atomically(root / PROJECTION_FILE, lambda to: to.write_bytes(content))
        if not (root / VIDEOS_FILE).exists():
            self._write_videos({})

    def _require_same(self, recipe: FeatureRecipe) -> None:
        known = read_recipe(self.root / RECIPE_FILE)
        differences = known.differences(recipe)
        if known.window != recipe.window:
            differences.append(f"window is {known.window}, not {recipe.window}")
        if differences:
            raise ValueError(
                f"{self.root}: holds features that were made otherwise ({'; '.join(differences)}): choose another "
                "folder, or the same recipe"
            )
        if known.decoder != recipe.decoder:
            self.notes.append(f"{self.root}: features there were decoded by {known.decoder}, now by {recipe.decoder}")

    def holds(self, file: Path) -> int:
        """Seconds of the file's features that are there; 0 where there are none, or the file has changed since.

        Raises:
            OSError: There is no such file.
        """
        videos = self._of(file)
        state = state_of(file)
        complete = all(video.state == state and all(p.is_file() for p in self._paths(video.id)) for video in videos)
        return sum(video.end - video.start for video in videos) if complete else 0

    def require_free(self, file: Path, name: str) -> None:
        """Check that no other file has given the folder features under a file's id.

        Raises:
            ValueError: One has. The message names it.
        """
        for video in self.videos.values():
            if video.file != str(file) and name in (video.id, file_id(Path(video.file))):
                raise ValueError(
                    f"{self.root}: has features of {video.file} under the id {video.id!r}, which {file} would get: "
                    "rename it, or choose another folder"
                )

    def drop(self, files: Iterable[Path]) -> None:
        """Remove what is there of files, their rows first."""
        gone = [video.id for file in files for video in self._of(file)]
        if gone:
            self._write_videos({name: video for name, video in self.videos.items() if name not in gone})
            for path in (path for name in gone for path in self._paths(name)):
                path.unlink(missing_ok=True)

    def add(self, file: Path, name: str, state: str, made: FileFeatures, folder: Path) -> None:
        """Take over the features of a file from the folder into which they were written, and list its videos.

        Raises:
            ValueError: An id is another file's.
        """
        ids = window_ids(name, made.windows)
        for video in ids:
            self.require_free(file, video)
        for video, (start, _) in zip(ids, made.windows, strict=True):
            for stream, files in self.layout.streams.items():
                to = files.path(self.root, video)
                make_folder(to.parent)
                os.replace(window_file(folder, stream, start), to)
        rows = (
            ExtractedVideo(video, str(file), start, end, made.absent, state)
            for video, (start, end) in zip(ids, made.windows, strict=True)
        )
        self._write_videos(self.videos | {row.id: row for row in rows})

    def _of(self, file: Path) -> list[ExtractedVideo]:
        return [video for video in self.videos.values() if video.file == str(file)]

    def _paths(self, video: str) -> list[Path]:
        return [files.path(self.root, video) for files in self.layout.streams.values()]

    def _write_videos(self, videos: dict[str, ExtractedVideo]) -> None:
        rows = "".join(video.row() for video in videos.values())
        write_text(self.root / VIDEOS_FILE, "\t".join(COLUMNS) + "\n" + rows)
        self.videos = videos


def _has_digest(path: Path, digest: str | None) -> bool:
    return path.is_file() and file_digest(path) == digest
