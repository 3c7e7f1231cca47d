"""The command that takes a trained Anchor to other runtimes: export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from coleaf_framework._text import say
from coleaf_framework.cli.importing import importing
from coleaf_framework.cli.options import Decision, DeclarationFile, Run, Trust


def export(
    run: Run,
    onnx: Annotated[Path, typer.Option(help="ONNX file to write")],
    decision: Decision = None,
    trust: Trust = False,
    anchor: DeclarationFile = None,
) -> None:
    """Write the Anchor of a run as an ONNX file, once onnxruntime gives PyTorch's answers."""
    with importing():
        from coleaf_framework.deployment import export_onnx
        from coleaf_framework.storage import require_place

    require_place(onnx, "--onnx")
    exported = export_onnx(run, onnx, decision=decision, trust=trust, declaration=anchor)
    for note in exported.notes:
        say(f"NOTE: {note}", sys.stderr)
    length = "any T" if exported.segments is None else f"T = {exported.segments} only"
    say(
        f"{exported.file}: any number of videos, {length}, no mask; its probabilities differ from PyTorch's by "
        f"{exported.difference:.1g} at most"
    )
