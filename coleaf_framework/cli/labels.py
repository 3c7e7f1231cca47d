"""The commands about pseudo-labels, check-labels and convert-labels, and what `--labels` says to the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coleaf_framework._text import say
from coleaf_framework.cli.importing import importing
from coleaf_framework.cli.options import Labels, Root, Split

if TYPE_CHECKING:
    from coleaf_framework.data.labels import Agreement


def check_labels(
    root: Root,
    labels: Labels = None,
    split: Split = "val",
    json_: Annotated[Path | None, typer.Option("--json", help="write the counts and scores to this file")] = None,
) -> None:
    """Show how far pseudo-labels agree with the ground truth of a split, where it has one, and with its weak labels."""
    with importing():
        from coleaf_framework.data import open_folder
        from coleaf_framework.data.labels import LABELS_FILE, WithPseudoLabels, parse_labels, read_labels_file
        from coleaf_framework.data.labels import check_labels as check
        from coleaf_framework.storage import require_place, to_json, write_text

    if json_ is not None:
        require_place(json_, "--json")
    sources, ratios = parse_labels(labels or ())
    if ratios is not None:
        raise ValueError(f"--labels jomold={ratios}: noise ratios say nothing of single videos")
    if not labels:
        sources = read_labels_file(root / LABELS_FILE)
    found = check(WithPseudoLabels(open_folder(root, split), sources))
    say(_table(found, f"Pseudo-labels of {root} {split}, {found.videos} videos"))
    for line in found.sentences():
        say(line)
    if json_ is not None:
        write_text(json_, to_json(found.as_dict(), indent=1))


def _table(found: Agreement, title: str) -> str:
    from coleaf_framework.results.tables import plain_table

    counts = ["positive", "outside", "weak_videos", "confirmed_videos"]
    heads = ["", "positive segments", "outside weak label", "videos with weak label", "confirmed"]
    truth = found.truth is not None
    if truth:
        counts = [*counts, "true", "correct"]
        heads = [*heads, "true segments", "correct", "precision %", "recall %", "F %"]
    body = []
    for row in found.rows():
        cells = [f"{row['modality']} {row['class']}", *(f"{row[key]:,}" for key in counts)]
        if truth:
            cells += ["-" if row[key] is None else f"{row[key]:.1f}" for key in ("precision", "recall", "f")]
        body.append(cells)
    return plain_table(heads, body, title)


def convert_labels(
    path: Annotated[Path, typer.Argument(help="LSLD's .npz, or MA's need_to_change.pkl")],
    out: Annotated[Path, typer.Option(help="folder to write, which must be new or empty")],
) -> None:
    """Convert label files that hold pickles to plain arrays or JSON; nothing in them is executed."""
    with importing():
        from coleaf_framework.data.labels import convert_labels as convert
        from coleaf_framework.storage import require_place

    require_place(out, "--out", folder=True)
    say(convert(path, out))


def source_settings(texts: Sequence[str] | None) -> list[str]:
    """Settings that `--labels KIND=PATH` stands for, noise ratios aside.

    Raises:
        ValueError: a text is wrong.
    """
    if not texts:
        return []
    with importing():
        from coleaf_framework.data.labels import parse_labels
        from coleaf_framework.record.settings import labels_settings

    return labels_settings(parse_labels(texts)[0])


def ratio_settings(
    texts: Sequence[str] | None,
    anchors: Sequence[str],
    *,
    prefixed: bool = True,
    classes: Callable[[], Sequence[str]] | None = None,
) -> list[str]:
    """Settings that give the noise ratios of `--labels jomold=FILE` to the Anchors that take them.

    Args:
        texts: KIND=PATH each.
        anchors: names of the Anchors that are trained.
        prefixed: whether an Anchor's own setting begins with its name, as in grids.
        classes: gives the data's class names; without it a warning says that the file's are not held to them.

    Raises:
        ValueError: a text or file is wrong; or there are noise ratios, and no Anchor takes them, or they are of other
            classes.
    """
    if not texts:
        return []
    with importing():
        from coleaf_framework.adapters import is_declaration_file
        from coleaf_framework.collaboration import read_noise_ratios
        from coleaf_framework.data.labels import parse_labels
        from coleaf_framework.plugins import takes_option
        from coleaf_framework.protocol import MODALITIES

    path = parse_labels(texts)[1]
    if path is None:
        return []
    option, found = "noise_ratios", read_noise_ratios(path)
    ratios = found.model_dump_json(include=set[str](MODALITIES))
    taking = [name for name in anchors if not is_declaration_file(name) and takes_option("anchor", name, option)]
    if not taking:
        raise ValueError(
            f"--labels jomold={path}: {', '.join(anchors)} takes no noise ratios (an option {option}, as cmpae has)"
        )
    if classes is not None:
        found.require_classes(classes(), f"--labels jomold={path}")
    elif found.classes is not None:
        logging.getLogger(__name__).warning(
            "%s: its classes, %s, are taken for the data's in this order: the option %s of %s has no names to compare",
            path,
            ", ".join(found.classes),
            option,
            ", ".join(taking),
        )
    return [f"{name + ':' if prefixed else ''}anchor.options.{option}={ratios}" for name in taking]
