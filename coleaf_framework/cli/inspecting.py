"""The commands that look at networks: inspect, plugins and flops."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from coleaf_framework._text import one_line, say
from coleaf_framework.cli.importing import importing
from coleaf_framework.cli.options import Anchor, ConfigFile, Constructor, Markdown, Settings, Trust

if TYPE_CHECKING:
    from coleaf_framework.plugins import Plugin
    from coleaf_framework.protocol import StreamSpec


def inspect(
    network: Annotated[
        str, typer.Argument(help="module:Class, module:function that makes a network, or an Anchor plugin")
    ],
    data: Annotated[Path | None, typer.Option(help="folder in LLP's layout that says streams and classes")] = None,
    stream: Annotated[list[str] | None, typer.Option(help="NAME=WIDTH or NAME=WIDTHxFRAMES; LLP's if left out")] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="number of classes")] = None,
    option: Constructor = None,
    follow_device: Annotated[bool, typer.Option("--follow-device", help="for networks that call .cuda()")] = False,
    write: Annotated[
        Path | None, typer.Option(help="write what is proposed to this declaration file, for --anchor")
    ] = None,
    inputs: Annotated[
        str | None, typer.Option(help="streams in the order of its arguments, such as visual,audio; found if left out")
    ] = None,
) -> None:
    """Run a network on synthetic batches and say what it takes and returns, and how to wrap it."""
    with importing():
        from coleaf_framework.adapters import is_declaration_file, write_declaration
        from coleaf_framework.cli.parsing import find_network, parse_options, parse_streams
        from coleaf_framework.data import open_folder
        from coleaf_framework.inspection import describe
        from coleaf_framework.storage import require_place

    streams: Mapping[str, StreamSpec] | None = parse_streams(stream) if stream else None
    if data is not None:
        if streams is not None or classes is not None:
            raise ValueError("--data says streams and classes: leave out --stream and --classes")
        split = open_folder(data, "train")
        streams, classes = split.streams, len(split.classes)
    options = parse_options(option or ())
    if write is not None:
        require_place(write, "--write")
        if write.exists() or not is_declaration_file(write.name):
            raise ValueError(f"--write {write}: expected a new file whose name ends in .yaml")
    if is_declaration_file(network):
        raise ValueError(f"{network} is a declaration file: inspect takes the network that it names")
    found = describe(
        find_network(network),
        streams=streams,
        num_classes=classes,
        follow_device=follow_device,
        inputs=None if inputs is None else tuple(name.strip() for name in inputs.split(",")),
        anchor_options=options,
        progress=lambda step: say(f"{step} ...", sys.stderr),
    )
    say(f"{found}")
    if write is None:
        return
    if found.arguments is None:
        raise ValueError(f"{write} was not written: no call is proposed: {found.problem}")
    shape = {"streams": found.arguments.get("streams", streams), "num_classes": found.arguments.get("num_classes")}
    write_declaration(write, network, options, {**found.arguments, **shape})
    say(f"written to {write}: coleaf train --anchor {write}", sys.stderr)


def plugins() -> None:
    """List Anchors and References: paper, licence of its repository, and the distribution that each comes from."""
    with importing():
        from coleaf_framework.plugins import GROUPS, list_plugins

    for kind in GROUPS:
        found = list_plugins(kind)
        say(f"{kind.capitalize()}s")
        indent = 4 + max((len(one_line(plugin.name)) for plugin in found), default=0)
        for plugin in found:
            say("\n".join(_about(plugin, indent)))
    say("licence: of the published repository that a plugin follows, not of its own code")


def _about(plugin: Plugin, indent: int) -> list[str]:
    """The lines of one plugin, no wider than the terminal, with its name at the left of `indent` columns."""
    works = "works" if plugin.error is None else f"does not work: {plugin.error}"
    texts = (
        f"{works}; {plugin.target}, from {plugin.distribution}",
        f"paper: {plugin.paper or '-'}",
        f"licence: {plugin.licence or '-'}",
    )
    name, blank = f"  {one_line(plugin.name)}".ljust(indent), " " * indent
    lines: list[str] = []
    for text in texts:
        lines += textwrap.wrap(
            one_line(text),
            max(40, Console().width),
            initial_indent=blank if lines else name,
            subsequent_indent=blank,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def flops(
    anchor: Anchor = None,
    data: Annotated[Path | None, typer.Option(help="folder whose streams and classes count; LLP's if left out")] = None,
    videos: Annotated[int, typer.Option(min=1, max=100_000, help="of a batch")] = 32,
    segments: Annotated[int, typer.Option(min=1, max=100_000, help="of a video")] = 10,
    config: ConfigFile = None,
    set_: Settings = None,
    trust: Trust = False,
    json_: Annotated[Path | None, typer.Option("--json", help="write the costs to this file")] = None,
    markdown: Markdown = False,
) -> None:
    """Count parameters and FLOPs and take the time of Anchor, Reference, a training step and inference."""
    with importing():
        from coleaf_framework.data import LLP_CLASSES, open_folder
        from coleaf_framework.experiments.costs import measure_costs
        from coleaf_framework.protocol import LLP_STREAMS
        from coleaf_framework.record.settings import as_setting, load_config
        from coleaf_framework.storage import require_place, to_json, write_text

    if json_ is not None:
        require_place(json_, "--json")
    settings = [*([as_setting("anchor.name", anchor)] if anchor else []), *(set_ or [])]
    resolved = load_config(config, settings, trust=trust)
    split = open_folder(data, "train") if data is not None else None
    streams = LLP_STREAMS if split is None else split.streams
    num_classes = len(LLP_CLASSES) if split is None else len(split.classes)
    costs = measure_costs(resolved, streams, num_classes, videos=videos, segments=segments)
    say(costs.table(markdown=markdown))
    if json_ is not None:
        write_text(json_, to_json(asdict(costs), indent=1) + "\n")
