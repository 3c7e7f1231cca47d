"""HCMN, the student of DHHN (ACM MM 2022), as an Anchor: HAN's layer at three scales of time.

Parameter names are those of the published checkpoints; the helper networks', which no such checkpoint holds, begin with
`helpers.audio.` and `helpers.visual.`. Shape letters: see `coleaf_framework.protocol`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coleaf_backbones.attention import require_divisor, require_options
from coleaf_backbones.han import HybridAttentionEncoder
from coleaf_backbones.hcmn_helpers import helper_networks
from coleaf_backbones.mmil import MMILAnchor, guided_labels, guided_loss
from coleaf_backbones.real_batch_norm import RealBatchNorm
from coleaf_framework.losses import binary_cross_entropy, in_float32
from coleaf_framework.protocol import LLP_STREAMS, MODALITIES, AnchorOutput, Batch, Progress, StreamSpec

# Segments that a convolution reads, and its stride, at each scale.
SCALES = ((1, 1), (3, 2), (5, 5))
EPS = 1e-7
PAPER = (
    "Jiang et al.: DHHN: Dual Hierarchical Hybrid Network for Weakly-Supervised Audio-Visual Video Parsing. ACM MM 2022"
)
_HELPERS = "helpers."


@dataclass(frozen=True)
class HCMNOutput(AnchorOutput):
    """What HCMN returns.

    Args:
        helper_probs: (B,M,C) in [0,1], AudioNet's and VideoNet's answers; None in evaluation and without helpers.
    """

    helper_probs: Tensor | None = None


class Downsampling(nn.Module):
    """One modality at one scale: convolution over time, batch normalisation, ReLU.

    Args:
        width: width, D.
        kernel: segments that it reads, an odd number.
        stride: segments from one position to the next.
    """

    def __init__(self, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        convolution = nn.Conv1d(width, width, kernel, stride, padding=kernel // 2, bias=False)
        self.blocks = nn.ModuleList([nn.ModuleList([convolution, RealBatchNorm(width)])])

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """Tokens (B,T,D), 0 where padded, to tokens (B,T',D), T' = ceil(T / stride); `real` (B,T') bool or None."""
        (block,) = self.blocks
        convolution, norm = block.children()
        return F.relu(norm(convolution(x.mT), real)).mT


class HCMN(MMILAnchor):
    """HCMN, its two helper networks, and the loss by which all three learn.

    Args:
        num_classes: number of classes, C.
        streams: at least one of each modality; any names, widths and frames per segment. Published checkpoints have
            LLP's three.
        width: width, D, 512 as published.
        heads: number of attention heads, 1 as published.
        hidden: width of the feed-forward blocks; D with None.
        dropout: rate, in [0,1).
        helpers: with AudioNet and VideoNet, which take part in training only. Without, the loss lacks their terms.
        helper_heads: number of attention heads of these two, 8 as published.
        helper_rates: learning rates of AudioNet and VideoNet, as multiples of the run's; (1, 1) was published for
            labels of either modality.

    Raises:
        ValueError: a modality has no stream, or an option is out of range.

    Example:
        >>> streams = {"clap": StreamSpec(6, "audio"), "clip": StreamSpec(8, "visual", frames=2)}
        >>> hcmn = HCMN(num_classes=4, streams=streams, width=8)
        >>> hcmn(clap=torch.randn(3, 5, 6), clip=torch.randn(3, 10, 8)).helper_probs.shape
        torch.Size([3, 2, 4])
    """

    paper = f"{PAPER}, its student network"
    licence = "none stated"
    decision: Mapping[str, object] = {"gate": "modality", "gate_threshold": 0.5, "segment_threshold": 0.5}
    # The published run without labels of either modality; with them, 5 epochs.
    published_training: Mapping[str, object] = {
        "epochs": 10,
        "batch_size": 64,
        "learning_rate": 3e-4,
        "lr_step": 10,
        "lr_gamma": 0.1,
        "seed": 1,
        "monitor": ("segment/Type@AV",),
    }
    published_options: Mapping[str, object] = {"helpers": False}
    training_only = (_HELPERS,)

    def __init__(
        self,
        num_classes: int = 25,
        streams: Mapping[str, StreamSpec] = LLP_STREAMS,
        width: int = 512,
        heads: int = 1,
        hidden: int | None = None,
        dropout: float = 0.1,
        helpers: bool = True,
        helper_heads: int = 8,
        helper_rates: Sequence[float] = (2.0, 0.2),
    ) -> None:
        sizes = {"num_classes": num_classes, "width": width, "heads": heads, "helper_heads": helper_heads}
        sizes |= {} if hidden is None else {"hidden": hidden}
        require_options("HCMN", sizes=sizes, rates={"dropout": dropout}, flags={"helpers": helpers})
        require_divisor("HCMN", width, heads=heads, **({"helper_heads": helper_heads} if helpers else {}))
        super().__init__("HCMN", num_classes, streams, width)
        self.conv_x1, self.conv_x2 = (nn.ModuleList(Downsampling(width, *scale) for scale in SCALES) for _ in range(2))
        self.hat_encoder = HybridAttentionEncoder(1, width, heads, hidden or width, dropout)
        self.add_classifiers(width)
        rates = _rates_of_helpers(helper_rates)
        self.learning_rate_factors = rates if helpers else {}
        self.helpers: nn.ModuleDict | None = None
        if helpers:
            self.helpers = helper_networks(num_classes, streams, width, helper_heads, hidden or width, dropout)
        self.register_load_state_dict_pre_hook(_keep_helpers)  # type: ignore[no-untyped-call]

    def forward(self, *, mask: Tensor | None = None, **streams: Tensor) -> HCMNOutput:
        """Run the network; in training mode the helper networks too.

        Args:
            mask: (B,T) bool, True = real segment, real ones first; None where all segments are real.
            streams: name -> (B, frames * T, width) float.

        Returns:
            Probabilities (B,T,M,C), (B,C) and (B,M,C) in [0,1], means over the levels of the pyramid; the tokens
            (B,T,M,D) of its top; and in training with helpers their answers (B,M,C).

        Raises:
            ValueError: a stream is missing or unknown.
        """
        levels = self.pyramid(*self.input_tokens(streams), mask)
        answers = [self.classify(tokens, mask) for tokens in levels]

        def mean(field: str) -> Tensor:
            return torch.stack([getattr(answer, field) for answer in answers]).mean(0)

        helper_probs = None
        if self.training and self.helpers is not None:
            helper_probs = torch.stack([net(streams, mask)[1] for net in self.helpers.values()], dim=1)
        fields = ("segment_probs", "video_probs", "modality_probs")
        return HCMNOutput(tokens=levels[-1], helper_probs=helper_probs, **{field: mean(field) for field in fields})

    def without_helpers(self) -> HCMN:
        """This network, now without its helpers, to be deployed: they take no part in evaluation."""
        self.helpers, self.learning_rate_factors = None, {}
        return self

    def encode(self, audio: Tensor, visual: Tensor, mask: Tensor | None) -> Tensor:
        """Input tokens of either modality, two (B,T,D) -> output tokens (B,T,M,D), the top of the pyramid."""
        return self.pyramid(audio, visual, mask)[-1]

    def pyramid(self, audio: Tensor, visual: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Tokens at each scale, with those of all finer scales added.

        A video in a padded batch is treated as if it were alone. Of its L segments a scale of stride s has
        ceil(L / s) positions, and segment i takes the position floor(i * ceil(L / s) / L).

        Args:
            audio: (B,T,D), projected.
            visual: (B,T,D), projected.
            mask: (B,T) bool, True = real segment, real ones first; None where all segments are real.

        Returns:
            Three (B,T,M,D), F1 to F3.
        """
        place = torch.arange(audio.shape[1], device=audio.device)
        lengths = place[-1:] + 1 if mask is None else mask.sum(1)
        if mask is not None:
            audio, visual = (x.masked_fill(~mask[..., None], 0.0) for x in (audio, visual))
        levels: list[Tensor] = []
        for (_, stride), heard, seen in zip(SCALES, self.conv_x1, self.conv_x2, strict=True):
            positions = (lengths + stride - 1) // stride  # (B,)
            real = None if mask is None else place[: -(-audio.shape[1] // stride)] < positions[:, None]
            tokens = self.hat_encoder(heard(audio, real), seen(visual, real), real)
            index = (place * positions[:, None] // lengths[:, None]).clamp(max=tokens.shape[1] - 1)
            upsampled = tokens.gather(1, index[:, :, None, None].expand(tokens.shape[0], -1, *tokens.shape[2:]))
            levels.append(levels[-1] + upsampled if levels else upsampled)
        return levels

    def loss(self, output: AnchorOutput, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """HAN's guided loss, and what student and helpers teach each other.

        Each network gets the gradient of its own loss alone, so that one optimiser stands for the published three: the
        student follows the helpers without teaching them, and the term between the helpers is in the sum once.

        Args:
            output: what `forward` returned for the batch, in training mode where there are helpers.
            batch: the videos, with labels.
            progress: not read.

        Returns:
            "video", "audio", "visual": see `guided_loss`. "apart": -MSE between the student's modalities.
            "follow_audio", "follow_visual": MSE of a modality to its helper, which gets no gradient. "helper_audio",
            "helper_visual": a helper's BCE, against the weak label, or against `guided_labels` where the batch has
            labels of either modality. "helpers_apart": -MSE between the helpers. All are means over videos and classes.

        Raises:
            ValueError: the output is of evaluation mode, in which helpers do not run.
        """
        assert output.modality_probs is not None
        audio, visual = output.modality_probs.unbind(1)
        terms = guided_loss(output, batch) | {"apart": -_squared_distance(audio, visual)}
        if self.helpers is None:
            return terms
        if not isinstance(output, HCMNOutput) or output.helper_probs is None:
            raise ValueError("HCMN.loss takes an output of training mode: in evaluation mode its helpers do not run")
        heard, seen = output.helper_probs.unbind(1)
        targets = batch.each_modality_labels() if batch.modality_labels is None else guided_labels(batch)
        return terms | {
            "follow_audio": _squared_distance(audio, heard.detach()),
            "follow_visual": _squared_distance(visual, seen.detach()),
            "helper_audio": binary_cross_entropy(heard, targets[:, 0]),
            "helper_visual": binary_cross_entropy(seen, targets[:, 1]),
            "helpers_apart": -_squared_distance(heard, seen),
        }


@in_float32
def _squared_distance(one: Tensor, other: Tensor) -> Tensor:
    """MSE of two probabilities (B,C), each clamped as for BCE."""
    one, other = (x.clamp(EPS, 1 - EPS) for x in (one, other))
    return (one - other).square().mean()


def _rates_of_helpers(rates: Any) -> dict[str, float]:
    """Factors of the learning rate, by beginning of parameter names."""
    valid = isinstance(rates, Sequence) and len(rates) == 2 and all(isinstance(x, int | float) for x in rates)
    if not valid or not all(x > 0 for x in rates):
        raise ValueError(f"HCMN: helper_rates={rates!r}: expected two numbers above 0, of AudioNet and VideoNet")
    return {f"{_HELPERS}{name}.": float(x) for name, x in zip(MODALITIES, rates, strict=True)}


def _keep_helpers(network: HCMN, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Let a student's weights load into a network with helpers, which then keep theirs."""
    start = prefix + _HELPERS
    if network.helpers is not None and not any(name.startswith(start) for name in state):
        state.update(network.helpers.state_dict(prefix=start))
