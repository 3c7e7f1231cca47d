"""The training loop, its configuration and its files."""

from coleaf_framework.training.device import seed_everything
from coleaf_framework.training.importing import import_checkpoint
from coleaf_framework.training.trainer import CoLeaFTrainer

__all__ = [
    "CoLeaFTrainer",
    "import_checkpoint",
    "seed_everything",
]
