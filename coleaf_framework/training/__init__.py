"""The training loop, its configuration and its files."""

from coleaf_framework.training.config import RunConfig, TrainerConfig, load_config, recipe
from coleaf_framework.training.device import seed_everything
from coleaf_framework.training.evaluation import Evaluation
from coleaf_framework.training.importing import import_checkpoint
from coleaf_framework.training.selection import Selection, load_decision, select_thresholds
from coleaf_framework.training.trainer import CoLeaFTrainer

__all__ = [
    "CoLeaFTrainer",
    "Evaluation",
    "RunConfig",
    "Selection",
    "TrainerConfig",
    "import_checkpoint",
    "load_config",
    "load_decision",
    "recipe",
    "seed_everything",
    "select_thresholds",
]
