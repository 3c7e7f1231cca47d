"""What a run is: its configuration, and the code and data that it is made of."""

from coleaf_framework.record.config import RunConfig, TrainerConfig, load_config, recipe

__all__ = ["RunConfig", "TrainerConfig", "load_config", "recipe"]
