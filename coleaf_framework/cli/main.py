"""The command `coleaf`: parse, call, print."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from coleaf_framework import plugins
from coleaf_framework._config import out_of_memory
from coleaf_framework._text import end_interrupted, log_to_stderr, one_line, say
from coleaf_framework.cli import experiments
from coleaf_framework.cli.demo import run_demo
from coleaf_framework.cli.parsing import find_network, parse_options, parse_streams
from coleaf_framework.data import open_folder
from coleaf_framework.data import pack as pack_folder
from coleaf_framework.data.check import check_folder
from coleaf_framework.data.writing import write_synthetic_features
from coleaf_framework.experiments.scoring import score_runs, use_decision
from coleaf_framework.metrics import Event
from coleaf_framework.protocol import StreamSpec
from coleaf_framework.record.settings import as_setting, load_config
from coleaf_framework.report.pictures import save, timeline
from coleaf_framework.results.caveats import caveats_of_run
from coleaf_framework.results.events_file import read_video_events, write_events
from coleaf_framework.results.predictions_file import write_predictions
from coleaf_framework.results.selection import require_choosable, select_thresholds
from coleaf_framework.results.tables import score_table
from coleaf_framework.storage import CONFIG, WEIGHTS, require_place, to_json, write_text
from coleaf_framework.training.distributed import DistributedContext, lost_contact
from coleaf_framework.training.experiment import caveats_of_data, data_of, load_run, open_split
from coleaf_framework.training.experiment import train as train_run
from coleaf_framework.training.importing import import_run
from coleaf_framework.training.interrupts import end_undisturbed
from coleaf_framework.training.run_folder import DECISION, OnExisting
from coleaf_framework.wrapping import describe


class _Commands(TyperGroup):
    """Tells what Ctrl-C stopped in a sentence, before Typer ends without one."""

    def invoke(self, context: Any) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt as stopped:
            end_interrupted(stopped)


app = typer.Typer(
    help="CoLeaF for audio-visual video parsing.", cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False
)
console = Console()
_debugging: list[bool] = []

Settings = Annotated[list[str] | None, typer.Option("--set", help="section.key=value, such as trainer.epochs=3")]
Decision = Annotated[Path | None, typer.Option(help="thresholds that `coleaf thresholds` wrote")]
Trust = Annotated[bool, typer.Option("--trust", help="import code that a run or file names and that is no plugin")]
Data = Annotated[Path | None, typer.Option(help="folder in LLP's layout; synthetic LLP if left out")]


@app.command()
def train(
    data: Data = None,
    anchor: Annotated[str | None, typer.Option(help="name of an Anchor plugin, or module:Class")] = None,
    reference: Annotated[str | None, typer.Option(help="name of a Reference plugin")] = None,
    out: Annotated[Path | None, typer.Option(help="run folder; named after the run if left out")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file, such as a run's config.yaml")] = None,
    recipe: Annotated[str | None, typer.Option(help="paper, official (as the authors' code) or strong")] = None,
    set_: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in the folder")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the run in the folder")] = False,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="resume though code or data have changed; scores then say so")
    ] = False,
    trust: Trust = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="print where a step's time goes; trace in the run")
    ] = False,
) -> None:
    """Train an Anchor inside CoLeaF; alone with --set coleaf.enabled=false.

    On many GPUs: torchrun --nproc-per-node N -m coleaf_framework train ...
    """
    if out is not None:
        require_place(out, "--out", folder=True)
    if resume and overwrite:
        raise ValueError("--resume and --overwrite exclude each other")
    if resume and out is None:
        raise ValueError("--resume needs --out, the folder of the run to go on with")
    given: dict[str, str | None] = {
        "recipe": recipe,
        "data.root": data.as_posix() if data is not None else None,
        "anchor.name": anchor,
        "reference.name": reference,
    }
    settings = [as_setting(key, value) for key, value in given.items() if value is not None]
    if resume and config is None and out is not None and (out / CONFIG).is_file():
        config = out / CONFIG
    resolved = load_config(config, [*settings, *(set_ or [])], trust=trust)
    if out is None:
        source = Path(resolved.data.root).resolve().name if resolved.data.root else "synthetic"
        loop = "coleaf" if resolved.coleaf.enabled else "alone"
        name = (resolved.anchor.name or "").replace(":", ".")
        out = Path("runs") / f"{source}-{name}-{loop}-seed{resolved.trainer.seed}"
    existing: OnExisting = "resume" if resume else "overwrite" if overwrite else "refuse"
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # while it reads data, before training listens to both
    try:
        trainer = train_run(resolved, out, existing, profile=profile, accept_changes=accept_changes)
    except KeyboardInterrupt as stopped:
        end_undisturbed()
        raise KeyboardInterrupt(str(stopped) or "nothing of the step under way was saved") from None
    if not trainer.distributed.first:
        return
    say(f"{len(trainer.history)} epochs; best weights in {out / 'model.safetensors'}")


@app.command()
def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="run folders; runs that differ only in their seed are averaged")],
    data: Data = None,
    split: Annotated[str, typer.Option(help="train, val or test")] = "test",
    decision: Decision = None,
    set_: Settings = None,
    trust: Trust = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="print Markdown")] = False,
    json_: Annotated[Path | None, typer.Option("--json", help="write every run's scores to this file")] = None,
) -> None:
    """Score runs on a split, beside the empty parser and the video-label parser."""
    if json_ is not None:
        require_place(json_, "--json")
    scored = score_runs(runs, data, split, tuple(set_ or ()), decision, trust=trust)
    if not DistributedContext.join().first:
        return
    say(score_table(scored.rows, scored.title, scored.deviations, markdown=markdown))
    for note in scored.notes:
        say(f"NOTE: {note}")
    if json_ is not None:
        write_text(json_, to_json({"runs": scored.by_run, "notes": scored.notes}, indent=1))


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="run folder")],
    out: Annotated[Path | None, typer.Option(help="JSON file; predictions-SPLIT.json in the run if left out")] = None,
    data: Data = None,
    split: Annotated[str, typer.Option(help="train, val or test")] = "test",
    decision: Decision = None,
    set_: Settings = None,
    trust: Trust = False,
) -> None:
    """Write the events of every video: class, modality, onset, offset, confidence.

    The run keeps the probabilities too, for `coleaf report`.
    """
    if out is not None:
        require_place(out, "--out")
    config, trainer = load_run(run, tuple(set_ or ()), trust=trust)
    where = data_of(run, config, data)
    told = [*use_decision(trainer, run, decision, tuple(set_ or ())), *caveats_of_data(run, where)]
    predictions = trainer.predict(open_split(where, split)).with_caveats(told)
    out = out or run / f"predictions-{split}.json"
    write_predictions(run, predictions)
    predictions = predictions.with_caveats(caveats_of_run(run, split))
    for note in predictions.caveats:
        say(f"NOTE: {note}", sys.stderr)
    videos = predictions.events()
    write_events(out, predictions.parser, predictions.data, split, videos, predictions.caveats)
    say(f"{sum(len(video.events) for video in videos)} events in {len(videos)} videos; {out}")


@app.command()
def plot(
    predictions: Annotated[list[Path], typer.Argument(help="files that `coleaf predict` wrote")],
    video: Annotated[str, typer.Option(help="id of the video")],
    out: Annotated[Path | None, typer.Option(help="picture; VIDEO.png if left out")] = None,
) -> None:
    """Draw the timeline of a video: ground truth and each parser, audio and visual rows."""
    out = out or Path(f"{video}.png")
    require_place(out, "--out")
    rows: dict[str, list[Event]] = {}
    for path in predictions:
        parser, found = read_video_events(path, video)
        if found.ground_truth is not None:
            rows.setdefault("ground truth", found.ground_truth)
        rows[parser if parser not in rows else f"{parser} ({path})"] = found.events
    save(timeline(rows, found.seconds, video), out)
    say(f"{out}")


@app.command()
def synth(
    annotations: Annotated[Path, typer.Option(help="folder with LLP's published TSV files")],
    out: Annotated[Path, typer.Option(help="folder to write")],
    limit: Annotated[int | None, typer.Option(min=1, help="at most so many videos of each split")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Write synthetic features for real annotations, in LLP's official layout."""
    require_place(out, "--out", folder=True)
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("writing features")
        counts = write_synthetic_features(
            annotations,
            out,
            limit=limit,
            seed=seed,
            done=lambda written, total: bar.update(task, completed=written, total=total),
        )
    say(f"{out}: synthetic features of {counts}")


@app.command()
def pack(
    root: Annotated[Path, typer.Argument(help="folder in LLP's layout")],
    out: Annotated[Path, typer.Option(help="folder of the store; that of an interrupted packing goes on")],
    average_frames: Annotated[
        bool, typer.Option("--average-frames", help="store the mean of each segment's frames (not for cmpae)")
    ] = False,
    dtype: Annotated[str, typer.Option(help="float16, bfloat16 or float32")] = "float16",
    jobs: Annotated[int | None, typer.Option(min=1, help="threads; one per core if left out")] = None,
) -> None:
    """Pack features into few files with checksums, which train and evaluate read like a folder."""
    require_place(out, "--out", folder=True)
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("packing videos")
        counts = pack_folder(
            root,
            out,
            average_frames=average_frames,
            dtype=dtype,
            jobs=jobs,
            done=lambda packed, total: bar.update(task, completed=packed, total=total),
        )
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    say(f"{out}: {counts}, {size / 1e6:.1f} MB, {dtype}" + (", frames averaged" if average_frames else ""))


@app.command("check-data")
def check_data(root: Annotated[Path, typer.Argument(help="folder in LLP's layout")]) -> None:
    """Say what a data folder holds, what is missing, broken and odd, reading every file.

    Ends with exit code 1 where something missing or broken would stop training or scoring.
    """
    kinds = []
    for kind, line in check_folder(root):
        kinds.append(kind)
        say(f"{kind + ':':9}{line}")
    if {"missing", "broken"} & set(kinds):
        raise typer.Exit(1)


@app.command()
def thresholds(
    run: Annotated[Path, typer.Argument(help="run folder")],
    data: Data = None,
    split: Annotated[str, typer.Option(help="train, val, or with --force test")] = "val",
    column: Annotated[str, typer.Option(help="what to make high, such as support/event/Type@AVo")] = "event/V",
    modality: Annotated[str, typer.Option(help="whose gates: audio, visual or both")] = "visual",
    search: Annotated[str, typer.Option(help="coordinate, as published, or joint")] = "coordinate",
    out: Annotated[Path | None, typer.Option(help="file to write; decision.yaml in the run if left out")] = None,
    force: Annotated[bool, typer.Option("--force", help="allow the test split")] = False,
    trust: Trust = False,
) -> None:
    """Choose gates per class on a validation split, for `evaluate` and `predict` --decision."""
    if out is not None:
        require_place(out, "--out")
    require_choosable(split, force=force)
    config, trainer = load_run(run, trust=trust)
    predictions = trainer.predict(open_split(data_of(run, config, data), split), truth=True)
    whose = ("audio", "visual") if modality == "both" else (modality,)
    selection = select_thresholds(predictions, force=force, column=column, modalities=whose, search=search)
    out = out or run / DECISION
    selection.save(out, run / WEIGHTS)
    table = Table("class", "audio gate", "visual gate")
    for name, *gates in zip(predictions.classes, *selection.chosen.gates.tolist(), strict=True):
        table.add_row(Text(one_line(name)), *(f"{gate:.2f}" for gate in gates))  # a str would be read as markup
    console.print(table)
    say(f"{column} on {predictions.data} {split}: {selection.chosen.before:.1f} -> {selection.chosen.after:.1f}; {out}")
    for note in (*caveats_of_run(run, split), *caveats_of_data(run, data_of(run, config, data))):
        say(f"NOTE: {note}")
    if selection.about["forced"]:
        say("CHOSEN ON THE TEST SPLIT: scores on it with these thresholds are no test")


@app.command("import")
def import_(
    checkpoint: Annotated[Path, typer.Argument(help=".pt file of a published network")],
    as_: Annotated[str, typer.Option("--as", help="name of the Anchor plugin: han, cmpae")],
    out: Annotated[Path, typer.Option(help="run folder to write")],
    data: Annotated[Path | None, typer.Option(help="folder whose streams and classes it was made for; LLP's")] = None,
    option: Annotated[list[str] | None, typer.Option(help="key=value for its constructor, as num_classes=16")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the run in the folder")] = False,
) -> None:
    """Make a run folder of a published checkpoint, for `evaluate` and `predict`."""
    require_place(out, "--out", folder=True)
    options = parse_options(option or ())
    classes = None
    if data is not None:
        split = open_folder(data, "val")
        classes = split.classes
        options |= {"streams": split.streams, "num_classes": len(classes)}
    network = import_run(checkpoint, as_, out, "overwrite" if overwrite else "refuse", classes=classes, **options)
    say(f"{type(network).__name__} with {sum(x.numel() for x in network.parameters()):,} parameters; {out}")


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
    found = describe(
        find_network(network),
        streams=streams,
        num_classes=classes,
        follow_device=follow_device,
        anchor_options=parse_options(option or ()),
    )
    say(f"{found}")


@app.command("plugins")
def list_plugins() -> None:
    """List Anchors and References, with the distribution that each comes from."""
    table = Table("kind", "name", "target", "distribution", "state")
    for kind in plugins.GROUPS:
        for plugin in plugins.list_plugins(kind):
            cells = (kind, plugin.name, plugin.target, plugin.distribution, plugin.error or "works")
            table.add_row(*(Text(one_line(cell)) for cell in cells))
    console.print(table)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder to write; replaced if it holds a demo")] = Path("runs/demo"),
    data: Annotated[Path | None, typer.Option(help="folder in LLP's layout, such as examples/tuxav_mini")] = None,
) -> None:
    """Train HAN alone and inside CoLeaF and show what came of it; on a small synthetic LLP without --data."""
    require_place(out, "--out", folder=True)
    say(run_demo(out, data))


for command in (experiments.compare, experiments.ablate, experiments.rates, experiments.flops, experiments.report):
    app.command()(command)


@app.callback()
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="show where an error comes from")] = False,
) -> None:
    """CoLeaF for audio-visual video parsing."""
    _debugging.append(debug)
    if context.invoked_subcommand not in ("train", "evaluate") and DistributedContext.join().size > 1:
        raise ValueError(
            f"coleaf {context.invoked_subcommand} is one process's work: only train and evaluate divide theirs"
        )


def _sentence(problem: Exception) -> str:
    """An error's text; those of the system are put as the others are, the file first."""
    if isinstance(problem, OSError) and problem.errno is not None:
        return f"{problem.filename}: {problem.strerror}" if problem.filename is not None else str(problem.strerror)
    return str(problem)


def main() -> None:
    """Run the command line; a user's mistake ends in one sentence and exit code 1."""
    log_to_stderr()
    try:
        app()
    except Exception as problem:
        if any(_debugging):
            raise
        if lost_contact(problem):
            problem = ConnectionError("stopped, since another rank has gone, whose own message tells why")
        if out_of_memory(problem):
            text = str(problem).splitlines()[0]
            problem = OSError(
                f"there is not enough memory for this: {text}; a smaller network, a smaller trainer.batch_size, or a "
                "larger trainer.accumulate takes less"
            )
        expected = isinstance(problem, ValueError | OSError | ImportError | FloatingPointError)
        said = _sentence(problem)
        if not expected:  # a fault in somebody's code rather than a user's mistake
            said = said.partition("\n")[0]  # torch goes on with addresses of its own code
            say("(`coleaf --debug ...` shows where this came from)", sys.stderr)
        advice = ": raise the limit, as by `ulimit -n 4096`" if os.strerror(errno.EMFILE) in said else ""
        kind = "" if expected else f"{type(problem).__name__}: "
        say(f"coleaf: {kind}{said}{advice}", sys.stderr)
        sys.exit(1)
