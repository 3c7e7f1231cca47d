"""Tiny random CLIP and CLAP models with tokenizers, in the folders that the library transformers reads."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import torch

TEXT = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SIDE = 16


def _spread(model: Any) -> Any:
    """Larger random weights, so that different inputs are answered differently."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3)
    return model.eval()


def _write_vocabulary(folder: Path, special: list[str], end: str) -> int:
    """Letters alone; returns how many tokens there are."""
    letters = list(string.ascii_letters + string.punctuation)
    tokens = [*special, *letters, *(f"{letter}{end}" for letter in letters if end), "Ġ"]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return len(vocabulary)


def write_tiny_clip(folder: Path, transformers: Any, width: int = 6) -> Any:
    """Write a CLIP for images of 16 x 16, with embeddings of a width, and return the model."""
    folder.mkdir()
    tokens = _write_vocabulary(folder, ["<|startoftext|>", "<|endoftext|>"], "</w>")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config = transformers.CLIPConfig(
        text_config={**TEXT, "vocab_size": tokens, "max_position_embeddings": 40, "bos_token_id": 0, "eos_token_id": 1,
                     "pad_token_id": 1},
        vision_config={**TEXT, "image_size": SIDE, "patch_size": 8},
        projection_dim=width,
    )  # fmt: skip
    model = _spread(transformers.CLIPModel(config))
    model.save_pretrained(folder)
    return model


def write_tiny_clap(folder: Path, transformers: Any, width: int = 32, fusion: bool = True) -> Any:
    """Write a CLAP, with fusion and with maps of a width (a multiple of 8), and return the model."""
    folder.mkdir()
    tokens = _write_vocabulary(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "")
    tokenizer = transformers.RobertaTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config = transformers.ClapConfig(
        text_config={**TEXT, "vocab_size": tokens, "max_position_embeddings": 60, "projection_dim": 6},
        audio_config={"enable_fusion": fusion, "fusion_type": "aff_2d" if fusion else None,
                      "patch_embeds_hidden_size": width // 8, "hidden_size": width, "depths": [1, 1, 1, 1],
                      "num_attention_heads": [1, 1, 1, 1], "aff_block_r": 1, "projection_dim": 6},
        projection_dim=6,
    )  # fmt: skip
    model = _spread(transformers.ClapModel(config))
    model.save_pretrained(folder)
    transformers.ClapFeatureExtractor().save_pretrained(folder)
    return model


def write_tiny_weights(folder: Path, transformers: Any) -> None:
    """Write a CLIP and a CLAP whose features are as wide as the recipe clip-clap's, where it looks for them."""
    write_tiny_clip(folder / "clip-vit-large-patch14", transformers, width=768)
    write_tiny_clap(folder / "clap-htsat-fused", transformers, width=768)
