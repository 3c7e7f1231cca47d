"""Opening a data folder: which data set it holds is told by its annotation files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from coleaf_framework.data.annotation_files import CLASSES_FILE, DENSE_FILES, WEAK_FILES, find_file
from coleaf_framework.data.ave import AVE, ave_splits
from coleaf_framework.data.ave_files import ROWS_FILE
from coleaf_framework.data.extracted import VIDEOS_FILE, ExtractedVideos
from coleaf_framework.data.folder import LLP, AVVPFolder
from coleaf_framework.data.layout import STREAMS_FILE
from coleaf_framework.data.lfav import LFAV, lfav_splits
from coleaf_framework.data.lfav_files import WEAK as LFAV_WEAK_FILES
from coleaf_framework.data.store import INDEX
from coleaf_framework.data.unav import UnAV100, unav_splits
from coleaf_framework.data.unav_annotations import UNAV_FILE
from coleaf_framework.data.video_folder import VideoFolder

SPLITS = ("train", "val", "test")
# A file that tells the data set -> opens a split of it, and says which splits a folder has.
_FORMATS: Mapping[str, tuple[Callable[..., VideoFolder], Callable[[Path], tuple[str, ...]]]] = {
    UNAV_FILE: (UnAV100, unav_splits),
    ROWS_FILE: (AVE, ave_splits),
    **dict.fromkeys(LFAV_WEAK_FILES.values(), (LFAV, lfav_splits)),
}


def _format_of(root: Path) -> tuple[Callable[..., VideoFolder], Callable[[Path], tuple[str, ...]]] | None:
    """The entry of `_FORMATS` whose file a folder has; None for LLP's layout."""
    return next((entry for marker, entry in _FORMATS.items() if find_file(root, marker) is not None), None)


def is_extracted(root: Path) -> bool:
    """Whether a folder is one of `coleaf extract` to which no annotations were added.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: A file is there twice, or is no file.
    """
    return find_file(root, VIDEOS_FILE) is not None and not splits_of(root)


def open_folder(
    root: Path | str,
    split: str,
    *,
    streams: Path | str | None = None,
    skip_incomplete: bool = False,
    classes: Sequence[str] | None = None,
) -> VideoFolder:
    """Open a split of a data folder.

    `UnAV100`, `AVE` and `LFAV` are told by their annotation files. A folder in LLP's layout is an `AVVPFolder` if it
    has a `classes.txt`, and `LLP` otherwise. A folder of `coleaf extract` without annotations is `ExtractedVideos`.

    Args:
        root: Folder of the data set, with npy files or packed.
        split: "train", "val" or "test".
        streams: A file such as `streams.yaml`; that of the folder, if it has one, if None.
        skip_incomplete: Leave out the videos that lack a file of a stream, and say so, instead of refusing the split.
        classes: Class names of the model that will answer for videos without annotations. Other folders have their own.

    Returns:
        The split. The features of a video are read when it is indexed.

    Raises:
        FileNotFoundError: a file is missing. The message names it.
        ValueError: the split is unknown or has no videos, or an annotation or `streams.yaml` is malformed; or the
            folder holds videos without annotations, and `classes` are not given.

    Example:
        From the root of the repository:

        >>> from coleaf_framework.data import open_folder
        >>> data = open_folder("examples/tuxav_mini", "val")
        >>> data.name, data.split, sorted(data.streams)
        ('tuxav_mini', 'val', ['audio', 'visual', 'visual_st'])
    """
    root = Path(root)
    if (known := _format_of(root)) is not None:
        return known[0](root, split, streams=streams, skip_incomplete=skip_incomplete)
    if is_extracted(root):
        if classes is None:
            raise ValueError(
                f"{root}: holds videos without annotations, for which `coleaf predict RUN --data {root}` answers; to "
                f"train on them or to score, add {CLASSES_FILE} and {', '.join(WEAK_FILES.values())} or some of these"
            )
        return ExtractedVideos(root, classes, split, streams=streams, skip_incomplete=skip_incomplete)
    opener = LLP if find_file(root, CLASSES_FILE) is None else AVVPFolder
    return opener(root, split, streams=streams, skip_incomplete=skip_incomplete)


def open_annotated(root: Path | str, split: str) -> tuple[VideoFolder, bool]:
    """Open a split of a data folder to score against it, which needs annotations and no features.

    Where the folder has features, videos are as long as these, as they are for a trained run. Where it has none at all,
    they are as long as the annotations say: LLP's layout by the times in filenames, AVE 10 s, UnAV-100 by duration.

    Args:
        root: Folder of the data set.
        split: "train", "val" or "test".

    Returns:
        The split, and whether its lengths are those of features.

    Raises:
        FileNotFoundError, ValueError: As `open_folder` does. LFAV's annotations do not say how long a video lasts.
    """
    root = Path(root)
    known = _format_of(root)
    kind: Callable[..., VideoFolder] = LLP if find_file(root, CLASSES_FILE) is None else AVVPFolder
    if known is not None:
        kind = known[0]
    if kind is LFAV or is_extracted(root) or has_own_streams(root) or _has_features(root):
        return open_folder(root, split), True
    return kind(root, split, annotations_only=True), False


def _has_features(root: Path) -> bool:
    """Whether there is anything where LLP's layout, AVE or UnAV-100 have features."""
    return (root / "feats").exists() or any(root.glob("*_feature.h5")) or any(root.glob("*.npy"))


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
    if (known := _format_of(root)) is not None:
        return known[1](root)
    return tuple(split for split, name in WEAK_FILES.items() if find_file(root, name) is not None)


def missing_annotations(root: Path) -> list[str]:
    """A sentence for each annotation file without which there is a split, or the ground truth, less.

    Raises:
        FileNotFoundError, ValueError: As in `splits_of`.
    """
    if _format_of(root) is not None:
        return [f"split {split!r}: {root} has no annotations of it" for split in SPLITS if split not in splits_of(root)]
    gone = [name for name in (*DENSE_FILES.values(), *WEAK_FILES.values()) if find_file(root, name) is None]
    split_of = {name: split for split, name in WEAK_FILES.items()}
    return [
        f"split {split_of[name]!r}: {root / name}: no such file"
        if name in split_of
        else f"{root / name}: no such file, so there is no ground truth to score against"
        for name in gone
    ]


def has_own_streams(root: Path) -> bool:
    """Whether a data folder says itself where its streams lie, as a packed store and a `streams.yaml` do."""
    return (root / INDEX).exists() or find_file(root, STREAMS_FILE) is not None
