"""MM-Pyramid (Yu et al., ACM MM 2022), as an Anchor.

Parameter names are those of the published checkpoints; parameters that the published code never uses are left out.
Shape letters: see `coleaf_framework.protocol`; L is the number of pyramid levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from coleaf_backbones.attention import require_divisor, require_options
from coleaf_backbones.mm_pyramid_layers import TemporalBlock, TransformerLayer, visible_segments, without_second_names
from coleaf_backbones.mmil import MMILAnchor
from coleaf_framework.protocol import LLP_STREAMS, StreamSpec


class PyramidAttention(nn.Module):
    """One level's attention: each modality to itself and to the other, summed under two gates.

    With S self-attention, X cross-attention and [S;X] (B,T,2D): sigmoid(L1 [S;X]) * S + sigmoid(L2 [S;X]) * X.
    Self-attention and gates are each modality's own; cross-attention is shared.

    Args:
        width: width, D.
        layer: arguments of `TransformerLayer`.
    """

    def __init__(self, width: int, **layer: Any) -> None:
        super().__init__()

        def block() -> nn.ModuleDict:
            return nn.ModuleDict({"layer": TransformerLayer(width, **layer)})

        self.vsablock, self.asablock, self.cmablock = block(), block(), block()
        self.lv1, self.lv2, self.la1, self.la2 = (nn.Linear(2 * width, width) for _ in range(4))

    def forward(self, audio: Tensor, visual: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Audio and visual tokens, two (B,T,D), and `seen` from `visible_segments` -> two (B,T,D)."""
        # Both directions of the shared layer as one batch of 2B.
        queries, context = torch.cat([audio, visual]), torch.cat([visual, audio])
        twice = torch.cat([seen, seen]) if seen.shape[0] > 1 else seen
        crossed_audio, crossed_visual = self.cmablock["layer"](queries, context, twice).unflatten(0, (2, -1))
        own_audio = self.asablock["layer"](audio, audio, seen)
        own_visual = self.vsablock["layer"](visual, visual, seen)
        return (
            _sum_gated(own_audio, crossed_audio, self.la1, self.la2),
            _sum_gated(own_visual, crossed_visual, self.lv1, self.lv2),
        )


def _sum_gated(own: Tensor, crossed: Tensor, gate_own: nn.Module, gate_crossed: nn.Module) -> Tensor:
    both = torch.cat([own, crossed], dim=-1)
    gated: Tensor = gate_own(both).sigmoid() * own + gate_crossed(both).sigmoid() * crossed
    return gated


class PyramidCapture(nn.Module):
    """The levels, each of which reads the one before: attention within a window, then a convolution that is as wide.

    Args:
        levels: number of levels L; the l-th, from 0, reaches 2^l segments to either side.
        width: width, D.
        layer: arguments of `TransformerLayer`.
    """

    def __init__(self, levels: int, width: int, **layer: Any) -> None:
        super().__init__()
        self.reaches = [2**level for level in range(levels)]
        self.vnetwork = nn.ModuleList(TemporalBlock(width, reach) for reach in self.reaches)
        self.anetwork = nn.ModuleList(TemporalBlock(width, reach) for reach in self.reaches)
        self.msa = nn.ModuleList(PyramidAttention(width, **layer) for _ in self.reaches)

    def forward(self, audio: Tensor, visual: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Input tokens, two (B,T,D), and a mask (B,T) bool or None -> audio and visual levels, two (B,T,L,D)."""
        masks = visible_segments(audio.shape[1], self.reaches, mask, audio.device)
        audio_levels, visual_levels = [], []
        for attention, over_audio, over_visual, seen in zip(self.msa, self.anetwork, self.vnetwork, masks, strict=True):
            audio, visual = attention(audio, visual, seen)
            audio, visual = over_audio(audio, mask), over_visual(visual, mask)
            audio_levels.append(audio)
            visual_levels.append(visual)
        return torch.stack(audio_levels, dim=2), torch.stack(visual_levels, dim=2)


class PyramidFusion(nn.Module):
    """A segment's levels attend to each other and are summed, each times a weight sigmoid(Linear(level)).

    The weights are neither normalised over levels nor shared by the modalities.

    Args:
        width: width, D.
        layer: arguments of `TransformerLayer`.
    """

    def __init__(self, width: int, **layer: Any) -> None:
        super().__init__()
        self.vadaptiveinteraction = TransformerLayer(width, **layer)
        self.aadaptiveinteraction = TransformerLayer(width, **layer)
        self.vselectfusion = nn.Linear(width, 1)
        self.aselectfusion = nn.Linear(width, 1)

    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        """Audio and visual levels, two (B,T,L,D) -> tokens (B,T,M,D)."""
        return torch.stack(
            [
                _sum_weighted(_interact(audio, self.aadaptiveinteraction), self.aselectfusion),
                _sum_weighted(_interact(visual, self.vadaptiveinteraction), self.vselectfusion),
            ],
            dim=2,
        )


def _interact(levels: Tensor, layer: nn.Module) -> Tensor:
    """Levels (B,T,L,D), those of a segment attending to each other -> the same shape."""
    flat = levels.flatten(0, 1)  # attention in ONNX knows one axis of batches
    interacting: Tensor = layer(flat, flat).unflatten(0, levels.shape[:2])
    return interacting


def _sum_weighted(levels: Tensor, weigh: nn.Module) -> Tensor:
    total: Tensor = (weigh(levels).sigmoid() * levels).sum(2)
    return total


class MMPyramid(MMILAnchor):
    """MM-Pyramid with its guided loss.

    Audio stands first in every output and is computed from the audio tokens. The published code has the visual stream
    there, and trains and scores it as audio; see `import_note`.

    Args:
        num_classes: number of classes, C.
        streams: at least one of each modality; any names, widths and frames per segment. Each is projected; several
            of one modality are then concatenated and fused. Published checkpoints have LLP's three.
        width: width, D, 512 as published.
        levels: number of pyramid levels, 4 as published; the l-th, from 0, reaches 2^l segments to either side.
        heads: number of attention heads, 8 as published.
        hidden: width of the feed-forward blocks; D with None.
        dropout: rate in the transformer layers, in [0,1).
        attention_dropout: rate on attention weights, in [0,1).

    Raises:
        ValueError: a modality has no stream, or an option is out of range.

    Example:
        >>> streams = {"clap": StreamSpec(6, "audio"), "clip": StreamSpec(8, "visual", frames=2)}
        >>> net = MMPyramid(num_classes=4, streams=streams, width=8, heads=2)
        >>> net(clap=torch.randn(3, 5, 6), clip=torch.randn(3, 10, 8)).video_probs.shape
        torch.Size([3, 4])
    """

    paper = (
        "Yu et al.: MM-Pyramid: Multimodal Pyramid Attentional Network for Audio-Visual Event Localization and Video "
        "Parsing. ACM MM 2022, arXiv:2111.12374"
    )
    licence = "MIT"
    published_training: Mapping[str, object] = {
        "epochs": 40,
        "batch_size": 16,
        "learning_rate": 1e-4,
        "lr_step": 10,
        "lr_gamma": 0.1,
        "seed": 1,
        "monitor": ("segment/Type@AV",),
    }
    import_note = (
        "MM-Pyramid's published code stacks the visual stream first, and trains and scores it as audio. Here audio "
        "stands first and is computed from the audio stream, so the published scores are not those of this network"
    )

    def __init__(
        self,
        num_classes: int = 25,
        streams: Mapping[str, StreamSpec] = LLP_STREAMS,
        width: int = 512,
        levels: int = 4,
        heads: int = 8,
        hidden: int | None = None,
        dropout: float = 0.2,
        attention_dropout: float = 0.1,
    ) -> None:
        sizes = {"num_classes": num_classes, "width": width, "levels": levels, "heads": heads}
        sizes |= {} if hidden is None else {"hidden": hidden}
        rates = {"dropout": dropout, "attention_dropout": attention_dropout}
        require_options("MMPyramid", sizes=sizes, rates=rates, flags={})
        require_divisor("MMPyramid", width, heads=heads)
        super().__init__("MMPyramid", num_classes, streams, width)
        layer = {"heads": heads, "hidden": hidden or width, **rates}
        self.MMP = nn.ModuleDict(
            {"capture": PyramidCapture(levels, width, **layer), "fusion": PyramidFusion(width, **layer)}
        )
        self.add_classifiers(width)

    def encode(self, audio: Tensor, visual: Tensor, mask: Tensor | None) -> Tensor:
        """Input tokens of either modality, two (B,T,D) -> output tokens (B,T,M,D)."""
        return self.MMP["fusion"](*self.MMP["capture"](audio, visual, mask))  # type: ignore[no-any-return]

    @staticmethod
    def published_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A published checkpoint's tensors by this network's names; see `without_second_names`."""
        return without_second_names(tensors)
