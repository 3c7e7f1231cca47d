"""Making the parser in the worker process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coleaf_framework.serving.worker_process import Loaded


def load_parser(run: Path, **options: Any) -> Loaded:
    """A run's parser.

    Args:
        run: The run folder.
        options: Of `parsing.VideoParser`.

    Raises:
        FileNotFoundError, ImportError, ValueError: As `parsing.VideoParser`.
    """
    from coleaf_framework.parsing import VideoParser  # here, since the server's process needs no PyTorch

    parser = VideoParser(run, **options)
    return Loaded(parser, f"{parser.trainer.name} ({run.name}), recipe {parser.recipe.recipe}")
