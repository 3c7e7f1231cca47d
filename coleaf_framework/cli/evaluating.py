"""The commands that use trained runs: evaluate, predict, plot and thresholds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coleaf_framework._text import counted, one_line, say
from coleaf_framework.cli.importing import importing
from coleaf_framework.cli.options import (
    CONCLUDING,
    Data,
    Decision,
    DeclarationFile,
    Markdown,
    Run,
    Settings,
    Split,
    Trust,
)

if TYPE_CHECKING:
    from coleaf_framework.experiments.scoring import ScoredRuns
    from coleaf_framework.metrics import Event
    from coleaf_framework.results.given import GivenFiles


_TEXT_FILES = (".json", ".tsv", ".csv", ".txt")  # a path that is not there is a file by its ending, else a run


def evaluate(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="run folders, or user/name[@revision] on the Hugging Face Hub, of which those that differ only in "
            "their seed are averaged; and files of events that others wrote, as docs/scoring.md shows them"
        ),
    ] = None,
    data: Data = None,
    split: Split = "test",
    decision: Decision = None,
    set_: Settings = None,
    trust: Trust = False,
    anchor: DeclarationFile = None,
    markdown: Markdown = False,
    json_: Annotated[Path | None, typer.Option("--json", help="write all scores to this file")] = None,
    audio_events: Annotated[
        list[Path] | None, typer.Option(help="file of audible events, in a form that says no modality (DCASE, LLP)")
    ] = None,
    visual_events: Annotated[
        list[Path] | None, typer.Option(help="file of visible events, by the same parser as --audio-events")
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="what files without a header are: dcase, llp or csv")
    ] = None,
    class_map: Annotated[
        Path | None, typer.Option(help="YAML file, NAME: CLASS, of class names in files that the data do not have")
    ] = None,
    missing_as_empty: Annotated[
        bool, typer.Option("--missing-as-empty", help="count videos that a file does not name as without events")
    ] = False,
    skip_unknown_videos: Annotated[
        bool, typer.Option("--skip-unknown-videos", help="leave out what a file says of videos of no or another split")
    ] = False,
    unseen: Annotated[
        str | None,
        typer.Option(help="unseen classes, with commas between or in a text file: scores over seen and unseen apart"),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            help="of the harmonic mean over seen and unseen classes; support/segment/AV where the data has AV alone",
            show_default=CONCLUDING,
        ),
    ] = None,
) -> None:
    """Score runs, and files of events that others wrote, on a split, beside the two trivial parsers."""
    with importing():
        from coleaf_framework.experiments.scoring import score_runs
        from coleaf_framework.results.given import GivenFiles
        from coleaf_framework.storage import require_place, write_text
        from coleaf_framework.training.distributed import DistributedContext

    if json_ is not None:
        require_place(json_, "--json")
    named = runs or []
    paths = tuple(path for path in named if path.is_file() or (not path.exists() and path.suffix in _TEXT_FILES))
    files = GivenFiles(
        paths, tuple(audio_events or ()), tuple(visual_events or ()), format_, class_map, missing_as_empty,
        skip_unknown_videos,
    )  # fmt: skip
    _require_sense(named, files, data, unseen, column)
    if json_ is not None and json_.resolve() in files.resolved():
        raise ValueError(f"--json {json_}: is one of the files that are scored, which it would replace")
    folders = [path for path in named if path not in paths]
    first = DistributedContext.join().first
    given = files.read()
    for each in given if first else ():
        say(each.read_as, sys.stderr)
    scored = score_runs(
        folders, data, split, tuple(set_ or ()), decision, trust=trust, declaration=anchor,
        given=files.predictions(given, data, split) if data is not None and files else (),
        order=[str(path) for path in named], unseen=unseen, column=column,
    )  # fmt: skip
    if first:
        _show_scores(scored, markdown)
        if json_ is not None:
            write_text(json_, scored.as_json())


def _require_sense(
    named: Sequence[Path], files: GivenFiles, data: Path | None, unseen: str | None, column: str | None
) -> None:
    """Refuse what would do nothing."""
    if not named and not files:
        raise ValueError("name a run folder, or a file of events (--audio-events and --visual-events name some too)")
    if files and data is None:
        raise ValueError("a file of events does not say where the ground truth is: pass --data DIR")
    options = {
        "--format": files.form, "--class-map": files.class_map,
        "--missing-as-empty": files.missing_as_empty, "--skip-unknown-videos": files.skip_unknown,
    }  # fmt: skip
    if not files and (idle := next((name for name, value in options.items() if value), None)):
        raise ValueError(f"{idle} is about files of events, of which none is named")
    if column is not None and unseen is None:
        raise ValueError("--column is that of the harmonic mean over seen and unseen classes: give --unseen too")


def _show_scores(scored: ScoredRuns, markdown: bool) -> None:
    from coleaf_framework.results.interval_table import interval_table
    from coleaf_framework.results.tables import further_table, score_table

    say(score_table(scored.table_rows(), scored.title, scored.deviations(), markdown=markdown))
    if scored.further:
        say("\n" + further_table(scored.further, scored.further_deviations, markdown=markdown))
    say("\n" + interval_table(scored.rows, scored.pairs, scored.predictions.truth_kind, markdown=markdown))
    if scored.open_vocabulary is not None:
        say("\n" + scored.open_vocabulary.table(markdown=markdown))
    for note in scored.notes:
        say(f"NOTE: {note}")


def predict(
    run: Run,
    out: Annotated[Path | None, typer.Option(help="JSON file; predictions-SPLIT.json in the run if left out")] = None,
    data: Data = None,
    split: Split = "test",
    decision: Decision = None,
    set_: Settings = None,
    trust: Trust = False,
    anchor: DeclarationFile = None,
) -> None:
    """Write the events of every video: class, modality, onset, offset, confidence.

    Where the split has ground truth, the run keeps the probabilities too, for `coleaf report`.
    """
    with importing():
        from coleaf_framework.model.coleaf import require_record
        from coleaf_framework.record.hub import find_run
        from coleaf_framework.results.caveats import caveats_of_run
        from coleaf_framework.results.events_file import write_events
        from coleaf_framework.results.predictions_file import write_predictions
        from coleaf_framework.storage import require_place
        from coleaf_framework.training.deciding import use_decision
        from coleaf_framework.training.experiment import caveats_of_data, data_of, load_run, open_split

    if out is not None:
        require_place(out, "--out")
    found = find_run(run)
    if out is None:
        found.require_own("predictions", "pass --out FILE")
    run = found.folder
    config, trainer = load_run(run, tuple(set_ or ()), trust=trust, declaration=anchor)
    where = data_of(run, config, data)
    told = [*use_decision(trainer, run, decision, tuple(set_ or ())), *caveats_of_data(run, where)]
    classes = require_record(trainer.model).model.class_names
    predictions = trainer.predict(open_split(where, split, classes)).with_caveats(told)
    out = out or run / f"predictions-{split}.json"
    if (
        predictions.truth is not None and found.repository is None
    ):  # those that cannot be scored must not replace those that can
        write_predictions(run, predictions)
    predictions = predictions.with_caveats([*found.notes, *caveats_of_run(run, split)])
    for note in predictions.caveats:
        say(f"NOTE: {note}", sys.stderr)
    videos = predictions.events()
    write_events(out, predictions.parser, predictions.data, split, videos, predictions.caveats)
    events = sum(len(video.events) for video in videos)
    say(f"{counted(events, 'event')} in {counted(len(videos), 'video')}; {out}")


def plot(
    predictions: Annotated[list[Path], typer.Argument(help="files that `coleaf predict` wrote")],
    video: Annotated[str, typer.Option(help="id of the video")],
    out: Annotated[Path | None, typer.Option(help="picture; VIDEO.png if left out")] = None,
) -> None:
    """Draw the timeline of a video: ground truth and each parser, audio and visual rows."""
    with importing():
        from coleaf_framework.report.pictures import save, timeline
        from coleaf_framework.results.events_file import read_video_events
        from coleaf_framework.storage import require_place

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


def thresholds(
    run: Run,
    data: Data = None,
    split: Annotated[str, typer.Option(help="train, val, or with --force test")] = "val",
    column: Annotated[
        str | None,
        typer.Option(
            help="what to make high, such as support/event/Type@AVo; event/AV where the data has no V",
            show_default="event/V",
        ),
    ] = None,
    modality: Annotated[str, typer.Option(help="whose gates: audio, visual or both")] = "visual",
    search: Annotated[str, typer.Option(help="coordinate, as published, or joint")] = "coordinate",
    out: Annotated[Path | None, typer.Option(help="file to write; decision.yaml in the run if left out")] = None,
    force: Annotated[bool, typer.Option("--force", help="allow the test split")] = False,
    trust: Trust = False,
    anchor: DeclarationFile = None,
) -> None:
    """Choose gates per class on a validation split, for `evaluate` and `predict` --decision."""
    with importing():
        from coleaf_framework.record.hub import find_run
        from coleaf_framework.results.caveats import caveats_of_run
        from coleaf_framework.results.selection import require_choosable, select_thresholds
        from coleaf_framework.storage import DECISION, WEIGHTS, require_place
        from coleaf_framework.training.experiment import caveats_of_data, data_of, load_run, open_split

    if out is not None:
        require_place(out, "--out")
    require_choosable(split, force=force)
    found = find_run(run)
    if out is None:
        found.require_own("thresholds", "pass --out FILE")
    run = found.folder
    config, trainer = load_run(run, trust=trust, declaration=anchor)
    predictions = trainer.predict(open_split(data_of(run, config, data), split), truth=True)
    whose = ("audio", "visual") if modality == "both" else (modality,)
    selection = select_thresholds(predictions, force=force, column=column, modalities=whose, search=search)
    out = out or run / DECISION
    selection.save(out, run / WEIGHTS)
    table = Table("class", "audio gate", "visual gate")
    for name, *gates in zip(predictions.classes, *selection.chosen.gates.tolist(), strict=True):
        table.add_row(Text(one_line(name)), *(f"{gate:.2f}" for gate in gates))  # a str would be read as markup
    Console().print(table)
    chosen = selection.chosen
    say(f"{selection.about['column']} on {predictions.where}: {chosen.before:.1f} -> {chosen.after:.1f}; {out}")
    for note in (*found.notes, *caveats_of_run(run, split), *caveats_of_data(run, data_of(run, config, data))):
        say(f"NOTE: {note}")
    if selection.about["forced"]:
        say("CHOSEN ON THE TEST SPLIT: scores on it with these thresholds are no test")
