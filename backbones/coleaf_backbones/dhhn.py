"""DHHN (ACM MM 2022), two students joined in inference: one answers for what is heard, one for what is seen.

Parameter names are those of the published inference network. Shape letters: see `coleaf_framework.protocol`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from coleaf_backbones.hcmn import HCMN, PAPER, HCMNOutput
from coleaf_framework.protocol import LLP_STREAMS, AnchorOutput, Batch, Progress, StreamSpec

_STUDENTS = ("audio_net", "video_net")
# What the published inference network holds and never reads: it has no answer for the whole video.
_UNREAD = "fc_av_att."


@dataclass(frozen=True)
class DHHNOutput(AnchorOutput):
    """What DHHN returns.

    Args:
        students: the whole answers of the audio and the visual student, for their losses.
    """

    students: tuple[HCMNOutput, HCMNOutput] | None = None


class DHHN(nn.Module):
    """Two HCMN students: probabilities and tokens of audio come from `audio_net`, visual ones from `video_net`.

    Args:
        num_classes: number of classes, C.
        streams: as for HCMN; both students read all of them.
        width: width, D, 512 as published; as all that follows the same for both students.
        heads: number of attention heads, 1 as published.
        hidden: width of the feed-forward blocks; D with None.
        dropout: rate, in [0,1).
        helpers: with AudioNet and VideoNet, which take part in training only; each student has its own.
        helper_heads: number of attention heads of these two, 8 as published.
        helper_rates: learning rates of AudioNet and VideoNet, as multiples of the run's; see `HCMN`.

    Raises:
        ValueError: as HCMN does.

    Example:
        >>> streams = {"clap": StreamSpec(6, "audio"), "clip": StreamSpec(8, "visual", frames=2)}
        >>> students = [HCMN(num_classes=4, streams=streams, width=8) for _ in range(2)]
        >>> dhhn = DHHN.from_students(*students).eval()
        >>> dhhn(clap=torch.randn(3, 5, 6), clip=torch.randn(3, 10, 8)).segment_probs.shape
        torch.Size([3, 5, 2, 4])
    """

    paper = PAPER
    licence = HCMN.licence
    decision = HCMN.decision
    published_training = HCMN.published_training
    published_options = HCMN.published_options
    training_only = tuple(f"{name}.{start}" for name in _STUDENTS for start in HCMN.training_only)

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
        super().__init__()
        self.num_classes, self.streams = num_classes, dict(streams)
        options = num_classes, streams, width, heads, hidden, dropout, helpers, helper_heads, helper_rates
        self.audio_net, self.video_net = HCMN(*options), HCMN(*options)
        factors = self.audio_net.learning_rate_factors.items()
        self.learning_rate_factors = {f"{name}.{start}": x for name in _STUDENTS for start, x in factors}
        self.register_load_state_dict_pre_hook(_fill_in_unread)  # type: ignore[no-untyped-call]

    @classmethod
    def from_students(cls, audio: HCMN, visual: HCMN) -> DHHN:
        """The inference network of two trained students, in evaluation mode.

        Args:
            audio: whose answers are taken for audio; copied, without its helpers.
            visual: likewise.

        Returns:
            Network with copies of both students, without helpers.

        Raises:
            ValueError: one is no HCMN, or they were made for other classes, streams or widths.
        """
        for student in (audio, visual):
            if not isinstance(student, HCMN):
                raise ValueError(f"DHHN: a student is a {type(student).__name__}, where an HCMN was expected")
        shapes = [(net.num_classes, net.fc_prob.in_features, net.streams) for net in (audio, visual)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"DHHN: the students differ in classes, width or streams: {shapes[0]} and {shapes[1]}")
        joined = cls(audio.num_classes, audio.streams, shapes[0][1], helpers=False)
        joined.audio_net, joined.video_net = (copy.deepcopy(net).without_helpers() for net in (audio, visual))
        return joined.eval()

    def forward(self, *, mask: Tensor | None = None, **streams: Tensor) -> DHHNOutput:
        """Run both students.

        The published network has no answer for the whole video. Here it is the mean of both students', which the
        published decision does not read.

        Args:
            mask: (B,T) bool, True = real segment, real ones first; None where all segments are real.
            streams: name -> (B, frames * T, width) float.

        Returns:
            Probabilities (B,T,M,C), (B,C) and (B,M,C) in [0,1], tokens (B,T,M,D), and the whole answers of both
            students.

        Raises:
            ValueError: a stream is missing or unknown.
        """
        audio, visual = (net(mask=mask, **streams) for net in (self.audio_net, self.video_net))
        return DHHNOutput(
            segment_probs=torch.stack([audio.segment_probs[:, :, 0], visual.segment_probs[:, :, 1]], dim=2),
            video_probs=(audio.video_probs + visual.video_probs) / 2,
            tokens=torch.stack([audio.tokens[:, :, 0], visual.tokens[:, :, 1]], dim=2),
            modality_probs=torch.stack([audio.modality_probs[:, 0], visual.modality_probs[:, 1]], dim=1),
            students=(audio, visual),
        )

    def loss(self, output: DHHNOutput, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Each term of HCMN's loss, of both students in sum: each learns by its own loss, with helpers of its own.

        This joint training is ours: the published students are two epochs of one student's training.

        Args:
            output: what `forward` returned for the batch, in training mode where there are helpers.
            batch: the videos, with labels.
            progress: not read.

        Returns:
            Name of a term of `HCMN.loss` -> scalar, a mean over videos.

        Raises:
            ValueError: as `HCMN.loss`.
        """
        assert output.students is not None
        audio = self.audio_net.loss(output.students[0], batch, progress)
        visual = self.video_net.loss(output.students[1], batch, progress)
        return {name: audio[name] + visual[name] for name in audio}


def _fill_in_unread(_: DHHN, state: dict[str, Tensor], prefix: str, *__: object) -> None:
    """Let weights load without what the published network never reads: 0 there makes the modalities weigh alike."""
    for student in _STUDENTS:
        start = f"{prefix}{student}."
        bias = state.get(f"{start}fc_prob.bias")
        if bias is not None and not any(name.startswith(start + _UNREAD) for name in state):
            state[f"{start}{_UNREAD}weight"] = torch.zeros_like(state[f"{start}fc_prob.weight"])
            state[f"{start}{_UNREAD}bias"] = torch.zeros_like(bias)
