"""Put any audio-visual video parsing network into CoLeaF's training loop (ECCV 2024)."""

from coleaf_framework.adapters import DERIVE, Constant, Declaration, Out, Tap
from coleaf_framework.collaboration import CoLeaFConfig
from coleaf_framework.model import CoLeaF, load_anchor
from coleaf_framework.plugins import create_anchor, create_reference, list_anchors, list_references
from coleaf_framework.protocol import AnchorOutput, Batch, ReferenceOutput, StreamSpec
from coleaf_framework.training import CoLeaFTrainer, TrainerConfig, import_checkpoint, recipe
from coleaf_framework.wrapping import check_anchor, describe, wrap

__all__ = [
    "DERIVE",
    "AnchorOutput",
    "Batch",
    "CoLeaF",
    "CoLeaFConfig",
    "CoLeaFTrainer",
    "Constant",
    "Declaration",
    "Out",
    "ReferenceOutput",
    "StreamSpec",
    "Tap",
    "TrainerConfig",
    "check_anchor",
    "create_anchor",
    "create_reference",
    "describe",
    "import_checkpoint",
    "list_anchors",
    "list_references",
    "load_anchor",
    "recipe",
    "wrap",
]
