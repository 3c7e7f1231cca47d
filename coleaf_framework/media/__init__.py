"""Audio and video files as frames and samples."""

from coleaf_framework.media.decoding import MediaInfo, decode, decoder_name, probe
from coleaf_framework.media.pieces import Piece

__all__ = ["MediaInfo", "Piece", "decode", "decoder_name", "probe"]
