"""The commands that make labels: pseudo-label, remove-labels and noise-ratios."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from coleaf_framework._text import one_line, say
from coleaf_framework.cli.importing import importing
from coleaf_framework.cli.options import Data, DeclarationFile, Root, Run, Trust


def pseudo_label(
    root: Root,
    teacher: Annotated[str, typer.Option(help="clip (visual), clap (audio) or embeddings")],
    out: Annotated[Path, typer.Option(help="folder to write; both modalities may go into the same")],
    split: Annotated[
        list[str] | None, typer.Option(help="train, val or test; may be repeated; train if left out")
    ] = None,
    modality: Annotated[str | None, typer.Option(help="audio or visual; of embeddings")] = None,
    embeddings: Annotated[
        str | None, typer.Option(help="folder of <id>.npy (T,E), or stream:NAME of the data; of embeddings")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help=".npy (C,E), or centroids of the training split by weak labels; of embeddings")
    ] = None,
    scale: Annotated[float | None, typer.Option(help="factor of the cosines, 1 if left out; of embeddings")] = None,
    frames: Annotated[Path | None, typer.Option(help="folder of <id>/*.jpg; of clip")] = None,
    audio: Annotated[Path | None, typer.Option(help="folder of <id>.wav; of clap")] = None,
    model: Annotated[str | None, typer.Option(help="name or folder of the model; of clip and clap")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or auto; of clip and clap; cpu if left out")] = None,
    prompts: Annotated[Path | None, typer.Option(help="YAML or .tsv, class to prompt; of clip and clap")] = None,
    thresholds: Annotated[
        str | None,
        typer.Option(help="YAML or .tsv, class to threshold; valor; or choose, by the truth of the validation split"),
    ] = None,
    positive_share: Annotated[
        float | None, typer.Option(help="thresholds without truth: share of positive segments where the label is")
    ] = None,
    false_positive_rate: Annotated[
        float | None, typer.Option(help="thresholds without truth: share of positive segments where the label is not")
    ] = None,
) -> None:
    """Write hard labels of segments, made by a teacher within the weak labels (VALOR's rule)."""
    with importing():
        from coleaf_framework.data import open_folder
        from coleaf_framework.labelling import making
        from coleaf_framework.labelling.choosing import Request, make_teacher, resolve_thresholds
        from coleaf_framework.storage import require_place

    request = Request(
        teacher, modality, embeddings, text, scale, frames, audio, model, device, prompts, thresholds,
        positive_share, false_positive_rate,
    )  # fmt: skip
    require_place(out, "--out", folder=True)
    making.require_new(out, request.sees)
    opened = functools.cache(lambda name: open_folder(root, name))
    splits = [opened(name) for name in dict.fromkeys(split or ["train"])]
    classes = splits[0].classes
    judge, about, told = make_teacher(request, opened, splits[0])
    judged = functools.cache(lambda name: making.judge(opened(name), judge, _shown(f"{teacher}, {name}")))
    chosen = resolve_thresholds(request, judged, classes)
    for note in (*told, f"thresholds: {chosen.told}"):
        say(note)
    shares = making.write_pseudo_labels(out, [judged(data.split) for data in splits], judge, chosen, about)
    table = Table("class", "threshold", "positive segments within the weak label")
    for name, threshold, share in zip(classes, chosen.values.tolist(), shares.tolist(), strict=True):
        table.add_row(Text(one_line(name)), f"{threshold:.4g}", "no video" if share != share else f"{share:.1%}")
    Console().print(table)
    counts = ", ".join(f"{len(data)} {data.split}" for data in splits)
    say(f"{out}: {request.sees} labels of {counts} videos")


def _shown(doing: str) -> Callable[[Sequence[int]], Iterable[int]]:
    return lambda videos: track(videos, doing, console=Console(stderr=True), transient=True)


def remove_labels(
    run: Run,
    out: Annotated[Path, typer.Option(help="JSON file to write")],
    method: Annotated[str, typer.Option(help="ma: exchanged tracks (Wu and Yang, CVPR 2021)")] = "ma",
    data: Data = None,
    seed: Annotated[int, typer.Option(min=0, help="of the videos whose tracks are exchanged")] = 0,
    trust: Trust = False,
    anchor: DeclarationFile = None,
) -> None:
    """List the training labels that a trained run finds wrong in a modality."""
    with importing():
        from coleaf_framework.labelling.exchange import remove_labels as remove
        from coleaf_framework.record.hub import find_run
        from coleaf_framework.storage import require_place
        from coleaf_framework.training.experiment import data_of, load_run, open_split

    if method != "ma":
        raise ValueError(f"--method {method}: expected ma")
    require_place(out, "--out")
    found = find_run(run)
    run = found.folder
    config, trainer = load_run(run, trust=trust, declaration=anchor)
    say(remove(trainer, run, open_split(data_of(run, config, data), "train"), out, seed))
    for note in found.notes:
        say(f"NOTE: {note}")


def noise_ratios(
    run: Run,
    out: Annotated[Path, typer.Option(help="NPZ file to write, for coleaf.noise_ratios")],
    data: Data = None,
    trust: Trust = False,
    anchor: DeclarationFile = None,
) -> None:
    """Estimate how many training labels are wrong in a modality, by a trained run (JoMoLD)."""
    with importing():
        from coleaf_framework.collaboration import write_noise_ratios
        from coleaf_framework.labelling.noise import estimate_noise_ratios
        from coleaf_framework.record.hub import find_run
        from coleaf_framework.storage import require_place
        from coleaf_framework.training.experiment import data_of, load_run, open_split

    require_place(out, "--out")
    found = find_run(run)
    run = found.folder
    config, trainer = load_run(run, trust=trust, declaration=anchor)
    train = open_split(data_of(run, config, data), "train")
    ratios = estimate_noise_ratios(trainer, train)
    write_noise_ratios(out, ratios, train.classes)
    table = Table("class", "audio", "visual")
    for name, *shares in zip(train.classes, *ratios.tolist(), strict=True):
        table.add_row(Text(one_line(name)), *(f"{share:.3f}" for share in shares))
    Console().print(table)
    say(f"{out}: shares of wrong labels among those of {len(train)} videos of {train.name}")
    for note in found.notes:
        say(f"NOTE: {note}")
