"""MGN, the Multi-modal Grouping Network (Mo and Tian, NeurIPS 2022), as an Anchor.

Parameter names are those of the published checkpoints. Shape letters: see `coleaf_framework.protocol`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from coleaf_backbones.attention import require_divisor, require_options
from coleaf_backbones.mgn_grouping import KINDS, OTHER, EncodedGrouping, Grouping, Kind
from coleaf_backbones.mmil import guided_loss
from coleaf_backbones.streams import StreamProjections
from coleaf_framework.protocol import LLP_STREAMS, AnchorOutput, Batch, Progress, StreamSpec

INITIAL_DEVIATION = 0.02


@dataclass(frozen=True, kw_only=True)
class MGNOutput(AnchorOutput):
    """What MGN returns.

    Args:
        class_tokens: (B,M,C,D), each modality's segments gathered by class.
        joint_class_tokens: (B,C,D), these of both modalities gathered by class.
        class_logits: (M,C,C), which class each learned class token is taken for; the same for all videos.
    """

    class_tokens: Tensor
    joint_class_tokens: Tensor
    class_logits: Tensor


class AudioGrouping(EncodedGrouping):
    """`EncodedGrouping` of audio, with the block that enriches visual tokens with audio: `han_encoder`.

    Args:
        segments: number of segments, T.
        layers, groups, width, heads, kind, drop_path: see `EncodedGrouping`; the further block assigns in the other
            way than `kind`.
    """

    def __init__(
        self, segments: int, layers: int, groups: int, width: int, heads: int, kind: Kind, drop_path: float
    ) -> None:
        super().__init__(layers, groups, width, heads, kind, drop_path)
        self.han_encoder = Grouping(segments, width, heads, OTHER[kind])


class MGN(StreamProjections):
    """MGN with its loss: segments are gathered into class tokens, and these tell which classes are present.

    Args:
        num_classes: number of classes, C.
        streams: at least one of each modality; any names, widths and frames per segment. Each is projected; several
            of one modality are then concatenated and fused. Published checkpoints have LLP's three.
        segments: number of segments of every video, T, which is the width of a layer; 10 as published.
        width: width, D, a multiple of `heads`; 128 as published.
        heads: number of attention heads, 8 as published.
        layers: number of transformer blocks of either modality, 3 as published.
        joint_layers: number of transformer blocks over the class tokens of both modalities, 6 as published.
        assignment: "soft" as published, or "hard": how segments belong to classes. The block that enriches visual
            tokens with audio assigns in the other way, also as published. Hard assignments have Gumbel noise in
            training.
        joint_assignment: the same for the class tokens of both modalities; that of `assignment` with None.
        drop_path: rate at which training leaves out a residual branch for a video, in [0,1).

    Raises:
        ValueError: a modality has no stream, or an option is out of range.

    Example:
        >>> streams = {"clap": StreamSpec(6, "audio"), "clip": StreamSpec(8, "visual", frames=2)}
        >>> mgn = MGN(num_classes=4, streams=streams, segments=5, width=8)
        >>> mgn(clap=torch.randn(3, 5, 6), clip=torch.randn(3, 10, 8)).segment_probs.shape
        torch.Size([3, 5, 2, 4])
    """

    paper = "Mo, Tian: Multi-modal Grouping Network for Weakly-Supervised Audio-Visual Video Parsing. NeurIPS 2022"
    licence = "none stated"
    published_training: Mapping[str, object] = {
        "epochs": 40,
        "batch_size": 16,
        "learning_rate": 3e-4,
        "lr_step": 10,
        "lr_gamma": 0.1,
        "seed": 1,
        "monitor": ("segment/Type@AV",),
    }

    def __init__(
        self,
        num_classes: int = 25,
        streams: Mapping[str, StreamSpec] = LLP_STREAMS,
        segments: int = 10,
        width: int = 128,
        heads: int = 8,
        layers: int = 3,
        joint_layers: int = 6,
        assignment: Kind = "soft",
        joint_assignment: Kind | None = None,
        drop_path: float = 0.1,
    ) -> None:
        sizes = {"num_classes": num_classes, "segments": segments, "width": width, "heads": heads}
        sizes |= {"layers": layers, "joint_layers": joint_layers}
        require_options("MGN", sizes=sizes, rates={"drop_path": drop_path}, flags={})
        joint_assignment = assignment if joint_assignment is None else joint_assignment
        for name, kind in (("assignment", assignment), ("joint_assignment", joint_assignment)):
            if kind not in KINDS:
                raise ValueError(f"MGN: {name}={kind!r}: expected one of {', '.join(KINDS)}")
        require_divisor("MGN", width, heads=heads)
        super().__init__("MGN", streams, width)
        self.num_classes, self.fixed_segments, self.assignment = num_classes, segments, assignment
        shape = num_classes, width, heads
        self.audio_token = nn.Parameter(torch.zeros(num_classes, width))
        self.visual_token = nn.Parameter(torch.zeros(num_classes, width))
        self.audio_cug = AudioGrouping(segments, layers, *shape, assignment, drop_path)
        self.visual_cug = EncodedGrouping(layers, *shape, assignment, drop_path)
        self.av_mcg = EncodedGrouping(joint_layers, *shape, joint_assignment, drop_path)
        self.fc_prob, self.fc_prob_a, self.fc_prob_v = (nn.Linear(width, 1) for _ in range(3))
        self.fc_cls = nn.Linear(width, num_classes)
        self.apply(_initialise)

    def forward(self, **streams: Tensor) -> MGNOutput:
        """Run the network.

        Args:
            streams: name -> (B, frames * T, width) float, with the T that the network was made for.

        Returns:
            Probabilities (B,T,M,C), (B,C) and (B,M,C) in [0,1], tokens (B,T,M,D), and the tokens and logits of classes.

        Raises:
            ValueError: a stream is missing or unknown, or T is another one.
        """
        audio, visual = self.input_tokens(streams)
        self._require_segments(audio, visual)
        audio, visual, groups_a, groups_v = self._encode(audio, visual)
        classes_a, weights_a = self.audio_cug.grouping(audio, groups_a)
        classes_v, weights_v = self.visual_cug.grouping(visual, groups_v)
        joint, _ = self.av_mcg.grouping(*self.av_mcg.encode(classes_a, classes_v))
        modality_probs = torch.stack([self.fc_prob_a(classes_a), self.fc_prob_v(classes_v)], dim=1).sigmoid()
        maps = torch.stack([weights_a, weights_v], dim=1)  # (B,M,C,T)
        if self.assignment == "soft":
            maps = 1 + maps.softmax(dim=-1)
        # A soft map lies in (1,2], so this may exceed 1. No threshold does, so the cut changes no decision.
        segment_probs = (modality_probs * maps).clamp(max=1)
        return MGNOutput(
            segment_probs=rearrange(segment_probs, "b m c t -> b t m c"),
            video_probs=self.fc_prob(joint).squeeze(-1).sigmoid(),
            tokens=torch.stack([audio, visual], dim=2),
            modality_probs=modality_probs.squeeze(-1),
            class_tokens=torch.stack([classes_a, classes_v], dim=1),
            joint_class_tokens=joint,
            class_logits=self.fc_cls(torch.stack([self.audio_token, self.visual_token])),
        )

    def _encode(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Input tokens, two (B,T,D) -> what is grouped, two (B,T,D), and into what, two (B,C,D); audio first."""
        groups_a, groups_v = (x.expand(audio.shape[0], -1, -1) for x in (self.audio_token, self.visual_token))
        heard, groups_a = self.audio_cug.encode(audio, groups_a)
        # As published: audio tokens are the visual ones, from before their transformer, enriched by audio.
        heard, _ = self.audio_cug.han_encoder(heard, visual)
        seen, groups_v = self.visual_cug.encode(visual, groups_v)
        return heard, seen, groups_a, groups_v

    def _require_segments(self, *tokens: Tensor) -> None:
        for x in tokens:
            if x.shape[1] != self.fixed_segments:
                raise ValueError(
                    f"MGN takes videos of {self.fixed_segments} segments, which is the width of a layer; this batch "
                    f"has T = {x.shape[1]}: set anchor.options.segments"
                )

    def loss(self, output: MGNOutput, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """The guided loss, and cross-entropy of each learned class token against its own class.

        Args:
            output: what `forward` returned for the batch.
            batch: the videos, with labels.
            progress: not read.

        Returns:
            "video", "audio", "visual", "audio_tokens" and "visual_tokens" -> scalar, each of weight 1. The last two do
            not depend on the videos.
        """
        classes = torch.arange(self.num_classes, device=output.class_logits.device)
        audio, visual = (F.cross_entropy(logits, classes) for logits in output.class_logits)
        return {**guided_loss(output, batch), "audio_tokens": audio, "visual_tokens": visual}


def _initialise(module: nn.Module) -> None:
    """Published initial values of linear layers."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=INITIAL_DEVIATION)
        nn.init.zeros_(module.bias)
