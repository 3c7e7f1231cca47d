"""Prompts and thresholds per class: VALOR's for LLP's classes, or from files.

VALOR: Lai, Chen, Wang, NeurIPS 2023. Its prompts have two spelling mistakes ("vaccum", "guiter"), which change the
embeddings, so they are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from coleaf_framework._config import nearest, shown
from coleaf_framework.data import LLP_CLASSES
from coleaf_framework.protocol import Modality
from coleaf_framework.storage import read_yaml, require_file

TEMPLATES: Mapping[Modality, str] = {"audio": "This is a sound of {class}", "visual": "A photo of {class}."}
"""Prompt of a class without one of its own; its name is in lower case, with blanks for underscores."""

_SEEN = (
    "people talking", "a car", "people cheering", "a dog", "a cat", "frying food", "people playing basketball",
    "a fire alarm", "a chainsaw", "a cello", "a banjo", "people singing", "a chicken or a rooster", "a violin",
    "a vaccum cleaner", "a laughing baby", "an accordion", "a lawnmower", "a motorcycle", "a helicopter",
    "a acoustic guiter", "a ringing telephone", "a crying baby", "a blender", "hands clapping",
)  # fmt: skip
_HEARD = (
    "speech", "car", "cheering", "dog", "cat", "frying (food)", "basketball bounce", "fire alarm", "chainsaw", "cello",
    "banjo", "singing", "chicken, rooster", "violin fiddle", "vacuum cleaner", "baby laughter", "accordion",
    "lawn mower", "motorcycle", "helicopter", "acoustic guitar", "telephone bell ringing", "baby cry, infant cry",
    "blender", "clapping",
)  # fmt: skip
VALOR_PROMPTS: Mapping[Modality, tuple[str, ...]] = {
    "audio": tuple(f"This is a sound of {what}" for what in _HEARD),
    "visual": tuple(f"A photo of {what}." for what in _SEEN),
}
"""In the order of `LLP_CLASSES`; audio for LAION-CLAP, visual for CLIP ViT-L/14."""
VALOR_THRESHOLDS: Mapping[Modality, tuple[float, ...]] = {
    "audio": (0, 0, 1, 4, 6, -2, 4, 4, 2, 2, 2, 1, 2, 3, 0, 2, 2, 2, 0, 2, -1, 2, 3, 3, 0),
    "visual": (20, 15, 18, 14, 15, 18, 18, 15, 15, 15, 15, 18, 15, 15, 15, 15, 15, 15, 15, 16, 14, 15, 15, 15, 18),
}
"""Of scaled cosines, in the order of `LLP_CLASSES`."""


def default_prompts(classes: Sequence[str], modality: Modality) -> tuple[tuple[str, ...], str]:
    """Prompts of classes for which no file was given, and a sentence that says which they are.

    Example:
        >>> default_prompts(["Lawn_mower"], "visual")[0]
        ('A photo of lawn mower.',)
    """
    if tuple(classes) == LLP_CLASSES:
        return VALOR_PROMPTS[modality], "VALOR's prompts for LLP's classes"
    template = TEMPLATES[modality]
    named = (name.replace("_", " ").lower() for name in classes)
    return tuple(template.replace("{class}", name) for name in named), f"the template {template!r} for every class"


def valor_thresholds(classes: Sequence[str], modality: Modality) -> Tensor:
    """VALOR's thresholds (C,), which are for LLP's classes alone.

    Raises:
        ValueError: The classes are others.
    """
    if tuple(classes) != LLP_CLASSES:
        raise ValueError(
            f"VALOR's thresholds are for LLP's {len(LLP_CLASSES)} classes, not for these {len(classes)}: pass "
            "--thresholds FILE or choose, --positive-share or --false-positive-rate"
        )
    return torch.tensor(VALOR_THRESHOLDS[modality], dtype=torch.float64)


def read_prompts(path: Path, classes: Sequence[str]) -> tuple[str, ...]:
    """The prompt of each class from a file.

    Args:
        path: YAML, class: prompt; or, named *.tsv, lines of class, tab, prompt.
        classes: C names; the file has each of them, and no other.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is malformed, or has other classes. The message names the file and the class.
    """
    found = _per_class(path, classes, "prompt")
    for name, prompt in found.items():
        if not isinstance(prompt, str) or not prompt.strip():
            raise ValueError(f"{path}: the prompt of {name!r} is {shown(prompt)}, where a text was expected")
    return tuple(str(found[name]) for name in classes)


def read_thresholds(path: Path, classes: Sequence[str]) -> Tensor:
    """The threshold of each class from a file, (C,) float64; formats and errors as in `read_prompts`."""
    found = _per_class(path, classes, "threshold")
    values = []
    for name in classes:
        try:
            value = float("nan") if isinstance(found[name], bool) else float(found[name])  # type: ignore[arg-type]
        except (TypeError, ValueError):
            value = float("nan")
        if not abs(value) < float("inf"):
            raise ValueError(f"{path}: the threshold of {name!r} is {shown(found[name])}, where a number was expected")
        values.append(value)
    return torch.tensor(values, dtype=torch.float64)


def _per_class(path: Path, classes: Sequence[str], what: str) -> dict[str, object]:
    found = _read_tsv(path, what) if path.suffix == ".tsv" else dict(read_yaml(path))
    if missing := [name for name in classes if name not in found]:
        raise ValueError(f"{path}: no {what} for {missing[0]!r}, {len(missing)} of {len(classes)} classes are missing")
    if unknown := [name for name in found if name not in classes]:
        raise ValueError(f"{path}: {unknown[0]!r} is no class of the data.{nearest(str(unknown[0]), classes)}")
    return found


def _read_tsv(path: Path, what: str) -> dict[str, object]:
    require_file(path)
    found: dict[str, object] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as problem:
        raise ValueError(f"{path}: not readable as text: {problem}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, tab, value = line.partition("\t")
        if not tab:
            raise ValueError(f"{path}, line {number}: expected class, tab, {what}, got {shown(line)}")
        if name in found:
            raise ValueError(f"{path}, line {number}: the class {name!r} a second time")
        found[name] = value.strip()
    return found
