"""AVSDN, the dual-modality sequence-to-sequence network (Lin, Li, Wang, ICASSP 2019), as an Anchor: a reconstruction.

Written from the idea of the paper, a localiser of audio-visual events: LSTMs encode each modality, their last states
together describe the whole video, and a decoder that starts from it answers segment by segment from local and global
features. Neither its code nor an audio-visual video parser made of it is published, so sizes, fusion and the two
decoders are ours. Shape letters: see `coleaf_framework.protocol`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from coleaf_backbones.attention import require_options
from coleaf_backbones.mmil import MMILAnchor
from coleaf_backbones.recurrent import BiLSTM, require_even, run_over_real
from coleaf_framework.protocol import LLP_STREAMS, StreamSpec


class AVSDN(MMILAnchor):
    """An AVVP network made of AVSDN's idea, with HAN's projections, head and guided loss; reconstructed.

    With a and v the input tokens of a video, and g in (-1,1) its global feature:

        g = tanh(W_h s),  c = W_c s,  s = [last states of BiLSTM(a); last states of BiLSTM(v)]
        audio tokens = LSTM_a([a_t; g]),  visual tokens = LSTM_v([v_t; g]),  both from hidden state g and cell c

    Args:
        num_classes: number of classes, C.
        streams: at least one of each modality; any names, widths and frames per segment. Each is projected; several
            of one modality are then concatenated and fused, as in HAN.
        width: width, D, even; half of it for each direction of the encoders.

    Raises:
        ValueError: a modality has no stream, or an option is out of range.
    """

    paper = "Lin, Li, Wang: Dual-modality seq2seq network for audio-visual event localization. ICASSP 2019"
    licence = "no code was read"

    def __init__(
        self, num_classes: int = 25, streams: Mapping[str, StreamSpec] = LLP_STREAMS, width: int = 512
    ) -> None:
        require_options("AVSDN", sizes={"num_classes": num_classes, "width": width}, rates={}, flags={})
        require_even("AVSDN", width)
        super().__init__("AVSDN", num_classes, streams, width)
        self.encoder_audio = BiLSTM(width, width // 2)
        self.encoder_visual = BiLSTM(width, width // 2)
        self.fuse = nn.Linear(2 * width, 2 * width)
        self.decoder_audio = nn.LSTM(2 * width, width, batch_first=True)
        self.decoder_visual = nn.LSTM(2 * width, width, batch_first=True)
        self.add_classifiers(width)

    def encode(self, audio: Tensor, visual: Tensor, mask: Tensor | None) -> Tensor:
        """Input tokens, two (B,T,D) -> output tokens (B,T,M,D), in (-1,1)."""
        state, cell = self.summarise(audio, visual, mask)
        everywhere = state[:, None].expand_as(audio)
        decoders = ((self.decoder_audio, audio), (self.decoder_visual, visual))
        tokens = [
            run_over_real(decoder, torch.cat([local, everywhere], dim=-1), mask, state=(state, cell))[0]
            for decoder, local in decoders
        ]
        return torch.stack(tokens, dim=2)

    def summarise(self, audio: Tensor, visual: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Input tokens, two (B,T,D) -> the global feature g and the decoders' first cell c, each (B,D)."""
        last = torch.cat([self.encoder_audio(audio, mask)[1], self.encoder_visual(visual, mask)[1]], dim=-1)
        state, cell = self.fuse(last).chunk(2, dim=-1)
        return state.tanh(), cell
