"""From media files to events: extraction by a run's recipe, then its network."""

from coleaf_framework.parsing.parser import VideoParser

__all__ = ["VideoParser"]
