"""The commands that make a run folder: train, import and demo."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coleaf_framework._text import say
from coleaf_framework.cli.importing import importing
from coleaf_framework.cli.labels import ratio_settings, source_settings
from coleaf_framework.cli.options import (
    Anchor,
    ConfigFile,
    Constructor,
    Data,
    Labels,
    Overwrite,
    Settings,
    SkipIncomplete,
    Streams,
    Trust,
)

if TYPE_CHECKING:
    from coleaf_framework.record.config import RunConfig
    from coleaf_framework.training.run_folder import OnExisting


def train(
    data: Data = None,
    anchor: Anchor = None,
    reference: Annotated[str | None, typer.Option(help="name of a Reference plugin")] = None,
    out: Annotated[Path | None, typer.Option(help="run folder; named after the run if left out")] = None,
    config: ConfigFile = None,
    labels: Labels = None,
    recipe: Annotated[
        str | None, typer.Option(help="paper, official (as the authors' code), strong, published, ma, jomold or valor")
    ] = None,
    set_: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in the folder")] = False,
    overwrite: Overwrite = False,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="resume though code or data have changed; scores then say so")
    ] = False,
    streams: Streams = None,
    skip_incomplete: SkipIncomplete = False,
    trust: Trust = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="print where a step's time goes; trace in the run")
    ] = False,
) -> None:
    """Train an Anchor inside CoLeaF; alone with --set coleaf.enabled=false or --recipe published.

    On many GPUs: torchrun --nproc-per-node N -m coleaf_framework train ...
    """
    with importing():
        from coleaf_framework.experiments.steps import file_to_resume, train_recipe
        from coleaf_framework.record.settings import as_setting, load_config
        from coleaf_framework.storage import require_place
        from coleaf_framework.training.experiment import open_split
        from coleaf_framework.training.interrupts import end_undisturbed

    if out is not None:
        require_place(out, "--out", folder=True)
    existing = _on_existing(out, resume=resume, overwrite=overwrite)
    given: dict[str, str | None] = {
        "recipe": recipe,
        "data.root": data.as_posix() if data is not None else None,
        "data.streams": streams.as_posix() if streams is not None else None,
        "data.skip_incomplete": "true" if skip_incomplete else None,
        "anchor.name": anchor,
        "reference.name": reference,
    }
    settings = [as_setting(key, value) for key, value in given.items() if value is not None]
    if resume and config is None and out is not None:
        config = file_to_resume(out)
    settings += [*source_settings(labels), *(set_ or [])]
    resolved = load_config(config, settings, trust=trust)
    own = ratio_settings(
        labels,
        [str(resolved.anchor.name)],
        prefixed=False,
        classes=lambda: open_split(resolved.data, "train").classes,
    )
    if own:
        resolved = load_config(config, [*settings, *own], trust=trust)
    out = out or _folder_name(resolved)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # while it reads data, before training listens to both
    try:
        trainer = train_recipe(resolved, out, existing, profile=profile, accept_changes=accept_changes)
    except KeyboardInterrupt as stopped:
        end_undisturbed()
        raise KeyboardInterrupt(str(stopped) or "nothing of the step under way was saved") from None
    if trainer.distributed.first:
        say(f"{len(trainer.history)} epochs; best weights in {out / 'model.safetensors'}")


def _on_existing(out: Path | None, *, resume: bool, overwrite: bool) -> OnExisting:
    """What to do with a run that the folder holds, once the options are known to agree."""
    if resume and overwrite:
        raise ValueError("--resume and --overwrite exclude each other")
    if resume and out is None:
        raise ValueError("--resume needs --out, the folder of the run to go on with")
    return "resume" if resume else "overwrite" if overwrite else "refuse"


def _folder_name(config: RunConfig) -> Path:
    """A folder under runs/ that says data, Anchor, whether it is in CoLeaF, and seed."""
    data = Path(config.data.root).resolve().name if config.data.root else "synthetic"
    anchor = (config.anchor.name or "").replace(":", ".")
    loop = "coleaf" if config.coleaf.enabled else "alone"
    return Path("runs") / f"{data}-{anchor}-{loop}-seed{config.trainer.seed}"


def import_(
    checkpoint: Annotated[Path, typer.Argument(help=".pt file of a published network")],
    as_: Annotated[str, typer.Option("--as", help="name of the Anchor plugin; coleaf plugins lists them")],
    out: Annotated[Path, typer.Option(help="run folder to write")],
    data: Annotated[Path | None, typer.Option(help="folder whose streams and classes it was made for; LLP's")] = None,
    option: Constructor = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a run folder of a published checkpoint, for `evaluate` and `predict`."""
    with importing():
        from coleaf_framework.cli.parsing import parse_options
        from coleaf_framework.data import open_folder
        from coleaf_framework.storage import require_place
        from coleaf_framework.training.importing import import_run

    require_place(out, "--out", folder=True)
    options = parse_options(option or ())
    classes = None
    if data is not None:
        split = open_folder(data, "val")
        classes = split.classes
        options |= {"streams": split.streams, "num_classes": len(classes)}
    network = import_run(checkpoint, as_, out, "overwrite" if overwrite else "refuse", classes=classes, **options)
    say(f"{type(network).__name__} with {sum(x.numel() for x in network.parameters()):,} parameters; {out}")


def demo(
    out: Annotated[Path, typer.Option(help="folder to write; replaced if it holds a demo")] = Path("runs/demo"),
    data: Annotated[Path | None, typer.Option(help="folder in LLP's layout, such as examples/tuxav_mini")] = None,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="a small synthetic LLP, which needs no files; so too without --data")
    ] = False,
    set_: Settings = None,
    video: Annotated[Path | None, typer.Option(help="media file that the trained network parses at the end")] = None,
) -> None:
    """Train HAN alone and inside CoLeaF and show what came of it; on a small synthetic LLP without --data."""
    if synthetic and data is not None:
        raise ValueError("--synthetic and --data exclude each other")
    with importing():
        from coleaf_framework.cli.demo import run_demo
        from coleaf_framework.storage import require_place

    require_place(out, "--out", folder=True)
    say(run_demo(out, data, tuple(set_ or ()), video=video))
