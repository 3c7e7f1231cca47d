"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[Path | None, typer.Option(help="folder of a data set; synthetic LLP if left out")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file, such as a run's config.yaml")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="section.key=value, such as trainer.epochs=3")]
Streams = Annotated[
    Path | None, typer.Option(help="file that says where the streams lie; streams.yaml of the folder if left out")
]
SkipIncomplete = Annotated[bool, typer.Option("--skip-incomplete", help="leave out videos that lack a stream's file")]
Decision = Annotated[Path | None, typer.Option(help="thresholds that `coleaf thresholds` wrote")]
Weights = Annotated[
    Path | None,
    typer.Option(help="folder with the weights of the recipe's networks; where its library keeps them if left out"),
]
Features = Annotated[str | None, typer.Option(help="recipe of features, for a run that does not know its own")]
RunDevice = Annotated[str | None, typer.Option(help="cpu, cuda or mps; the run's trainer.device if left out")]
Trust = Annotated[bool, typer.Option("--trust", help="import code that a run or file names and that is no plugin")]
Anchor = Annotated[
    str | None, typer.Option(help="Anchor plugin, module:Class, module:function or declaration file (wrap.yaml)")
]
DeclarationFile = Annotated[
    Path | None, typer.Option("--anchor", help="declaration file (wrap.yaml), for a network that was made in Python")
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        help="pseudo-labels of the training split, KIND=PATH: valor, npy, lsld, ma; or jomold, noise ratios; may be "
        "repeated, and the first that says something wins"
    ),
]
Run = Annotated[Path, typer.Argument(help="run folder, or user/name[@revision] on the Hugging Face Hub")]
Split = Annotated[str, typer.Option(help="train, val or test")]
Constructor = Annotated[
    list[str] | None, typer.Option("--option", help="key=value for the network's constructor, such as num_classes=16")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace the run in the folder")]
Markdown = Annotated[bool, typer.Option("--markdown", help="print Markdown")]
Root = Annotated[Path, typer.Argument(help="folder of a data set")]

# Of the commands that train many runs.
Anchors = Annotated[
    str,
    typer.Option(
        help="Anchor plugins, module:Class or declaration files, with commas between; all: every Anchor plugin, less "
        "those that cannot take the data, which are named"
    ),
]
Seeds = Annotated[int, typer.Option(min=1, max=1000, help="runs of each kind, from seed 0 on")]
RunsFolder = Annotated[Path, typer.Option(help="folder of the runs; those that it holds already are used")]
ScoredSplit = Annotated[str, typer.Option(help="split to score, with ground truth: val or test")]
RunsConfig = Annotated[Path | None, typer.Option(help="YAML file for every run")]
RunsSettings = Annotated[
    list[str] | None, typer.Option("--set", help="section.key=value for every run; ANCHOR:section.key=value for one")
]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="runs at a time; on this machine they share the cores, and each gets a GPU of its own where there are "
        "several",
        show_default="1; on a cluster as many as it allows",
    ),
]
ExecutorName = Annotated[
    str, typer.Option("--executor", help="what runs the runs: local, processes of this machine; slurm, jobs of SLURM")
]
Slurm = Annotated[
    list[str] | None,
    typer.Option(help="KEY=VALUE, an option of sbatch for every job, such as partition=gpu or time=12:00:00"),
]
PlanOnly = Annotated[
    bool,
    typer.Option("--plan", help="train nothing: print a command for each run, which any scheduler or machine may run"),
]
Rerun = Annotated[bool, typer.Option("--rerun", help="train runs anew that are of other code or data than now")]
AcceptChanges = Annotated[
    bool, typer.Option("--accept-changes", help="keep runs that are of other code or data than now, with a note")
]
CONCLUDING = "support/segment/Type@AVo"
"""`results.columns.PRIMARY`, which cannot be imported without PyTorch; a test holds the two equal."""
Column = Annotated[
    str | None,
    typer.Option(
        help="column of the concluding sentence; AV in place of Type@AVo where the data has it alone",
        show_default=CONCLUDING,
    ),
]
