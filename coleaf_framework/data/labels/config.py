"""Which pseudo-labels a training reads: the section `labels` of a run's configuration, and files `labels.yaml`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field

from coleaf_framework._config import StrictConfig, nearest, shown, validated
from coleaf_framework.storage import read_yaml

Kind = Literal["valor", "npy", "lsld", "ma"]
KINDS: tuple[str, ...] = get_args(Kind)
RATIOS = "jomold"
"""Not a kind of labels: noise ratios, an option of Anchors that denoise labels."""
LABELS_FILE = "labels.yaml"
# Keys of a labels.yaml that say how labels were made, of both modalities or of one, and change nothing.
_RECORDS = ("about", "audio", "visual")


class SourceConfig(StrictConfig):
    """One source of pseudo-labels."""

    kind: Kind = Field(description="valor, npy, lsld or ma (docs/labels.md)")
    path: str = Field(description="its folder, or file of removals")
    intersect: bool = Field(False, description="labels outside the weak label become 0; of kinds npy and lsld")
    partial: bool = Field(
        False, description="labels of some of the training videos alone, or of videos in no split, are accepted"
    )
    classes: tuple[str, ...] | None = Field(
        None, description="names of the classes in the order of the files, which must be the data set's"
    )


class LabelsConfig(StrictConfig):
    """The pseudo-labels of the training split."""

    sources: tuple[SourceConfig, ...] = Field(
        (),
        description="mappings with kind (valor, npy, lsld, ma), path, intersect (labels outside the weak label become "
        "0), partial (videos may lack labels) and classes (names in the order of the files); where several say "
        "something of a segment, the first wins. `--labels KIND=PATH` sets it; where it is not set, a file labels.yaml "
        "in data.root does",
    )

    @property
    def of_segments(self) -> bool:
        """Whether a source has labels of segments; those of kind ma are of modalities."""
        return any(source.kind != "ma" for source in self.sources)

    def with_absolute_paths(self) -> LabelsConfig:
        """The same with absolute paths."""
        return LabelsConfig(sources=tuple(_absolute(source, Path()) for source in self.sources))


def _absolute(source: SourceConfig, folder: Path) -> SourceConfig:
    return source.model_copy(update={"path": (folder / source.path).resolve().as_posix()})


def parse_labels(texts: Iterable[str]) -> tuple[LabelsConfig, Path | None]:
    """The sources that `--labels KIND=PATH` names, and the file of JoMoLD's noise ratios if one is among them.

    A folder may say more of itself in a `labels.yaml`, such as `intersect: true`.

    Raises:
        ValueError: A text has another form or names no kind, or its folder's labels.yaml says another kind.

    Example:
        >>> labels, ratios = parse_labels(["npy=my_labels"])
        >>> labels.sources[0].kind, ratios
        ('npy', None)
    """
    sources, ratios = [], None
    for text in texts:
        kind, equals, path = text.partition("=")
        if not equals or not path or kind not in (*KINDS, RATIOS):
            known = (*KINDS, RATIOS)
            raise ValueError(f"--labels {text!r}: expected KIND=PATH.{nearest(kind, known)} Kinds: {', '.join(known)}")
        if kind == RATIOS:
            if ratios is not None:
                raise ValueError(f"--labels {text!r}: the second file of noise ratios; one is read")
            ratios = Path(path)
            continue
        source = SourceConfig.model_validate({"kind": kind, "path": path})
        described = Path(path) / LABELS_FILE
        if described.is_file():
            found = read_labels_file(described).sources
            if len(found) > 1:
                raise ValueError(
                    f"--labels {text!r}: {described} names {len(found)} sources: pass each by --labels KIND=PATH"
                )
            own = found[0]
            if own.kind != kind:
                raise ValueError(f"--labels {text!r}: {described} says that its labels are of kind {own.kind}")
            source = own
        sources.append(_absolute(source, Path()))
    return LabelsConfig(sources=tuple(sources)), ratios


def read_labels_file(path: Path) -> LabelsConfig:
    """The sources that a `labels.yaml` names: one (`kind`, and `path` if it is not the file's folder), or `sources`.

    Paths are relative to the file. Keys `about`, `audio` and `visual` may hold anything, such as how the
    labels were made.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds something else; names the file and the key.
    """
    values: dict[str, Any] = {key: value for key, value in read_yaml(path).items() if key not in _RECORDS}
    if "sources" in values:
        config = validated(LabelsConfig, values, path)
    elif values.get("kind") == RATIOS:
        raise ValueError(
            f"{path}: kind: {RATIOS} holds noise ratios and no labels; pass them by --labels {RATIOS}=FILE, or as the "
            "Anchor's option noise_ratios"
        )
    else:
        config = LabelsConfig(sources=(validated(SourceConfig, {"path": ".", **values}, path),))
    if not config.sources:
        raise ValueError(f"{path}: names no source: {shown(values)}")
    return LabelsConfig(sources=tuple(_absolute(source, path.parent) for source in config.sources))
