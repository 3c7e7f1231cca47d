"""The Anchor of a run as an ONNX file, held to PyTorch before it is written. Shape letters: see `protocol.py`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coleaf_framework._config import reason
from coleaf_framework._extras import require_library
from coleaf_framework.data.dataset import segment_seconds_of
from coleaf_framework.deployment.tracing import OUTPUTS, to_onnx
from coleaf_framework.metrics.decision import DecisionConfig, gate_thresholds
from coleaf_framework.model import CoLeaF
from coleaf_framework.model.coleaf import require_record
from coleaf_framework.protocol import MODALITIES, Batch
from coleaf_framework.record.hub import find_run
from coleaf_framework.record.run_record import RunRecord
from coleaf_framework.storage import write_atomically
from coleaf_framework.training.deciding import use_decision
from coleaf_framework.training.experiment import data_of, load_run, open_split

TOLERANCE = 1e-4
VIDEOS, SEGMENTS = (1, 3, 5), (1, 2, 10, 23)
"""The B and T that an exported model is tried with."""
_LARGEST = 2**31 - 2**20  # bytes of weights; a file of ONNX holds 2 GiB in all
_LIBRARIES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        file: the ONNX file.
        difference: largest absolute difference of a probability to PyTorch's, over all B and T that were tried.
        segments: the only T that it takes; None for any.
        notes: what the file does not say, or says with a caveat; a sentence each.
    """

    file: Path
    difference: float
    segments: int | None
    notes: tuple[str, ...]


def export_onnx(
    run: Path | str,
    file: Path | str,
    *,
    decision: Path | None = None,
    trust: bool = False,
    declaration: Path | None = None,
) -> Exported:
    """Write the Anchor of a run as an ONNX file that takes raw streams, any number of videos and segments.

    The graph has the run's standardisation and adapter in it. Its inputs are the streams by name, (B, frames * T,
    width) float32; its outputs segment_probs (B,T,M,C), modality_probs (B,M,C) and video_probs (B,C), in [0,1]. There
    is no mask: videos of unequal length go in one by one. `metadata_of` says what else the file holds.

    Args:
        run: the run folder, or a repository of the Hub; see `record.hub.find_run`.
        file: the file to write.
        decision: thresholds that `coleaf thresholds` wrote; the run's own if None.
        trust: as in `CoLeaF.load`.
        declaration: as in `training.experiment.load_run`.

    Returns:
        The file, the largest difference of its probabilities to PyTorch's, the T that it is bound to, and notes.

    Raises:
        FileNotFoundError: there is no such run.
        ImportError: a library of the extra `onnx` is missing, or PyTorch is too old.
        ValueError: the Anchor cannot be exported, or onnxruntime's answers are not PyTorch's; says where and by how
            much, and nothing is written.
    """
    found, file = find_run(run), Path(file)
    run = found.folder
    libraries = {name: require_library(name, "export to ONNX", "onnx") for name in _LIBRARIES}
    if not hasattr(torch.onnx, "ops"):
        raise ImportError(f"export to ONNX needs PyTorch 2.8 or newer; this is {torch.__version__}")
    config, trainer = load_run(run, ("trainer.device=cpu",), trust=trust, declaration=declaration)
    notes = [*found.notes, *use_decision(trainer, run, decision)]
    model, record = trainer.model, require_record(trainer.model)
    size = sum(x.numel() * x.element_size() for x in model.anchor.state_dict().values())
    if size > _LARGEST:
        raise ValueError(f"{run}: the Anchor has {size / 2**30:.1f} GiB of weights; an ONNX file holds less than 2")
    proto = to_onnx(model)
    seconds = None
    with contextlib.suppress(ValueError, OSError):
        seconds = segment_seconds_of(open_split(data_of(run, config, None), "train"))
    if seconds is None:
        notes.append("the training data cannot be opened, so the file does not say how long a segment is")
    metadata = metadata_of(record, trainer.decision, trainer.name, seconds)
    libraries["onnx"].helper.set_model_props(proto, {key: json.dumps(value) for key, value in metadata.items()})
    proto.producer_name, proto.producer_version = "coleaf-framework", version("coleaf-framework")
    content = proto.SerializeToString()
    difference = check(model, content, libraries["onnxruntime"])
    write_atomically(file, lambda path: path.write_bytes(content))
    return Exported(file, difference, model.segments, tuple(notes))


def metadata_of(
    record: RunRecord, decision: DecisionConfig, parser: str, segment_seconds: float | None
) -> dict[str, object]:
    """What an ONNX file says of itself: key -> plain values, which the file holds as JSON.

    Args:
        record: of the run.
        decision: the thresholds.
        parser: name of the parser.
        segment_seconds: length of a segment; None where it is unknown.

    Returns:
        "classes": C names. "decision": "gate" ("video" or "modality"), "gate_threshold" (M,C) and
        "segment_threshold" (C,). "streams": name -> width, modality, frames, averaged. "segments": the only T, or
        null. "segment_seconds", "features" (how the training features were extracted, or null), "parser", "version".
    """
    shape, classes = record.model, record.model.num_classes
    like = torch.zeros(classes, dtype=torch.float64)  # so that 0.45 is written as 0.45
    return {
        "classes": list(shape.class_names),
        "decision": {
            "gate": decision.gate,
            "gate_threshold": gate_thresholds(decision, like).expand(len(MODALITIES), -1).tolist(),
            "segment_threshold": like.new_tensor(decision.segment_threshold).expand(classes).tolist(),
        },
        "streams": {name: entry.model_dump() for name, entry in shape.streams.items()},
        "segments": shape.segments,
        "segment_seconds": segment_seconds,
        "features": None if record.features is None else record.features.model_dump(),
        "parser": parser,
        "version": version("coleaf-framework"),
    }


def check(model: CoLeaF, content: bytes, onnxruntime: Any) -> float:
    """Hold an exported model to `CoLeaF.infer`, on random features of each B and T.

    Args:
        model: in evaluation mode.
        content: the ONNX file.
        onnxruntime: the library.

    Returns:
        Largest absolute difference of a probability.

    Raises:
        ValueError: they differ by more than `TOLERANCE`, or onnxruntime cannot run it; says where.
    """
    what = f"{type(model.anchor).__name__} was not exported"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    worst, random = 0.0, torch.Generator().manual_seed(0)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # onnxruntime's errors have no type of their own
        raise ValueError(f"{what}: onnxruntime cannot load it: {reason(problem)[:300]}") from problem
    for videos in VIDEOS:
        for segments in (model.segments,) if model.segments else SEGMENTS:
            streams = _random_streams(model, videos, segments, random)
            where = f"at B = {videos}, T = {segments}"
            with torch.no_grad():
                expected = model.infer(Batch(streams, labels=torch.zeros(videos, model.num_classes)))
            try:
                found = session.run(list(OUTPUTS), {name: x.numpy() for name, x in streams.items()})
            except Exception as problem:
                raise ValueError(f"{what}: {where} onnxruntime fails: {reason(problem)[:300]}") from problem
            for name, answer in zip(OUTPUTS, found, strict=True):
                worst = max(
                    worst, _compared(torch.from_numpy(answer), getattr(expected, name), f"{name} {where}", what)
                )
    return worst


def _compared(found: Tensor, expected: Tensor, where: str, what: str) -> float:
    if found.shape != expected.shape:
        raise ValueError(f"{what}: {where} is {tuple(found.shape)} in onnxruntime, {tuple(expected.shape)} in PyTorch")
    difference = float((found - expected).abs().max())
    if not difference <= TOLERANCE:  # NaN too
        raise ValueError(
            f"{what}: {where} differs by {difference:.2g} between onnxruntime and PyTorch, where {TOLERANCE:g} is "
            "allowed: its forward does something else when it is traced"
        )
    return difference


def _random_streams(model: CoLeaF, videos: int, segments: int, random: torch.Generator) -> Mapping[str, Tensor]:
    """Features as they are distributed in training where the model knows that, else of mean 0 and deviation 1."""
    streams = {}
    for name, spec in model.streams.items():
        x = torch.randn(videos, spec.frames * segments, spec.width, generator=random)
        if model.standardizer is not None:
            mean, deviation = model.standardizer.get_buffer(name)
            x = mean + deviation * x
        streams[name] = x
    return streams
