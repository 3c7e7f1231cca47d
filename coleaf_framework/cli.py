"""The command `coleaf`: parse, call, print."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress as Bar
from rich.table import Table

from coleaf_framework import plugins
from coleaf_framework.data import open_folder
from coleaf_framework.data.check import check_folder
from coleaf_framework.data.writing import write_synthetic_features
from coleaf_framework.demo import run_demo
from coleaf_framework.metrics import Event
from coleaf_framework.protocol import StreamSpec
from coleaf_framework.report.pictures import timeline
from coleaf_framework.report.predictions import read_video, write_predictions
from coleaf_framework.report.tables import score_table
from coleaf_framework.storage import CONFIG, to_json, write_atomically
from coleaf_framework.training.config import RunConfig, load_config
from coleaf_framework.training.experiment import data_of, load_run, open_split
from coleaf_framework.training.experiment import train as train_run
from coleaf_framework.wrapping import describe
from coleaf_framework.wrapping.spelling import find_network, parse_options, parse_streams

app = typer.Typer(help="CoLeaF for audio-visual video parsing.", no_args_is_help=True, pretty_exceptions_enable=False)
console = Console()
_debugging: list[bool] = []

Settings = Annotated[list[str] | None, typer.Option("--set", help="section.key=value, such as trainer.epochs=3")]
Data = Annotated[Path | None, typer.Option(help="folder in LLP's layout; synthetic LLP if left out")]


@app.command()
def train(
    data: Data = None,
    anchor: Annotated[str | None, typer.Option(help="name of an Anchor plugin")] = None,
    reference: Annotated[str | None, typer.Option(help="name of a Reference plugin")] = None,
    out: Annotated[Path | None, typer.Option(help="run folder; named after the run if left out")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file, such as a run's config.yaml")] = None,
    recipe: Annotated[str | None, typer.Option(help="paper, or official: as the authors' code")] = None,
    set_: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in the folder")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the run in the folder")] = False,
) -> None:
    """Train an Anchor inside CoLeaF; alone with --set coleaf.enabled=false."""
    if resume and overwrite:
        raise ValueError("--resume and --overwrite exclude each other")
    given = {
        "recipe": recipe,
        "data.root": data and data.as_posix(),
        "anchor.name": anchor,
        "reference.name": reference,
    }
    settings = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items() if value is not None]
    if resume and config is None and out is not None and (out / CONFIG).is_file():
        config = out / CONFIG
    resolved = load_config(config, [*settings, *(set_ or [])])
    if out is None:
        source = Path(resolved.data.root).resolve().name if resolved.data.root else "synthetic"
        loop = "coleaf" if resolved.coleaf.enabled else "alone"
        out = Path("runs") / f"{source}-{resolved.anchor.name}-{loop}-seed{resolved.trainer.seed}"
    try:
        trainer = train_run(resolved, out, "resume" if resume else "overwrite" if overwrite else "refuse")
    except KeyboardInterrupt:
        print(f"coleaf: interrupted; `coleaf train --resume --out {out}` goes on from the last epoch", file=sys.stderr)
        raise typer.Exit(130) from None
    print(f"{len(trainer.history)} epochs; best weights in {out / 'model.safetensors'}")


@app.command()
def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="run folders; runs that differ only in their seed are averaged")],
    data: Data = None,
    split: Annotated[str, typer.Option(help="train, val or test")] = "test",
    set_: Settings = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="print Markdown")] = False,
    json_: Annotated[Path | None, typer.Option("--json", help="write every run's scores to this file")] = None,
) -> None:
    """Score runs on a split, beside the empty parser and the video-label parser."""
    groups: dict[str, list[tuple[str, str, dict[str, float]]]] = {}
    scored, evaluated = {}, set()
    if len({run.resolve() for run in runs}) < len(runs):
        raise ValueError("a run is named twice")
    for run in runs:
        config, trainer = load_run(run, tuple(set_ or ()))
        where = data_of(run, config, data)
        evaluation = trainer.evaluate(open_split(where, split))
        evaluated.add((evaluation.data, evaluation.videos, str(where.root and Path(where.root).resolve())))
        if len(evaluated) > 1:
            raise ValueError(f"{run}: its data {evaluation.data!r} differ from the other runs': pass --data for all")
        groups.setdefault(_all_but_seed(config), []).append((evaluation.name, run.name, dict(evaluation.scores)))
        scored[str(run)] = dict(evaluation.scores)
    rows, deviations = {}, {}
    for members in groups.values():
        name = members[0][0] + (f" ({len(members)} seeds)" if len(members) > 1 else "")
        if sum(other[0][0] == members[0][0] for other in groups.values()) > 1:
            name += f" {members[0][1]}"  # the same network, trained in another way
        columns = members[0][2]
        rows[name] = {c: float(np.mean([scores[c] for *_, scores in members])) for c in columns}
        if len(members) > 1:
            deviations[name] = {c: float(np.std([scores[c] for *_, scores in members], ddof=1)) for c in columns}
    rows |= {name: dict(scores) for name, scores in list(evaluation.rows().items())[1:]}
    title = f"{evaluation.data}, {evaluation.videos} videos, F-scores in percent"
    if deviations:
        title += ", mean ± standard deviation over seeds"
    print(score_table(rows, title, deviations, markdown=markdown))
    if json_ is not None:
        text = to_json(scored, indent=1)
        write_atomically(json_, lambda file: file.write_text(text, encoding="utf-8"))


def _all_but_seed(config: RunConfig) -> str:
    """What two runs have in common that differ in their seed alone, wherever they ran."""
    content = config.model_dump(mode="json", exclude={"data": {"cache"}})
    content["data"]["root"] = config.data.root and str(Path(config.data.root).resolve())
    for key in ("seed", "device", "workers", "tensorboard"):
        del content["trainer"][key]
    return json.dumps(content)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="run folder")],
    out: Annotated[Path, typer.Option(help="JSON file to write")],
    data: Data = None,
    split: Annotated[str, typer.Option(help="train, val or test")] = "test",
    set_: Settings = None,
) -> None:
    """Write the events of every video: class, modality, onset, offset, confidence."""
    config, trainer = load_run(run, tuple(set_ or ()))
    where = data_of(run, config, data)
    videos = open_split(where, split)
    predictions = trainer.predict(videos)
    write_predictions(out, trainer.name, videos.name, split, predictions)
    events = sum(len(video.events) for video in predictions)
    print(f"{events} events in {len(predictions)} videos; {out}")


@app.command()
def plot(
    predictions: Annotated[list[Path], typer.Argument(help="files that `coleaf predict` wrote")],
    video: Annotated[str, typer.Option(help="id of the video")],
    out: Annotated[Path | None, typer.Option(help="picture; VIDEO.png if left out")] = None,
) -> None:
    """Draw the timeline of a video: ground truth and each parser, audio and visual rows."""
    out = out or Path(f"{video}.png")
    rows: dict[str, list[Event]] = {}
    for path in predictions:
        parser, found = read_video(path, video)
        if found.ground_truth is not None:
            rows.setdefault("ground truth", found.ground_truth)
        rows[parser if parser not in rows else f"{parser} ({path})"] = found.events
    timeline(rows, found.seconds, video, out)
    print(out)


@app.command()
def synth(
    annotations: Annotated[Path, typer.Option(help="folder with LLP's published TSV files")],
    out: Annotated[Path, typer.Option(help="folder to write")],
    limit: Annotated[int | None, typer.Option(min=1, help="at most so many videos of each split")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Write synthetic features for real annotations, in LLP's official layout."""
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("writing features")
        counts = write_synthetic_features(
            annotations,
            out,
            limit=limit,
            seed=seed,
            done=lambda written, total: bar.update(task, completed=written, total=total),
        )
    print(f"{out}: synthetic features of {counts}")


@app.command("check-data")
def check_data(root: Annotated[Path, typer.Argument(help="folder in LLP's layout")]) -> None:
    """Say what a data folder holds, what is missing and what is odd, reading every file."""
    kinds = []
    for kind, line in check_folder(root):
        kinds.append(kind)
        print(f"{kind + ':':9}{line}")
    if "missing" in kinds:
        raise typer.Exit(1)


@app.command()
def inspect(
    network: Annotated[str, typer.Argument(help="module:Class of a network, or the name of an Anchor plugin")],
    data: Annotated[Path | None, typer.Option(help="folder in LLP's layout that says streams and classes")] = None,
    stream: Annotated[list[str] | None, typer.Option(help="NAME=WIDTH or NAME=WIDTHxFRAMES; LLP's if left out")] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="number of classes")] = None,
    option: Annotated[list[str] | None, typer.Option(help="key=value for the network's constructor")] = None,
    follow_device: Annotated[bool, typer.Option("--follow-device", help="for networks that call .cuda()")] = False,
) -> None:
    """Run a network once and say what it takes and returns, what to tap, and how to wrap it."""
    streams: Mapping[str, StreamSpec] | None = parse_streams(stream) if stream else None
    if data is not None:
        if streams is not None or classes is not None:
            raise ValueError("--data says streams and classes: leave out --stream and --classes")
        split = open_folder(data, "train")
        streams, classes = split.streams, len(split.classes)
    print(
        describe(
            find_network(network),
            streams=streams,
            num_classes=classes,
            follow_device=follow_device,
            anchor_options=parse_options(option or ()),
        )
    )


@app.command("plugins")
def list_plugins() -> None:
    """List Anchors and References, with the distribution that each comes from."""
    table = Table("kind", "name", "target", "distribution", "state")
    for kind in plugins.GROUPS:
        for plugin in plugins.list_plugins(kind):
            table.add_row(kind, plugin.name, plugin.target, plugin.distribution, plugin.error or "works")
    console.print(table)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder to write; replaced if it holds a demo")] = Path("runs/demo"),
) -> None:
    """Train HAN alone and inside CoLeaF on a small synthetic LLP, and show what came of it."""
    print(run_demo(out))


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="show where an error comes from")] = False) -> None:
    """CoLeaF for audio-visual video parsing."""
    _debugging.append(debug)


def main() -> None:
    """Run the command line; a user's mistake ends in one sentence and exit code 1."""
    logging.basicConfig(format="%(levelname)s: %(message)s")
    try:
        app()
    except Exception as problem:
        if any(_debugging):
            raise
        expected = isinstance(problem, ValueError | OSError | ImportError | FloatingPointError)
        if not expected:  # a fault in somebody's code rather than a user's mistake
            print("(`coleaf --debug ...` shows where this came from)", file=sys.stderr)
        print(f"coleaf: {problem}" if expected else f"coleaf: {type(problem).__name__}: {problem}", file=sys.stderr)
        sys.exit(1)
