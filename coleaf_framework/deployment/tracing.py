"""A trained model as one graph of ONNX operators, for any number of videos and segments."""

from __future__ import annotations

import io
import logging
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn

from coleaf_framework._config import reason
from coleaf_framework.deployment.recurrent import onnx_lstms
from coleaf_framework.model import CoLeaF
from coleaf_framework.model.running import batch_shape, run_anchor

OUTPUTS = ("segment_probs", "modality_probs", "video_probs")
OPSET = 18
"""The version of ONNX's operators that PyTorch's exporter is written in, so that nothing is converted."""
# Sizes of the batch that is traced; no size of it may end up in the graph.
_VIDEOS, _SEGMENTS = 3, 7
_FIXED = re.compile(r"size\(\)\[(\d)\] as dynamic but your code specialized it to be a constant \((\d+)\)")


class Deployed(nn.Module):
    """What `CoLeaF.infer` does to a batch without padding, as a function of tensors.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: CoLeaF) -> None:
        super().__init__()
        self.anchor, self.standardizer, self.adapter = model.anchor, model.standardizer, model.adapter
        self.specs, self.copies = model.streams, model.changes_inputs

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Streams in the order of the model's, (B, frames * T, width) -> the tensors of `OUTPUTS`."""
        streams = dict(zip(self.specs, given, strict=True))
        self._require_one_shape(streams)
        if self.standardizer is not None:
            streams = self.standardizer(streams)
        shape = batch_shape(streams, self.specs)
        output, _ = run_anchor(self.anchor, self.adapter, streams, None, shape, copies=self.copies)
        return tuple(getattr(output, name).float() for name in OUTPUTS)

    def _require_one_shape(self, streams: Mapping[str, Tensor]) -> None:
        """Compare the streams' B and T at once, so that the tracer has one name for either, not one a stream.

        Else sizes become sums of theirs, which grow from layer to layer, and tracing takes minutes.

        Raises:
            ValueError: they differ.
        """
        first = min(streams, key=lambda name: self.specs[name].frames)
        videos, segments = streams[first].shape[0], streams[first].shape[1] // self.specs[first].frames
        for name, x in streams.items():
            if x.shape[0] != videos or x.shape[1] != segments * self.specs[name].frames:
                raise ValueError(f"the streams {first} and {name} differ in their number of videos or segments")


def to_onnx(model: CoLeaF) -> Any:
    """The model as an `onnx.ModelProto` with named inputs, outputs and axes, and without metadata.

    Raises:
        ValueError: PyTorch cannot trace it, or ONNX lacks an operator; says why.
    """
    deployed = Deployed(model).eval()
    segments = model.segments or _SEGMENTS
    example = tuple(torch.zeros(_VIDEOS, s.frames * segments, s.width) for s in model.streams.values())
    free = torch.export.Dim.DYNAMIC
    axes = {0: free} if model.segments else {0: free, 1: free}
    what = f"{type(model.anchor).__name__} cannot be exported"
    with torch.no_grad(), onnx_lstms(deployed), _quietly():
        try:
            program = torch.export.export(deployed, example, dynamic_shapes=((axes,) * len(example),), strict=False)
        except Exception as problem:  # a network's forward may raise anything where sizes are unknown
            raise ValueError(f"{what}: PyTorch cannot trace its forward: {_why_untraced(problem)}") from problem
        _require_unbounded(program, what)
        try:
            converted = torch.onnx.export(
                program, dynamo=True, opset_version=OPSET, verbose=False,
                input_names=list(model.streams), output_names=list(OUTPUTS),
            )  # fmt: skip
            assert converted is not None
            return _cleaned(converted.model_proto, model)
        except Exception as problem:
            raise ValueError(f"{what}: its graph has no form in ONNX: {_why_unconverted(problem)}") from problem


def _require_unbounded(program: torch.export.ExportedProgram, what: str) -> None:
    """Refuse a graph that holds for few videos or short ones only: the file would answer for others all the same.

    Lower bounds are not looked at. Shapes that end up as 1 give some that do not matter, and few videos and segments
    are tried out.
    """
    bounds = [float(bound.upper) for bound in program.range_constraints.values()]
    if finite := [bound for bound in bounds if math.isfinite(bound)]:
        raise ValueError(
            f"{what}: its forward does something else where a stream has more than {min(finite):.0f} videos or rows, "
            "and a graph has one branch: compute the same for every size, or wrap it with segments=T"
        )


def _cleaned(proto: Any, model: CoLeaF) -> Any:
    """Name the axes; leave out what the exporter notes of each node, such as paths of source code on this machine."""
    for value, spec in zip(proto.graph.input, model.streams.values(), strict=True):
        _name_axes(value, f"{spec.frames}*segments" if spec.frames > 1 else "segments")
    for value in proto.graph.output:
        _name_axes(value, "segments" if value.name == "segment_probs" else None)
    del proto.graph.value_info[:], proto.metadata_props[:], proto.graph.metadata_props[:]
    graph = proto.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer, *proto.functions):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return proto


def _name_axes(value: Any, second: str | None) -> None:
    """Name the first axis of an input or output "batch", and the second where its length is free."""
    axes = value.type.tensor_type.shape.dim
    axes[0].dim_param = "batch"
    if second is not None and not axes[1].HasField("dim_value"):
        axes[1].dim_param = second


def _why_untraced(problem: Exception) -> str:
    fixed = _FIXED.search(str(problem))
    if fixed is None:
        return reason(problem).partition(" For more information")[0][:300]
    what = "the number of videos" if fixed[1] == "0" else "the number of segments"
    return (
        f"it takes {what} for a constant ({fixed[2]} in the trace), as len(x), int(x.shape[1]) and loops over segments "
        "do: write x.shape[0], and leave it a size"
    )


def _why_unconverted(problem: Exception) -> str:
    text = re.sub(r"\x1b\[\d+m", "", str(problem))
    return " ".join(text.partition("## Exception summary")[2].split())[:300] or reason(problem)[:300]


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep to themselves what PyTorch's tracer and exporter print, warn and log."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)
