"""What the teachers CLIP and CLAP share: similarities, and features that versions of transformers give differently."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from coleaf_framework._extras import require_library
from coleaf_framework.extraction.pretrained import load_network, load_pretrained
from coleaf_framework.labelling.rule import similarity_logits

MODEL_OPTION = "--model "
"""What the user names the checkpoint by; begins messages about it."""


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
        self.library = require_library("transformers", f"the teacher {teacher}", "teachers")
        self.network = load_network(getattr(self.library, kind), model, option=MODEL_OPTION)
        tokenizer = load_pretrained(self.library.AutoTokenizer, model, "tokenizer", option=MODEL_OPTION)
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
