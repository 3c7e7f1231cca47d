"""Checks that a data set, and the length of a training, fit a model."""

from __future__ import annotations

import logging
import math
from collections import Counter
from typing import get_args

import torch
from torch import Tensor

from coleaf_framework._config import WrongTypeError, reason, shown
from coleaf_framework.adapters import takes_mask
from coleaf_framework.collaboration import reads_modality_labels, reference_teaches, teaching_labels
from coleaf_framework.data import AVVPDataset, collate
from coleaf_framework.data.averaging import averaged
from coleaf_framework.data.dataset import Truth, no_ground_truth, segment_seconds_of, truth_of
from coleaf_framework.data.labels import WithPseudoLabels
from coleaf_framework.metrics import SUPPORT, DecisionConfig
from coleaf_framework.model.coleaf import CoLeaF
from coleaf_framework.model.running import batch_shape, fixed_length
from coleaf_framework.protocol import PAST_EVERY_WARMUP, Progress
from coleaf_framework.record.config import TrainerConfig
from coleaf_framework.results.columns import columns_of, require_column

logger = logging.getLogger(__name__)


def require_fitting_data(model: CoLeaF, decision: DecisionConfig, data: AVVPDataset, *, truth: bool = False) -> None:
    """Check that a model can be trained or scored on a data set.

    Args:
        model: takes streams and classes.
        decision: may have thresholds per class.
        data: the data set.
        truth: whether it must have ground truth.

    Raises:
        TypeError: it is no data set.
        ValueError: it is empty; has other classes, other streams or videos of another T than the model; its segment
            length or kind of ground truth is invalid; or it lacks the ground truth. Names what differs.
    """
    if not all(hasattr(data, name) for name in ("name", "split", "classes", "streams", "__len__")):
        raise WrongTypeError(f"{shown(data)} is no data set: expected LLP, AVVPFolder or another AVVPDataset")
    where = f"{data.name} {data.split}"
    if not len(data):
        raise ValueError(f"{where} has no videos")
    if len(data.classes) != model.num_classes:
        raise ValueError(
            f"{where} has {len(data.classes)} classes, the model {model.num_classes}: "
            "wrap the network with num_classes of the data set"
        )
    seconds, kind = segment_seconds_of(data), truth_of(data)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"{where}: segment_seconds is {seconds}, where a positive number of seconds was expected")
    if kind not in get_args(Truth):
        raise ValueError(f"{where}: truth is {shown(kind)}, where one of {', '.join(get_args(Truth))} was expected")
    decision.require_classes(model.num_classes, data.classes)
    if model.config.noise_ratios is not None:
        model.config.noise_ratios.require_classes(data.classes)
    trained_on = model.record.model.classes if model.record is not None else None
    if trained_on is not None and list(data.classes) != list(trained_on):
        raise ValueError(f"{where} has the classes {list(data.classes)}, the model was trained on {trained_on}")
    _require_fitting_streams(model, data, where)
    _require_fitting_length(model, data, where)
    if truth and not data.has_ground_truth:
        raise ValueError(no_ground_truth(where))


def _require_fitting_streams(model: CoLeaF, data: AVVPDataset, where: str) -> None:
    """Check that the data has each stream of the model, with as many frames a segment and as many averaged."""
    for name, spec in model.streams.items():
        found = data.streams.get(name)
        if found is not None and found.frames > 1 and spec == averaged(found):
            raise ValueError(
                f"{where}: stream {name!r} has {found.frames} frames a segment, the model takes their mean: "
                "set data.average_frames=true, or from Python wrap the data set in AveragedFrames"
            )
        if found is not None and spec.frames > 1 and found == averaged(spec):
            raise ValueError(
                f"{where}: stream {name!r} holds means of {spec.frames} frames, the model takes the frames: "
                "score it on the data that it was packed from"
            )
        if found != spec:
            raise ValueError(
                f"{where}: stream {name!r} is {found}, the model takes {spec}: "
                "wrap the network with streams=dataset.streams"
            )


def _require_fitting_length(model: CoLeaF, data: AVVPDataset, where: str) -> None:
    """Check that every video has the T that a network works for, if it works for one T only and takes no mask."""
    if model.segments is None or not hasattr(data, "segments") or takes_mask(model.anchor, model.adapter):
        return
    for index in range(len(data)):
        if (length := data.segments(index)) != model.segments:
            why = fixed_length(model.anchor, model.segments)
            raise ValueError(f"{where}: video {data.ids[index]!r} has T = {length} segments; {why}")


def require_answer(model: CoLeaF, data: AVVPDataset) -> None:
    """Run a model on two videos of a split, since its Anchor may not support their number of segments.

    Args:
        model: takes the split's streams.
        data: at least one video.

    Raises:
        ValueError: its Anchor fails; names its class, the number of segments and the reason.
    """
    batch = collate([data[i] for i in range(min(2, len(data)))], data.streams)
    _, segments = batch_shape(batch.streams, model.streams)
    training = model.training
    try:
        with torch.no_grad():
            model.eval().infer(batch)
    except Exception as problem:  # somebody else's network
        name = type(model.anchor).__name__
        raise ValueError(f"{name} fails on videos of {segments} segments: {reason(problem)}") from problem
    finally:
        model.train(training)


def require_read_labels(model: CoLeaF, train: AVVPDataset) -> None:
    """Check that a loss reads the split's labels beside the weak ones, and that the split has the labels losses read.

    Args:
        model: to be trained.
        train: its training split.

    Raises:
        ValueError: a weight asks for pseudo-labels that the split lacks, or nothing reads those that it has.
    """
    c, where, name = model.config, f"{train.name} {train.split}", type(model.anchor).__name__
    if c.reads_segment_labels and not c.label_teacher_ema and train[0].pseudo_labels is None:
        weight = "segment_label_weight" if c.segment_label_weight else "modality_label_weight"
        raise ValueError(
            f"coleaf.{weight} is {getattr(c, weight):g}, but {where} has no pseudo-labels of segments: pass --labels "
            "KIND=PATH, or from Python wrap the data set in WithPseudoLabels"
        )
    if c.segment_label_balance > 1 and positive_shares_of(train) is None:
        raise ValueError(
            f"coleaf.segment_label_balance is {c.segment_label_balance:g}, but {where} does not say how many of its "
            "pseudo-labels are positive: pass --labels KIND=PATH, or leave it at 1"
        )
    labelled = _labelled(train)
    if labelled is None:
        return
    if labelled.positive_shares is not None and not c.reads_segment_labels:
        raise ValueError(
            f"{where} has pseudo-labels of segments, but coleaf.segment_label_weight and coleaf.modality_label_weight "
            "are 0, so no loss reads them"
        )
    if labelled.has_modality_labels and not reads_modality_labels(c, model.anchor, model.label_loss):
        raise ValueError(
            f"{where} has labels per modality (kind ma), but {name} is trained by its video probabilities alone, so no "
            "loss reads them: train it in CoLeaF, or give it a loss that reads Batch.modality_labels"
        )


def positive_shares_of(train: AVVPDataset) -> Tensor | None:
    """`positive_shares` of a training split or of the `WithPseudoLabels` that it wraps; None if there are none."""
    shares: Tensor | None = getattr(_labelled(train) or train, "positive_shares", None)
    return shares


def _labelled(data: object) -> WithPseudoLabels | None:
    """The data set with pseudo-labels: this one, or the one that it wraps, as `AveragedFrames` does."""
    while data is not None and not isinstance(data, WithPseudoLabels):
        data = getattr(data, "dataset", None)
    return data


def with_fitting_monitor(config: TrainerConfig, val: AVVPDataset, *, log: bool = True) -> TrainerConfig:
    """A configuration whose `monitor` names columns that exist for the ground truth of the validation split.

    The default, Type@AVo, does not exist where the ground truth does not tell audible from visible events. There the
    default is the same mean of AV, and is recorded as such.

    Args:
        config: how to train.
        val: the split that the best epoch is chosen on.
        log: whether to say what was replaced.

    Raises:
        ValueError: another column than the default's does not exist there; names it.
    """
    where, kind = f"{val.name} {val.split}", truth_of(val)
    if set(config.monitor) <= set(columns_of(kind)):
        return config
    if config.monitor != TrainerConfig().monitor:
        for column in config.monitor:
            require_column(column, "trainer.monitor", kind, where)
    monitor = (f"{SUPPORT}segment/AV", f"{SUPPORT}event/AV")
    if log:
        logger.warning(
            "trainer.monitor is %s: the columns of its default do not exist for the ground truth of %s",
            ", ".join(monitor),
            where,
        )
    return config.model_copy(update={"monitor": monitor})


def require_videos_to_mix(model: CoLeaF, batch_size: int, parts: int) -> None:
    """Check that micro-batches have more than one video, where mixup is to mix them.

    Args:
        model: to be trained.
        batch_size: videos a step.
        parts: micro-batches a step, over all ranks.

    Raises:
        ValueError: they have not.
    """
    if model.config.mixup and -(-batch_size // parts) < 2:
        raise ValueError(
            f"coleaf.mixup is {model.config.mixup:g}, but a step of {batch_size} videos in {parts} parts "
            "(trainer.accumulate, ranks) leaves one video a part, with none to mix it with: raise trainer.batch_size"
        )


def require_lengths_to_mix(model: CoLeaF, train: AVVPDataset, config: TrainerConfig, parts: int) -> None:
    """Check that mixup, which mixes videos of equal length, finds some; log a warning if most would stay as they are.

    Args:
        model: to be trained.
        train: its training split.
        config: how to train.
        parts: micro-batches a step, over all ranks.

    Raises:
        ValueError: no two videos have the same length.
    """
    if not model.config.mixup or not hasattr(train, "segments"):
        return
    lengths, n = Counter(train.segments(i) for i in range(len(train))), len(train)
    if len(lengths) == n:
        raise ValueError(
            f"coleaf.mixup is {model.config.mixup:g}, but no two videos of {train.name} {train.split} have the same "
            "length, so there are none to mix: leave it at 0"
        )
    others = min(n, -(-config.batch_size // parts)) - 1
    share = sum(k * (1 - math.comb(n - k, others) / math.comb(n - 1, others)) for k in lengths.values()) / n
    if share < 0.5 and not config.bucket_by_length:
        logger.warning(
            "coleaf.mixup mixes videos of equal length: some %d %% of the videos of %s %s have another of theirs in a "
            "micro-batch of %d, and the others stay as they are (trainer.bucket_by_length=true brings more together)",
            round(100 * share),
            train.name,
            train.split,
            others + 1,
        )


def warn_of_no_teaching(model: CoLeaF, epochs: int) -> None:
    """Log a warning if a training ends within a warm-up, so that its Anchor is trained as if alone, or by other labels.

    Args:
        model: to be trained.
        epochs: of the training, the Reference's head start included.
    """
    c, last = model.config, Progress(epochs - model.head_start)
    if c.label_teacher_ema and not teaching_labels(c, last):
        logger.warning(
            "trainer.epochs=%d ends before the Anchor's moving average refines labels (coleaf.label_teacher_warmup=%d)",
            epochs,
            c.label_teacher_warmup,
        )
    if model.reference is None or reference_teaches(c, last):
        return
    if reference_teaches(model.config, PAST_EVERY_WARMUP):
        logger.warning(
            "trainer.epochs=%d ends before the Reference teaches the Anchor (coleaf.anchor_warmup=%d, "
            "coleaf.pseudo_label_warmup=%d): the Anchor is trained as if alone",
            epochs,
            model.config.anchor_warmup,
            model.config.pseudo_label_warmup,
        )
