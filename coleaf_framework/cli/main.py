"""The table of the commands, and what they have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from coleaf_framework._text import end_interrupted, log_to_stderr, say
from coleaf_framework.cli import (
    data,
    evaluating,
    experiments,
    exporting,
    extracting,
    inspecting,
    labelling,
    labels,
    leaderboard,
    parse_video,
    pushing,
    serving,
    training,
)
from coleaf_framework.cli.errors import end_failed
from coleaf_framework.cli.importing import importing

COMMANDS: Mapping[str, Callable[..., None]] = {
    "train": training.train,
    "evaluate": evaluating.evaluate,
    "predict": evaluating.predict,
    "extract": extracting.extract,
    "parse": parse_video.parse,
    "serve": serving.serve,
    "plot": evaluating.plot,
    "synth": data.synth,
    "pack": data.pack,
    "check-data": data.check_data,
    "check-labels": labels.check_labels,
    "convert-labels": labels.convert_labels,
    "pseudo-label": labelling.pseudo_label,
    "remove-labels": labelling.remove_labels,
    "noise-ratios": labelling.noise_ratios,
    "thresholds": evaluating.thresholds,
    "export": exporting.export,
    "push": pushing.push,
    "import": training.import_,
    "inspect": inspecting.inspect,
    "plugins": inspecting.plugins,
    "demo": training.demo,
    "compare": experiments.compare,
    "ablate": experiments.ablate,
    "rates": experiments.rates,
    "flops": inspecting.flops,
    "report": experiments.report,
    "leaderboard": leaderboard.leaderboard,
}
_DIVIDED = ("train", "evaluate")  # commands whose work the processes of torchrun divide


class _Commands(TyperGroup):
    """Says in a sentence what Ctrl-C stopped; Typer would end without one."""

    def invoke(self, context: Any) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt as stopped:
            end_interrupted(stopped)


app = typer.Typer(
    help="CoLeaF for audio-visual video parsing.", cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False
)
for name, command in COMMANDS.items():
    app.command(name)(command)
_debugging: list[bool] = []


def _say_version(asked: bool) -> None:
    if asked:
        say(f"coleaf-framework {version('coleaf-framework')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="show where an error comes from")] = False,
    _: Annotated[
        bool, typer.Option("--version", help="say which version is installed", is_eager=True, callback=_say_version)
    ] = False,
) -> None:
    """CoLeaF for audio-visual video parsing."""
    _debugging.append(debug)
    if context.invoked_subcommand not in _DIVIDED and "RANK" in os.environ:
        with importing():
            from coleaf_framework.training.distributed import DistributedContext

        if DistributedContext.join().size > 1:
            raise ValueError(
                f"coleaf {context.invoked_subcommand} is one process's work: only train and evaluate divide theirs"
            )


def main() -> None:
    """Run the command line; a user's mistake ends in one sentence and exit code 1."""
    log_to_stderr()
    try:
        app()
    except Exception as problem:
        if any(_debugging):
            raise
        end_failed(problem)
