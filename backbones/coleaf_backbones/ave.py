"""AVE's localiser (Tian, Shi, Li, Duan, Xu, ECCV 2018) as an Anchor: a reconstruction.

The localiser gives each segment one label for both modalities. No code of an audio-visual video parser made of it is
published. This one has the localiser's attention and LSTMs between HAN's projections and HAN's head. Shape letters: see
`coleaf_framework.protocol`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor, nn

from coleaf_backbones.attention import require_options
from coleaf_backbones.mmil import MMILAnchor
from coleaf_backbones.recurrent import BiLSTM, require_even
from coleaf_backbones.streams import require_given, require_single_frames, streams_of
from coleaf_framework.protocol import LLP_STREAMS, StreamSpec

LOCALISERS_HEAD = "L1.weight"  # a parameter of the published localiser, and of nothing here


class AudioGuidedAttention(nn.Module):
    """AVE's attention: the audio of a segment weights the parts of its picture, here its frames.

    Its layers are made for a number of parts, 49 places of a feature map as published, and tell them apart. Weight
    matrices are drawn by Xavier's rule, as published.

    Args:
        audio: width of the audio.
        visual: width of a part.
        hidden: width of the hidden layers, 512 as published.
        parts: number of parts, k.
    """

    def __init__(self, audio: int, visual: int, hidden: int, parts: int) -> None:
        super().__init__()
        self.affine_audio = nn.Linear(audio, hidden)
        self.affine_video = nn.Linear(visual, hidden)
        self.affine_v = nn.Linear(hidden, parts, bias=False)
        self.affine_g = nn.Linear(hidden, parts, bias=False)
        self.affine_h = nn.Linear(parts, 1, bias=False)
        for layer in self.children():
            nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]

    def forward(self, audio: Tensor, parts: Tensor) -> Tensor:
        """Audio (B,T,audio) and parts (B,T,k,visual) -> the attended part, (B,T,visual), a weighted mean."""
        of_parts = self.affine_v(self.affine_video(parts).relu())  # (B,T,k,k)
        # Number p of the audio's k numbers is added to all k features of part p.
        of_audio = self.affine_g(self.affine_audio(audio).relu())[..., None]  # (B,T,k,1)
        weights: Tensor = self.affine_h((of_parts + of_audio).tanh()).softmax(dim=-2)  # (B,T,k,1)
        return (weights * parts).sum(-2)


class AVE(MMILAnchor):
    """An AVVP network made of AVE's localiser, with HAN's projections, head and guided loss; reconstructed.

    Each frame is projected. Audio-guided attention then takes a weighted mean of each segment's frames, in every visual
    stream that has several a segment; streams with one frame have nothing to choose from, and no attention. Streams of
    a modality are fused as in HAN. A bidirectional LSTM of each modality makes its tokens.

    Args:
        num_classes: number of classes, C.
        streams: at least one of each modality; any names, widths and frames per segment. Attention needs single
            frames, so visual streams of averaged frames are refused.
        width: width, D, even; half of it for each direction of the LSTMs.

    Raises:
        ValueError: a modality has no stream, a visual stream holds averaged frames, or an option is out of range.
    """

    paper = "Tian, Shi, Li, Duan, Xu: Audio-Visual Event Localization in Unconstrained Videos. ECCV 2018"
    licence = "none stated"

    def __init__(
        self,
        num_classes: int = 25,
        streams: Mapping[str, StreamSpec] = LLP_STREAMS,
        width: int = 512,
    ) -> None:
        require_options("AVE", sizes={"num_classes": num_classes, "width": width}, rates={}, flags={})
        require_even("AVE", width)
        require_single_frames("AVE", streams_of("visual", streams), "it chooses among them")
        super().__init__("AVE", num_classes, streams, width)
        self.attentions = nn.ModuleDict(
            {
                name: AudioGuidedAttention(width, width, width, spec.frames)
                for name, spec in streams_of("visual", self.streams).items()
                if spec.frames > 1
            }
        )
        self.lstm_audio = BiLSTM(width, width // 2)
        self.lstm_video = BiLSTM(width, width // 2)
        self.add_classifiers(width)

    def input_tokens(self, given: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """As in `StreamProjections`, with audio-guided attention in place of the mean of a segment's frames."""
        require_given(self.owner, self.streams, given)
        audio = self.modality_tokens("audio", given, self.project_stream)

        def attend(name: str, x: Tensor) -> Tensor:
            if name not in self.attentions:
                return self.project_stream(name, x)
            frames = rearrange(x, "b (t k) d -> b t k d", k=self.streams[name].frames)
            return self.attentions[name](audio, self.stream_projection(name)(frames))  # type: ignore[no-any-return]

        return audio, self.modality_tokens("visual", given, attend)

    def encode(self, audio: Tensor, visual: Tensor, mask: Tensor | None) -> Tensor:
        """Input tokens, two (B,T,D) -> output tokens (B,T,M,D), in (-1,1)."""
        return torch.stack([self.lstm_audio(audio, mask)[0], self.lstm_video(visual, mask)[0]], dim=2)

    @staticmethod
    def published_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors as they are, since no parser's are published.

        Raises:
            ValueError: they are those of the published localiser.
        """
        if LOCALISERS_HEAD in tensors:
            raise ValueError(
                "ave: these are weights of AVE's published localiser, which gives each segment one label for both "
                "modalities and cannot parse videos. No weights of a parser made of it are published: train it"
            )
        return tensors
