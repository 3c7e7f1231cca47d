"""Opening a data folder: which data set it holds is told by its annotation files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from coleaf_framework.data.annotation_files import CLASSES_FILE, WEAK_FILES, find_file
from coleaf_framework.data.folder import LLP, AVVPFolder
from coleaf_framework.data.layout import STREAMS_FILE
from coleaf_framework.data.store import INDEX
from coleaf_framework.data.unav import UnAV100, unav_splits
from coleaf_framework.data.unav_annotations import UNAV_FILE
from coleaf_framework.data.video_folder import VideoFolder

SPLITS = ("train", "val", "test")
# A file that tells the data set -> opens a split of it, and says which splits a folder has.
_FORMATS: Mapping[str, tuple[Callable[..., VideoFolder], Callable[[Path], tuple[str, ...]]]] = {
    UNAV_FILE: (UnAV100, unav_splits),
}


def open_folder(
    root: Path | str, split: str, *, streams: Path | str | None = None, skip_incomplete: bool = False
) -> VideoFolder:
    """Open a split of a data folder.

    A folder with `unav100_annotations.json` is `UnAV100`. One in LLP's layout is an `AVVPFolder` if it has a
    `classes.txt`, and `LLP` otherwise.

    Args:
        root: Folder of the data set, with npy files or packed.
        split: "train", "val" or "test".
        streams: A file such as `streams.yaml`; that of the folder, if it has one, if None.
        skip_incomplete: Leave out the videos that lack a file of a stream, and say so, instead of refusing the split.

    Raises:
        FileNotFoundError: A file is missing. The message names it.
        ValueError: The split is unknown or has no videos, or an annotation or `streams.yaml` is malformed.

    Example:
        From the root of the repository:

        >>> from coleaf_framework.data import open_folder
        >>> data = open_folder("examples/tuxav_mini", "val")
        >>> data.name, data.split, sorted(data.streams)
        ('tuxav_mini', 'val', ['audio', 'visual', 'visual_st'])
    """
    root = Path(root)
    for marker, (opener, _) in _FORMATS.items():
        if find_file(root, marker) is not None:
            return opener(root, split, streams=streams, skip_incomplete=skip_incomplete)
    opener = LLP if find_file(root, CLASSES_FILE) is None else AVVPFolder
    return opener(root, split, streams=streams, skip_incomplete=skip_incomplete)


def splits_of(root: Path | str) -> tuple[str, ...]:
    """The splits of which a data folder has annotations.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: An annotation file is there twice, or is no file.

    Example:
        >>> splits_of("examples/tuxav_mini")
        ('train', 'val', 'test')
    """
    root = Path(root)
    for marker, (_, splits) in _FORMATS.items():
        if find_file(root, marker) is not None:
            return splits(root)
    return tuple(split for split, name in WEAK_FILES.items() if find_file(root, name) is not None)


def has_own_streams(root: Path) -> bool:
    """Whether a data folder says itself where its streams lie, as a packed store and a `streams.yaml` do."""
    return (root / INDEX).exists() or find_file(root, STREAMS_FILE) is not None
