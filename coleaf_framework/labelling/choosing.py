"""Which teacher and which thresholds a user asked for. Shape letters: see `protocol.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coleaf_framework._config import shown
from coleaf_framework.data import AVVPDataset
from coleaf_framework.extraction.clap_maps import CLAP_MODEL
from coleaf_framework.extraction.clip_images import CLIP_MODEL
from coleaf_framework.labelling.centroids import class_centroids
from coleaf_framework.labelling.clap import ClapTeacher
from coleaf_framework.labelling.clip import ClipTeacher
from coleaf_framework.labelling.making import Judged, Thresholds, choose_by_truth, choose_without_truth
from coleaf_framework.labelling.prompts import default_prompts, read_prompts, read_thresholds, valor_thresholds
from coleaf_framework.labelling.teachers import (
    EmbeddingsTeacher,
    Teacher,
    folder_of_embeddings,
    read_text,
    stream_embeddings,
)
from coleaf_framework.protocol import MODALITIES, Modality
from coleaf_framework.training.device import choose_device

CENTROIDS, STREAM = "centroids", "stream:"
CHOOSE, VALOR = "choose", "valor"
# Teacher -> the options that it needs, and those that it may have; no other teacher's.
_NEEDS = {"embeddings": ("modality", "embeddings", "text"), "clip": ("frames",), "clap": ("audio",)}
_MAY_HAVE = {"embeddings": ("scale",), "clip": ("model", "device", "prompts"), "clap": ("model", "device", "prompts")}
_SEES: Mapping[str, Modality] = {"clip": "visual", "clap": "audio"}


@dataclass(frozen=True)
class Request:
    """What `coleaf pseudo-label` was asked for.

    Args:
        teacher: "embeddings", "clip" or "clap".
        modality: "audio" or "visual", of embeddings.
        embeddings: A folder of <id>.npy, or "stream:NAME".
        text: An .npy file of the classes' embeddings, or "centroids".
        scale: Factor of the cosines of embeddings; 1 where None.
        frames: Folder of <id>/*.jpg, of clip.
        audio: Folder of <id>.wav, of clap.
        model: Name or folder of the model, of clip and clap.
        device: Where clip or clap runs, as `trainer.device`; cpu where None.
        prompts: File of prompts, of clip and clap.
        thresholds: A file; "choose", by the truth of the validation split; or "valor".
        positive_share: Chooses thresholds without truth, see `thresholds_by_share`.
        false_positive_rate: Chooses thresholds without truth, see `thresholds_by_false_positives`.

    Raises:
        ValueError: An option is missing, has an unknown value or belongs to another teacher.
    """

    teacher: str
    modality: str | None = None
    embeddings: str | None = None
    text: str | None = None
    scale: float | None = None
    frames: Path | None = None
    audio: Path | None = None
    model: str | None = None
    device: str | None = None
    prompts: Path | None = None
    thresholds: str | None = None
    positive_share: float | None = None
    false_positive_rate: float | None = None

    def __post_init__(self) -> None:
        if self.teacher not in _NEEDS:
            raise ValueError(f"--teacher {self.teacher}: expected one of {', '.join(_NEEDS)}")
        for name in dict.fromkeys(name for names in (*_NEEDS.values(), *_MAY_HAVE.values()) for name in names):
            given = getattr(self, name) is not None
            if given and name not in _NEEDS[self.teacher] + _MAY_HAVE[self.teacher]:
                raise ValueError(f"--{name} is not for the teacher {self.teacher}")
            if not given and name in _NEEDS[self.teacher]:
                raise ValueError(f"the teacher {self.teacher} needs --{name}")
        if self.modality not in (None, *MODALITIES):
            raise ValueError(f"--modality {self.modality}: expected {' or '.join(MODALITIES)}")
        ways = [self.thresholds, self.positive_share, self.false_positive_rate]
        if sum(way is not None for way in ways) > 1:
            raise ValueError("--thresholds, --positive-share and --false-positive-rate exclude each other")
        for name, share in (("positive-share", self.positive_share), ("false-positive-rate", self.false_positive_rate)):
            if share is not None and not 0 < share < 1:
                raise ValueError(f"--{name} {share}: expected a share between 0 and 1")
        if self.teacher == "embeddings":
            self._require_thresholds_of_embeddings()

    def _require_thresholds_of_embeddings(self) -> None:
        if self.thresholds == VALOR and self.scale is None:
            raise ValueError("--thresholds valor is for scaled cosines: pass --scale too, near 100 for CLIP")
        if (self.thresholds, self.positive_share, self.false_positive_rate) == (None, None, None):
            raise ValueError(
                "embeddings need thresholds: pass --thresholds FILE, choose or valor, --positive-share or "
                "--false-positive-rate"
            )

    @property
    def sees(self) -> Modality:
        """The modality whose labels are made."""
        return _SEES.get(self.teacher) or MODALITIES[MODALITIES.index(self.modality)]


def make_teacher(
    request: Request, opened: Callable[[str], AVVPDataset], data: AVVPDataset
) -> tuple[Teacher, dict[str, Any], list[str]]:
    """The teacher that was asked for.

    Args:
        request: What was asked for.
        opened: Gives a split of the data; asked for "train" where centroids are.
        data: Any of the splits, for classes and streams.

    Returns:
        The teacher, more for the record of its labels, and sentences about it for the user.

    Raises:
        ImportError, OSError, ValueError: As the teachers do.
    """
    if request.teacher == "embeddings":
        return _embeddings_teacher(request, opened, data)
    if request.prompts is not None:
        prompts, told = read_prompts(request.prompts, data.classes), f"{request.prompts}"
    else:
        prompts, told = default_prompts(data.classes, request.sees)
    about = {"prompts_from": told, "prompts": dict(zip(data.classes, prompts, strict=True))}
    device = choose_device(request.device or "cpu", "--device")
    teacher: Teacher
    if request.frames is not None:
        teacher = ClipTeacher(request.frames, prompts, request.model or CLIP_MODEL, device)
    else:
        assert request.audio is not None
        teacher = ClapTeacher(request.audio, prompts, request.model or CLAP_MODEL, device)
    return teacher, about, [f"prompts: {told}"]


def _embeddings_teacher(
    request: Request, opened: Callable[[str], AVVPDataset], data: AVVPDataset
) -> tuple[Teacher, dict[str, Any], list[str]]:
    assert request.embeddings is not None
    assert request.text is not None
    scale = 1.0 if request.scale is None else request.scale
    source = request.embeddings
    embed = (
        stream_embeddings(data, source.removeprefix(STREAM))
        if source.startswith(STREAM)
        else folder_of_embeddings(Path(source))
    )
    if request.text == CENTROIDS:
        train = opened("train")
        text, embed = class_centroids(train, embed, request.sees)
        told = f"class centroids of {source}, from the weak labels of {len(train)} training videos; no truth was read"
        about: dict[str, Any] = {"embeddings": source, "text": told}
        return EmbeddingsTeacher(request.sees, text, embed, scale, about), {}, [f"classes: {told}"]
    text, about = read_text(Path(request.text), len(data.classes))
    return EmbeddingsTeacher(request.sees, text, embed, scale, {"embeddings": source, **about}), {}, []


def resolve_thresholds(request: Request, judged: Callable[[str], Judged], classes: Sequence[str]) -> Thresholds:
    """The thresholds that were asked for.

    Args:
        request: What was asked for.
        judged: Lets the teacher judge a split; asked for "val" or "train" where thresholds are chosen.
        classes: C names.

    Raises:
        FileNotFoundError, ValueError: A file is missing or malformed, or thresholds cannot be chosen.
    """
    if request.positive_share is not None or request.false_positive_rate is not None:
        return choose_without_truth(judged("train"), request.positive_share, request.false_positive_rate)
    if request.thresholds == CHOOSE:
        return choose_by_truth(judged("val"))
    if request.thresholds in (None, VALOR):
        values = valor_thresholds(classes, request.sees)
        if request.thresholds is None and (request.model is not None or request.prompts is not None):
            raise ValueError(
                "VALOR's thresholds are for its own model and prompts: with --model or --prompts pass --thresholds "
                "FILE, choose or valor, --positive-share or --false-positive-rate"
            )
        note = "; they are for laion-clap's checkpoint 630k, which this model need not be"
        return Thresholds(values, "VALOR's, for LLP's classes" + (note if request.teacher == "clap" else ""))
    path = Path(request.thresholds)
    if not path.exists() and not path.suffix:
        raise ValueError(f"--thresholds {shown(request.thresholds)}: expected a file, {CHOOSE} or {VALOR}")
    return Thresholds(read_thresholds(path, classes), f"{path}")
