"""What a run is: its configuration, and the code and data that it is made of."""

from coleaf_framework.record.config import RunConfig, TrainerConfig
from coleaf_framework.record.run_record import RunRecord, read_record
from coleaf_framework.record.settings import load_config, recipe

__all__ = ["RunConfig", "RunRecord", "TrainerConfig", "load_config", "read_record", "recipe"]
