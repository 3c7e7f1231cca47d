"""What the teachers CLIP and CLAP share: the libraries they need, and features that two versions return differently."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
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
    """Scaled cosines of prompts and of segments, as a pretrained model of transformers embeds both.

    Args:
        teacher: Its name in commands, "clip" or "clap".
        kind: Name of the model's class in transformers, such as "CLIPModel".
        model: Name or folder of a checkpoint with its tokenizer.
        scale: Name of the model's parameter that is the logarithm of the factor of cosines.
        prompts: C texts.
        device: Where it runs.

    Raises:
        ImportError: transformers is not installed.
        ValueError: The model cannot be loaded.
    """

    def __init__(
        self, teacher: str, kind: str, model: str, scale: str, prompts: Sequence[str], device: torch.device | str
    ) -> None:
        self.library = require_library("transformers", teacher)
        self.network = load_pretrained(getattr(self.library, kind), model, kind).eval()
        tokenizer = load_pretrained(self.library.AutoTokenizer, model, "tokenizer")
        self.text = embed_prompts(tokenizer, self.network.get_text_features, prompts)
        self.scale = float(getattr(self.network, scale).detach().exp())
        self.network.to(device)
        self.device = device
        self.about: Mapping[str, Any] = {
            "teacher": teacher,
            "model": model,
            "transformers": self.library.__version__,
            "scale": self.scale,
        }

    def similarity(self, segments: Tensor) -> Tensor:
        """Embeddings (T,E) -> logits (T,C)."""
        return similarity_logits(segments.cpu(), self.text.cpu(), self.scale)
