"""The commands that compare: grids of runs, rates, costs and the report."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from coleaf_framework._text import say
from coleaf_framework.data import LLP_CLASSES, open_folder
from coleaf_framework.experiments.comparing import compare_groups, gather
from coleaf_framework.experiments.costs import measure_costs
from coleaf_framework.experiments.grid import Grid, Study
from coleaf_framework.experiments.planning import OnChange, plan_grid, require_unchanged
from coleaf_framework.experiments.running import run_grid
from coleaf_framework.experiments.studies import RATES, ablation_table, compare_study, own_ablation
from coleaf_framework.experiments.type_rates import rates_table, types_of_grid
from coleaf_framework.protocol import LLP_STREAMS
from coleaf_framework.record.settings import as_setting, load_config
from coleaf_framework.report.runs import Report
from coleaf_framework.results.comparison import PRIMARY, require_column
from coleaf_framework.storage import read_yaml, require_place, to_json, write_text
from coleaf_framework.training.interrupts import end_undisturbed

Anchors = Annotated[str, typer.Option(help="names of Anchor plugins or module:Class, with commas between")]
Data = Annotated[Path | None, typer.Option(help="folder in LLP's layout; synthetic LLP if left out")]
Seeds = Annotated[int, typer.Option(min=1, max=1000, help="runs of each kind, from seed 0 on")]
Out = Annotated[Path, typer.Option(help="folder of the runs; those that it holds already are used")]
Split = Annotated[str, typer.Option(help="split to score, with ground truth: val or test")]
Config = Annotated[Path | None, typer.Option(help="YAML file for every run")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="section.key=value for every run; ANCHOR:section.key=value for one")
]
Jobs = Annotated[int, typer.Option(min=1, help="runs at a time, which share the cores")]
Rerun = Annotated[bool, typer.Option("--rerun", help="train runs anew that are of other code or data than now")]
Accept = Annotated[
    bool, typer.Option("--accept-changes", help="keep runs that are of other code or data than now, with a note")
]
Column = Annotated[str, typer.Option(help="column of the concluding sentence")]
Markdown = Annotated[bool, typer.Option("--markdown", help="print Markdown")]


def compare(
    anchors: Anchors = "han,cmpae",
    data: Data = None,
    seeds: Seeds = 5,
    out: Out = Path("runs/compare"),
    split: Split = "test",
    config: Config = None,
    set_: Settings = None,
    jobs: Jobs = 1,
    rerun: Rerun = False,
    accept_changes: Accept = False,
    column: Column = PRIMARY,
    markdown: Markdown = False,
    recipes: Annotated[str, typer.Option(help="paper, official, strong, with commas between")] = "paper",
) -> None:
    """Train every Anchor alone and in CoLeaF, and say whether that helped (Table 5)."""
    require_column(column)
    told = next((text for text in set_ or () if text.partition("=")[0].rpartition(":")[2] == "recipe"), None)
    if told is not None or (config is not None and read_yaml(config).get("recipe", "paper") != "paper"):
        where = f"--set {told!r}" if told is not None else f"--config {config}"
        raise ValueError(f"{where}: names a recipe; a comparison is told its recipes by --recipes")
    study = compare_study([name.strip() for name in recipes.split(",") if name.strip()])
    grid = _grid(study, anchors, data, seeds, out, split, config, set_, jobs, _on_change(rerun, accept_changes))
    _show_comparison(grid, column, markdown)


def ablate(
    table: Annotated[int | None, typer.Option(help="of the paper: 2, 3 or 4")] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help='instead of a table, a way to train: "NAME: section.key=value, ..."')
    ] = None,
    anchors: Anchors = "cmpae",
    data: Data = None,
    seeds: Seeds = 5,
    out: Out = Path("runs/compare"),
    split: Split = "test",
    config: Config = None,
    set_: Settings = None,
    jobs: Jobs = 1,
    rerun: Rerun = False,
    accept_changes: Accept = False,
    column: Column = PRIMARY,
    markdown: Markdown = False,
) -> None:
    """Train CoLeaF without a part of it, as the paper's Tables 2 to 4, or with any change."""
    if (table is None) == (not variant):
        raise ValueError("coleaf ablate takes --table 2, 3 or 4, or one --variant or more")
    require_column(column)
    study = ablation_table(table) if table is not None else own_ablation("ablate", variant or ())
    grid = _grid(study, anchors, data, seeds, out, split, config, set_, jobs, _on_change(rerun, accept_changes))
    _show_comparison(grid, column, markdown)


def rates(
    anchors: Anchors = "han,cmpae",
    data: Data = None,
    seeds: Seeds = 5,
    out: Out = Path("runs/compare"),
    split: Split = "test",
    config: Config = None,
    set_: Settings = None,
    jobs: Jobs = 1,
    rerun: Rerun = False,
    accept_changes: Accept = False,
    markdown: Markdown = False,
) -> None:
    """Show how often each type of event is found and missed, with and without cross-attention (Table 1)."""
    grid = _grid(RATES, anchors, data, seeds, out, split, config, set_, jobs, _on_change(rerun, accept_changes))
    groups = gather(grid)
    say(rates_table(grid, groups, markdown=markdown))
    compare_groups(grid, groups).write(out / "rates-scores")
    write_text(out / "rates.md", rates_table(grid, groups, markdown=True) + "\n")
    say(f"\n{out / 'rates.md'}; scores in {out / 'rates-scores'}.md, .csv, .json")


def flops(
    anchor: Annotated[str | None, typer.Option(help="name of an Anchor plugin, or module:Class")] = None,
    data: Annotated[Path | None, typer.Option(help="folder whose streams and classes count; LLP's if left out")] = None,
    videos: Annotated[int, typer.Option(min=1, max=100_000, help="of a batch")] = 32,
    segments: Annotated[int, typer.Option(min=1, max=100_000, help="of a video")] = 10,
    config: Config = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value")] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="import code that --config names and that is no plugin")
    ] = False,
    json_: Annotated[Path | None, typer.Option("--json", help="write the costs to this file")] = None,
    markdown: Markdown = False,
) -> None:
    """Count parameters and FLOPs and take the time of Anchor, Reference, a training step and inference."""
    if json_ is not None:
        require_place(json_, "--json")
    resolved = load_config(
        config, [*([as_setting("anchor.name", anchor)] if anchor else []), *(set_ or [])], trust=trust
    )
    split = open_folder(data, "train") if data is not None else None
    streams = LLP_STREAMS if split is None else split.streams
    num_classes = len(LLP_CLASSES) if split is None else len(split.classes)
    costs = measure_costs(resolved, streams, num_classes, videos=videos, segments=segments)
    say(costs.table(markdown=markdown))
    if json_ is not None:
        write_text(json_, to_json(asdict(costs), indent=1) + "\n")


def report(
    runs: Annotated[list[Path], typer.Argument(help="run folders, with predictions; seeds of one kind share a row")],
    out: Annotated[Path, typer.Option(help="HTML file to write")] = Path("report.html"),
    split: Annotated[str, typer.Option(help="split of the runs' predictions")] = "test",
    figures: Annotated[Path | None, typer.Option(help="folder for the same figures as PNG and SVG")] = None,
) -> None:
    """Write one page that shows runs side by side, with sliders for the thresholds; it needs no network."""
    require_place(out, "--out")
    if figures is not None:
        require_place(figures, "--figures", folder=True)
    made = Report(runs, split)
    size = made.write_page(out)
    say(f"{out}, {size / 1e6:.1f} MB")
    if figures is not None:
        made.write_figures(figures)
        say(f"{figures}: the figures as PNG and SVG, and their numbers as numbers.json")
    say(made.comparison.conclusion)


def _grid(
    study: Study,
    anchors: str,
    data: Path | None,
    seeds: int,
    out: Path,
    split: str,
    config: Path | None,
    settings: list[str] | None,
    jobs: int,
    on_change: OnChange,
) -> Grid:
    require_place(out, "--out", folder=True)
    names = [name.strip() for name in anchors.split(",") if name.strip()]
    grid = plan_grid(
        study, names, seeds, out, data=data, split=split, config=config, settings=settings or (), on_change=on_change
    )
    try:
        run_grid(grid, jobs)
    except KeyboardInterrupt as stopped:
        end_undisturbed()
        raise KeyboardInterrupt(str(stopped) or "finished runs are kept") from None
    require_unchanged(grid)
    return grid


def _on_change(rerun: bool, accept_changes: bool) -> OnChange:
    if rerun and accept_changes:
        raise ValueError("--rerun and --accept-changes exclude each other")
    return "rerun" if rerun else "accept" if accept_changes else "refuse"


def _show_comparison(grid: Grid, column: str, markdown: bool) -> None:
    groups = gather(grid)
    found = compare_groups(grid, groups, column)
    say(found.table(markdown=markdown))
    stem = grid.out / grid.study.name
    found.write(stem)
    types = stem.with_name(f"{stem.name}-types.md")
    write_text(types, types_of_grid(grid, groups, markdown=True) + "\n")
    say(f"\n{stem}.md, .csv, .json; what events were taken for: {types}")
