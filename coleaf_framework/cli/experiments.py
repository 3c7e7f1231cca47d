"""The commands that train and compare many runs: compare, ablate and rates; and report, which shows runs on a page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coleaf_framework._text import say
from coleaf_framework.cli.executing import Execution, print_plan, run_cells
from coleaf_framework.cli.importing import importing
from coleaf_framework.cli.labels import ratio_settings, source_settings
from coleaf_framework.cli.options import (
    AcceptChanges,
    Anchors,
    Column,
    Data,
    ExecutorName,
    Jobs,
    Labels,
    Markdown,
    PlanOnly,
    Rerun,
    RunsConfig,
    RunsFolder,
    RunsSettings,
    ScoredSplit,
    Seeds,
    Slurm,
)

if TYPE_CHECKING:
    from coleaf_framework.experiments.grid import Grid, Study


def compare(
    anchors: Anchors = "han,cmpae",
    data: Data = None,
    seeds: Seeds = 5,
    out: RunsFolder = Path("runs/compare"),
    split: ScoredSplit = "test",
    config: RunsConfig = None,
    set_: RunsSettings = None,
    jobs: Jobs = None,
    executor: ExecutorName = "local",
    slurm: Slurm = None,
    plan: PlanOnly = False,
    rerun: Rerun = False,
    accept_changes: AcceptChanges = False,
    column: Column = None,
    markdown: Markdown = False,
    recipes: Annotated[str, typer.Option(help="paper, official, strong, published, with commas between")] = "paper",
    table: Annotated[int, typer.Option(help="of the paper: 5; or 7, each way with and without --labels")] = 5,
    labels: Labels = None,
) -> None:
    """Train every Anchor alone and in CoLeaF, and say whether that helped (Table 5; Table 7 with pseudo-labels)."""
    with importing():
        from coleaf_framework.experiments.studies import LABELS_STUDY, compare_study
        from coleaf_framework.results.columns import require_column
        from coleaf_framework.storage import read_yaml

    if column is not None:
        require_column(column)
    told = next((text for text in set_ or () if text.partition("=")[0].rpartition(":")[2] == "recipe"), None)
    if told is not None or (config is not None and read_yaml(config).get("recipe", "paper") != "paper"):
        where = f"--set {told!r}" if told is not None else f"--config {config}"
        raise ValueError(f"{where}: names a recipe; a comparison is told its recipes by --recipes")
    if table not in (5, 7):
        raise ValueError(f"--table {table}: no such comparison; the paper's are 5 and 7 (2 to 4 are `coleaf ablate`)")
    if table == 7 and (not labels or recipes != "paper"):
        raise ValueError(
            "--table 7 needs --labels KIND=PATH" if not labels else "--table 7 is of --recipes paper alone"
        )
    study = LABELS_STUDY if table == 7 else compare_study([x.strip() for x in recipes.split(",") if x.strip()])
    set_ = [*source_settings(labels), *ratio_settings(labels, _names(anchors)), *(set_ or ())]
    how = Execution(jobs, executor, slurm, plan)
    grid = _run_grid(
        study, anchors, data, seeds, out, split, config, set_, how, column, rerun=rerun, accept_changes=accept_changes
    )
    _show_comparison(grid, column, markdown=markdown)


def ablate(
    table: Annotated[int | None, typer.Option(help="of the paper: 2, 3 or 4")] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help='instead of a table, a way to train: "NAME: section.key=value, ..."')
    ] = None,
    anchors: Anchors = "cmpae",
    data: Data = None,
    seeds: Seeds = 5,
    out: RunsFolder = Path("runs/compare"),
    split: ScoredSplit = "test",
    config: RunsConfig = None,
    set_: RunsSettings = None,
    jobs: Jobs = None,
    executor: ExecutorName = "local",
    slurm: Slurm = None,
    plan: PlanOnly = False,
    rerun: Rerun = False,
    accept_changes: AcceptChanges = False,
    column: Column = None,
    markdown: Markdown = False,
    labels: Labels = None,
) -> None:
    """Train CoLeaF without a part of it, as the paper's Tables 2 to 4, or with any change."""
    with importing():
        from coleaf_framework.experiments.studies import ablation_table, own_ablation
        from coleaf_framework.results.columns import require_column

    if (table is None) == (not variant):
        raise ValueError("coleaf ablate takes --table 2, 3 or 4, or one --variant or more")
    if column is not None:
        require_column(column)
    study = ablation_table(table) if table is not None else own_ablation("ablate", variant or ())
    set_ = [*source_settings(labels), *ratio_settings(labels, _names(anchors)), *(set_ or ())]
    how = Execution(jobs, executor, slurm, plan)
    grid = _run_grid(
        study, anchors, data, seeds, out, split, config, set_, how, column, rerun=rerun, accept_changes=accept_changes
    )
    _show_comparison(grid, column, markdown=markdown)


def rates(
    anchors: Anchors = "han,cmpae",
    data: Data = None,
    seeds: Seeds = 5,
    out: RunsFolder = Path("runs/compare"),
    split: ScoredSplit = "test",
    config: RunsConfig = None,
    set_: RunsSettings = None,
    jobs: Jobs = None,
    executor: ExecutorName = "local",
    slurm: Slurm = None,
    plan: PlanOnly = False,
    rerun: Rerun = False,
    accept_changes: AcceptChanges = False,
    markdown: Markdown = False,
) -> None:
    """Show how often each type of event is found and missed, with and without cross-attention (Table 1)."""
    with importing():
        from coleaf_framework.experiments.comparing import compare_groups, gather
        from coleaf_framework.experiments.studies import RATES
        from coleaf_framework.experiments.type_rates import rates_table
        from coleaf_framework.storage import write_text

    how = Execution(jobs, executor, slurm, plan)
    grid = _run_grid(
        RATES, anchors, data, seeds, out, split, config, set_, how, rerun=rerun, accept_changes=accept_changes
    )
    groups = gather(grid)
    say(rates_table(grid, groups, markdown=markdown))
    compare_groups(grid, groups).write(out / "rates-scores")
    write_text(out / "rates.md", rates_table(grid, groups, markdown=True) + "\n")
    say(f"\n{out / 'rates.md'}; scores in {out / 'rates-scores'}.md, .csv, .json")


def report(
    runs: Annotated[list[Path], typer.Argument(help="run folders, with predictions; seeds of one kind share a row")],
    out: Annotated[Path, typer.Option(help="HTML file to write")] = Path("report.html"),
    split: Annotated[str, typer.Option(help="split of the runs' predictions")] = "test",
    figures: Annotated[Path | None, typer.Option(help="folder for the same figures as PNG and SVG")] = None,
) -> None:
    """Write one page that shows runs side by side, with sliders for the thresholds; it needs no network."""
    with importing():
        from coleaf_framework.report.runs import Report
        from coleaf_framework.storage import require_place

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


def _names(anchors: str) -> tuple[str, ...]:
    """The Anchors that an option names."""
    with importing():
        from coleaf_framework.experiments.chosen import choose_anchors

    return choose_anchors(anchors).names


def _run_grid(
    study: Study,
    anchors: str,
    data: Path | None,
    seeds: int,
    out: Path,
    split: str,
    config: Path | None,
    settings: list[str] | None,
    execution: Execution,
    column: str | None = None,
    *,
    rerun: bool,
    accept_changes: bool,
) -> Grid:
    """Train what a study lacks. The arguments are the options of the same names; with --plan, this is the end."""
    with importing():
        from coleaf_framework.experiments.changed import require_unchanged
        from coleaf_framework.experiments.chosen import choose_anchors, told
        from coleaf_framework.experiments.planning import plan_grid
        from coleaf_framework.storage import require_place

    if rerun and accept_changes:
        raise ValueError("--rerun and --accept-changes exclude each other")
    require_place(out, "--out", folder=True)
    make_executor = execution.make_executor()
    chosen = choose_anchors(anchors)
    grid = plan_grid(
        study,
        chosen.names,
        seeds,
        out,
        data=data,
        split=split,
        config=config,
        settings=settings or (),
        on_change="rerun" if rerun else "accept" if accept_changes else "refuse",
        column=column,
        optional=chosen.optional,
    )
    if chosen.optional:
        say(told(grid.anchors, {**grid.left_out, **chosen.broken}), sys.stderr)
    if execution.plan:
        print_plan(grid)
        raise typer.Exit
    run_cells(grid, make_executor(grid))
    require_unchanged(grid)
    return grid


def _show_comparison(grid: Grid, column: str | None, *, markdown: bool) -> None:
    """Print a grid's comparison, and write it beside the runs."""
    with importing():
        from coleaf_framework.experiments.comparing import compare_groups, gather
        from coleaf_framework.experiments.type_rates import types_of_grid
        from coleaf_framework.storage import write_text

    groups = gather(grid)
    found = compare_groups(grid, groups, column)
    say(found.table(markdown=markdown))
    stem = grid.out / grid.study.name
    found.write(stem)
    types = stem.with_name(f"{stem.name}-types.md")
    write_text(types, types_of_grid(grid, groups, markdown=True) + "\n")
    say(f"\n{stem}.md, .csv, .json; what events were taken for: {types}")
