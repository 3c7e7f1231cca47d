"""The command that serves a run to browsers and programs."""

from __future__ import annotations

import importlib.util
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from coleaf_framework._text import say
from coleaf_framework.cli.importing import importing
from coleaf_framework.cli.options import Decision, DeclarationFile, Features, RunDevice, Trust, Weights
from coleaf_framework.cli.parse_video import NO_RUN


def serve(
    run: Annotated[Path | None, typer.Option(help="run folder, or user/name on the Hugging Face Hub")] = None,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="port to listen on; 0 for a free one")] = 8000,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="name under which browsers reach the service; may be repeated")
    ] = None,
    max_megabytes: Annotated[float, typer.Option(help="largest video")] = 100,
    max_page_megabytes: Annotated[float, typer.Option(help="largest video that a page embeds")] = 32,
    max_seconds: Annotated[float, typer.Option(help="longest video")] = 600,
    upload_timeout: Annotated[float, typer.Option(help="seconds that an upload may take")] = 120,
    timeout: Annotated[float, typer.Option(help="seconds that parsing a video may take")] = 300,
    waiting: Annotated[int, typer.Option(help="requests that wait while one is parsed")] = 8,
    memory: Annotated[int, typer.Option(help="MB that the worker process may have")] = 4096,
    features: Features = None,
    weights: Weights = None,
    decision: Decision = None,
    device: RunDevice = None,
    trust: Trust = False,
    anchor: DeclarationFile = None,
) -> None:
    """Serve a run on this machine: a page to upload videos on, and POST /parse for programs."""
    if run is None:
        raise ValueError(NO_RUN)
    with importing():
        for module in ("fastapi", "uvicorn", "python_multipart"):
            if importlib.util.find_spec(module) is None:
                raise ImportError(f"serving needs {module}: pip install 'coleaf-framework[serve]'")
        from coleaf_framework._config import validated
        from coleaf_framework.serving.limits import Limits
        from coleaf_framework.serving.loading import load_parser
        from coleaf_framework.serving.server import serve as serve_run

    limits = validated(Limits, {
        "upload_megabytes": max_megabytes, "page_megabytes": max_page_megabytes, "video_seconds": max_seconds,
        "upload_seconds": upload_timeout, "parse_seconds": timeout, "waiting": waiting, "memory_megabytes": memory,
    }, "coleaf serve")  # fmt: skip
    if not run.exists():  # of the Hub, or missing; found once, so that the service stays with one commit
        with importing():
            from coleaf_framework.record.hub import find_run

        found = find_run(run)
        for note in found.notes:
            say(f"NOTE: {note}", sys.stderr)
        run = found.folder
    load = partial(
        load_parser, run, features=features, weights=weights, decision=decision, device=device, trust=trust,
        declaration=anchor,
    )  # fmt: skip
    serve_run(load, limits, host, port, allow_host or ())
