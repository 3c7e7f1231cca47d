"""VALOR, VALOR+ and VALOR++ (Lai, Chen, Wang, NeurIPS 2023), as one Anchor.

The three are one network of two sizes, on other features: see docs/anchors/valor.md. Parameter names are those of the
published checkpoints; the final norms that they hold and never use are left out. Shape letters: see
`coleaf_framework.protocol`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from coleaf_backbones.attention import Attention, FeedForward, require_divisor, require_options
from coleaf_backbones.mmil import MMILAnchor, guided_loss
from coleaf_framework.losses import binary_cross_entropy
from coleaf_framework.protocol import LLP_STREAMS, AnchorOutput, Batch, Progress, StreamSpec


class AudioFirstLayer(FeedForward):
    """A layer of HAN's form that updates audio first: visual tokens then attend to the updated audio.

    Both modalities share the weights.

    Args:
        width: width, D, a multiple of `heads`.
        heads: number of attention heads.
        hidden: width of the feed-forward block.
        dropout: rate, in [0,1).

    Raises:
        ValueError: the width is not a multiple of the number of heads.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__(width, hidden, dropout)
        self.self_attn = Attention(width, heads, dropout)
        self.cm_attn = Attention(width, heads, dropout)

    def forward(self, audio: Tensor, visual: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Tokens of either modality, two (B,T,D), and a mask (B,T) bool, True = real segment -> the same shapes."""
        audio = self._update(audio, visual, mask)
        return audio, self._update(visual, audio, mask)

    def _update(self, x: Tensor, other: Tensor, mask: Tensor | None) -> Tensor:
        """`x` after attention to itself and to `other`, each (B,T,D)."""
        query, key, value = self.self_attn.project(x)
        own = self.self_attn.attend(query, key, value, mask)
        cross = self.cm_attn.attend(self.cm_attn.project_query(x), *self.cm_attn.project_memory(other), mask)
        return self.feed_forward(x + self.dropout(own) + self.dropout(cross))


class AudioFirstEncoder(nn.Module):
    """A stack of layers, each with weights of its own."""

    def __init__(self, layers: int, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(AudioFirstLayer(width, heads, hidden, dropout) for _ in range(layers))

    def forward(self, audio: Tensor, visual: Tensor, mask: Tensor | None = None) -> Tensor:
        """Input tokens, two (B,T,D) -> output tokens (B,T,M,D)."""
        for layer in self.layers:
            audio, visual = layer(audio, visual, mask)
        return torch.stack([audio, visual], dim=2)


class VALOR(MMILAnchor):
    """VALOR's network, and the part of its loss that needs no pseudo-labels.

    Args:
        num_classes: number of classes, C.
        streams: at least one of each modality; any names, widths and frames per segment. Each is projected; several
            of one modality are then concatenated and fused. Published checkpoints have streams of LLP's names.
        width: width, D, a multiple of `heads`: 512 for VALOR, 256 for VALOR+ and VALOR++.
        layers: number of encoder layers: 1 for VALOR, 4 for VALOR+ and VALOR++.
        heads: number of attention heads, 8 as published.
        hidden: width of the feed-forward block, 1024 as published.
        dropout: rate, in [0,1).

    Raises:
        ValueError: a modality has no stream, or an option is out of range.

    Example:
        >>> streams = {"clap": StreamSpec(6, "audio"), "clip": StreamSpec(8, "visual", frames=2)}
        >>> valor = VALOR(num_classes=4, streams=streams, width=16, layers=2)
        >>> valor(clap=torch.randn(3, 5, 6), clip=torch.randn(3, 10, 8)).segment_probs.shape
        torch.Size([3, 5, 2, 4])
    """

    paper = (
        "Lai, Chen, Wang: Modality-Independent Teachers Meet Weakly-Supervised Audio-Visual Event Parser. "
        "NeurIPS 2023, arXiv:2305.17343"
    )
    licence = "MIT"
    # The run published for VALOR; VALOR+ and VALOR++ have three times its learning rates. Epoch e of the first nine has
    # e / 10 of the learning rate.
    published_training: Mapping[str, object] = {
        "epochs": 60,
        "batch_size": 64,
        "optimizer": "adamw",
        "adam_betas": (0.5, 0.999),
        "weight_decay": 1e-3,
        "learning_rate": 1e-4,
        "lr_min": 1e-6,
        "schedule": "cosine",
        "warmup_epochs": 9,
        "clip_norm": 1.0,
        "seed": 1000,
        "monitor": ("segment/Type@AV",),
    }

    def __init__(
        self,
        num_classes: int = 25,
        streams: Mapping[str, StreamSpec] = LLP_STREAMS,
        width: int = 512,
        layers: int = 1,
        heads: int = 8,
        hidden: int = 1024,
        dropout: float = 0.1,
    ) -> None:
        sizes = {"num_classes": num_classes, "width": width, "layers": layers, "heads": heads, "hidden": hidden}
        require_options("VALOR", sizes=sizes, rates={"dropout": dropout}, flags={})
        require_divisor("VALOR", width, heads=heads)
        super().__init__("VALOR", num_classes, streams, width)
        self.hat_encoder = AudioFirstEncoder(layers, width, heads, hidden, dropout)
        self.add_classifiers(width)

    def encode(self, audio: Tensor, visual: Tensor, mask: Tensor | None) -> Tensor:
        """Input tokens of either modality, two (B,T,D) -> output tokens (B,T,M,D)."""
        return self.hat_encoder(audio, visual, mask)  # type: ignore[no-any-return]

    def loss(self, output: AnchorOutput, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """BCE of video probabilities against weak labels, beside pseudo-labels; HAN's guided loss without them.

        The cross-entropies against pseudo-labels of segments are the framework's: `coleaf.segment_label_weight`.

        Args:
            output: what `forward` returned for the batch.
            batch: the videos, with labels, and pseudo-labels or none.
            progress: not read.

        Returns:
            "video", and without pseudo-labels "audio" and "visual" -> scalar, means over videos and classes.
        """
        if batch.pseudo_labels is None:
            return guided_loss(output, batch)
        return {"video": binary_cross_entropy(output.video_probs, batch.labels)}
