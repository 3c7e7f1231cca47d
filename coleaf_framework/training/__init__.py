"""The training loop, its configuration and its files."""

from coleaf_framework.training.config import RunConfig, TrainerConfig, load_config, recipe
from coleaf_framework.training.device import seed_everything
from coleaf_framework.training.evaluation import Evaluation
from coleaf_framework.training.trainer import CoLeaFTrainer

__all__ = [
    "CoLeaFTrainer",
    "Evaluation",
    "RunConfig",
    "TrainerConfig",
    "load_config",
    "recipe",
    "seed_everything",
]
