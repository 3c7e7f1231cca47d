"""Files of events that others wrote, as `Predictions` of a split: a language model's answers, another framework's."""

from coleaf_framework.results.given.events import GivenEvent, GivenEvents, joined
from coleaf_framework.results.given.files import GivenFiles
from coleaf_framework.results.given.placing import Placing, predictions_of
from coleaf_framework.results.given.reading import FORMS, read_events
from coleaf_framework.results.given.truth import SplitTruth

__all__ = [
    "FORMS",
    "GivenEvent",
    "GivenEvents",
    "GivenFiles",
    "Placing",
    "SplitTruth",
    "joined",
    "predictions_of",
    "read_events",
]
