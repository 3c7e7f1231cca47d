"""All files of events that one command names, as predictions of a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coleaf_framework._text import one_line
from coleaf_framework.data.opening import open_annotated
from coleaf_framework.protocol import MODALITIES
from coleaf_framework.results.given.events import GivenEvents, joined, of_one_modality
from coleaf_framework.results.given.names import read_class_map
from coleaf_framework.results.given.placing import Placing, predictions_of
from coleaf_framework.results.given.reading import FORMS, read_events
from coleaf_framework.results.given.truth import SplitTruth
from coleaf_framework.results.predictions import Predictions


@dataclass(frozen=True)
class GivenFiles:
    """Files of events, each the answer of one parser, or of one parser and modality.

    Args:
        paths: files with the modality of each event.
        audio: files of audible events; the i-th belongs to the i-th of `visual`, where there are both.
        visual: files of visible events.
        form: as of `read_events`, for files without a header.
        class_map: as `read_class_map` reads it.
        missing_as_empty: as of `Placing`.
        skip_unknown: as of `Placing`.
    """

    paths: tuple[Path, ...] = ()
    audio: tuple[Path, ...] = ()
    visual: tuple[Path, ...] = ()
    form: str | None = None
    class_map: Path | None = None
    missing_as_empty: bool = False
    skip_unknown: bool = False

    def __bool__(self) -> bool:
        return bool(self.paths or self.audio or self.visual)

    def resolved(self) -> list[Path]:
        """All files, without links."""
        return [path.resolve() for path in (*self.paths, *self.audio, *self.visual)]

    def read(self) -> list[GivenEvents]:
        """What the files say, one for each parser, each with a name of its own.

        Raises:
            FileNotFoundError, ValueError: as `read_events` does; or a file is named twice; or there are unequal numbers
                of files of either modality.
        """
        if self.form is not None and self.form not in FORMS:
            raise ValueError(f"--format {self.form!r} is none of {', '.join(FORMS)}")
        files = self.resolved()
        if twice := next((path for path in files if files.count(path) > 1), None):
            raise ValueError(f"{twice}: is named twice")
        if self.audio and self.visual and len(self.audio) != len(self.visual):
            raise ValueError(
                f"--audio-events names {len(self.audio)} files and --visual-events {len(self.visual)}: the first of "
                "each belong together, and so on"
            )
        found = [read_events(path, form=self.form) for path in self.paths]
        heard = [read_events(path, "audio", self.form) for path in self.audio]
        seen = [read_events(path, "visual", self.form) for path in self.visual]
        if heard and seen:
            found += [joined(*pair) for pair in zip(heard, seen, strict=True)]
        else:
            found += [of_one_modality(given, m) for m, each in enumerate((heard, seen)) for given in each]
        return found

    def predictions(self, given: Sequence[GivenEvents], root: Path, split: str) -> list[tuple[str, Predictions]]:
        """The files' events as predictions of a split.

        Args:
            given: what `read` gave.
            root: folder of the data set.
            split: "train", "val" or "test".

        Returns:
            The source of each, and its predictions.

        Raises:
            FileNotFoundError, ValueError: as `open_annotated`, `SplitTruth.of`, `read_class_map` and `predictions_of`
                do; or one modality stands alone where the data's truth is of both.
        """
        data, of_features = open_annotated(root, split)
        truth = SplitTruth.of(data)
        placing = Placing(
            read_class_map(self.class_map, truth.classes) if self.class_map is not None else {},
            self.missing_as_empty,
            self.skip_unknown,
        )
        if truth.truth_kind == "joint" and bool(self.audio) != bool(self.visual):
            raise ValueError(
                f"{(*self.audio, *self.visual)[0]}: {truth.where} has the columns AV alone, which need events of both "
                f"{' and '.join(MODALITIES)}"
            )
        told = []
        if not of_features:
            told.append(f"{one_line(str(root))} has no features: how long videos last is by the annotations")
        if callable(getattr(data, "further_scores", None)):
            told.append(f"the scores of {truth.data}'s own need probabilities, which files of events do not have")
        return [(each.source, predictions_of(each, truth, placing).with_caveats(told)) for each in given]
