"""Audio and video files as frames and samples."""

from coleaf_framework.media.decoding import MediaInfo, Piece, decode, decoder_name, probe

__all__ = ["MediaInfo", "Piece", "decode", "decoder_name", "probe"]
