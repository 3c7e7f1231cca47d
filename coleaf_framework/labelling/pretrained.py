"""What the teachers CLIP and CLAP share: the libraries they need, and features that two versions return differently."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from coleaf_framework._config import reason
from coleaf_framework.labelling.rule import similarity_logits

EXTRA = "pip install 'coleaf-framework[teachers]'"


def require_library(name: str, teacher: str) -> Any:
    """Import a library of the extra `teachers`.

    Raises:
        ImportError: It is not installed; says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        raise ImportError(f"the teacher {teacher} needs {name.partition('.')[0]}: {EXTRA}") from problem


def load_pretrained(kind: Any, name: str, what: str) -> Any:
    """`kind.from_pretrained(name)`.

    Raises:
        ValueError: It cannot be loaded; says why.
    """
    try:
        return kind.from_pretrained(name)
    except Exception as problem:  # files, network, formats: the library raises almost anything
        raise ValueError(f"--model {name}: no {what} can be loaded from it: {reason(problem)[:300]}") from problem


def features(returned: Any) -> Tensor:
    """Projected features (B,E) of `get_*_features`: a tensor in transformers 4, a field of an output in 5."""
    found: Tensor = returned if isinstance(returned, Tensor) else returned.pooler_output
    return found


@torch.no_grad()
def embed_prompts(tokenizer: Any, embed: Callable[..., Any], prompts: Sequence[str]) -> Tensor:
    """Embeddings (C,E) of prompts."""
    return features(embed(**tokenizer(list(prompts), padding=True, return_tensors="pt")))


class SimilarityTeacher:
    """Scaled cosines of prompts and of segments, as a pretrained model embeds both.

    Args:
        text: (C,E), embeddings of the prompts.
        scale: The model's learnt factor of cosines.
    """

    def __init__(self, text: Tensor, scale: Tensor) -> None:
        self.text, self.scale = text, float(scale)

    def similarity(self, segments: Tensor) -> Tensor:
        """Embeddings (T,E) -> logits (T,C)."""
        return similarity_logits(segments.cpu(), self.text.cpu(), self.scale)
