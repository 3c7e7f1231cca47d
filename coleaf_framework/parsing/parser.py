"""A run as a parser of media files. Shape letters: see `protocol.py`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from coleaf_framework.data.averaging import AveragedFrames
from coleaf_framework.data.dataset import AVVPDataset
from coleaf_framework.data.extracted import ExtractedVideos
from coleaf_framework.data.recipe_file import FeatureRecipe, projection_of
from coleaf_framework.extraction import FeatureExtractor
from coleaf_framework.record.hub import find_run
from coleaf_framework.record.run_record import RunRecord, read_record
from coleaf_framework.results.parsed_video import ParsedVideo, join_windows
from coleaf_framework.training.deciding import use_decision
from coleaf_framework.training.experiment import load_run

_HOW_TO_SAY = (
    "pass --features NAME if you know the recipe (`coleaf extract --help` lists them); runs that are trained on a "
    "folder with an extraction.yaml, as `coleaf extract` writes it, know it themselves"
)


class VideoParser:
    """Parses media files with a run: features by the recipe that it was trained on, then its Anchor.

    Args:
        run: The run folder, or "user/name[@revision]" of the Hugging Face Hub; see `record.hub.find_run`.
        features: Name of the recipe, for a run whose record names none.
        weights: Folder with the recipe's weights; None for where its library keeps them.
        decision: File with thresholds that `coleaf thresholds` wrote; the run's own if None.
        device: Where the networks run, such as "cuda"; the run's `trainer.device` if None.
        trust: As in `CoLeaF.load`.
        declaration: As in `training.experiment.load_run`.

    Raises:
        FileNotFoundError: There is no such run, or weights are missing.
        ImportError: A library is missing. The message says how to install it.
        ValueError: The run's record names no recipe and `features` neither, or they differ, or the weights or the
            projection are not those that it was trained on. The message says what differs.
    """

    def __init__(
        self,
        run: Path | str,
        *,
        features: str | None = None,
        weights: Path | None = None,
        decision: Path | None = None,
        device: str | None = None,
        trust: bool = False,
        declaration: Path | None = None,
    ) -> None:
        found = find_run(run)
        run = found.folder
        record = read_record(run)
        recipe, projection = _recipe_of_run(run, record, features)
        settings = (f"trainer.device={device}",) if device is not None else ()
        self.config, self.trainer = load_run(run, settings, trust=trust, declaration=declaration)
        self.classes = record.model.class_names
        self.extractor = FeatureExtractor(recipe, projection=projection, weights=weights, device=self.trainer.device)
        self.notes = (*found.notes, *self.extractor.notes, *use_decision(self.trainer, run, decision))

    @property
    def recipe(self) -> FeatureRecipe:
        """How the features are made."""
        return self.extractor.recipe

    def parse(
        self, videos: Sequence[Path], *, jobs: int = 1, progress: Callable[[Path, float], None] | None = None
    ) -> tuple[list[ParsedVideo], dict[Path, str]]:
        """Parse files.

        Args:
            videos: The files.
            jobs: Processes that extract features.
            progress: See `extraction.extract`.

        Returns:
            The parsed files in order, and those that could not be read: file -> why, in a sentence.

        Raises:
            ValueError: Two files have the same name, or the features do not fit the network.
        """
        with tempfile.TemporaryDirectory(prefix="coleaf-parse-") as temporary:
            folder = Path(temporary)
            extracted = self.extractor.extract(videos, folder, jobs=jobs, progress=progress)
            if not extracted.done:
                return [], extracted.failed
            data = ExtractedVideos(folder, self.classes)
            parsed = self._parsed(data)
        return [replace(video, notes=(*self.notes, *video.notes)) for video in parsed], extracted.failed

    def _parsed(self, data: ExtractedVideos) -> list[ParsedVideo]:
        """Answer all windows at once, and put those of a file side by side."""
        seen: AVVPDataset = AveragedFrames(data) if self.config.data.average_frames else data
        predictions = self.trainer.predict(seen)
        windows: dict[str, list[int]] = {}
        for i, video in enumerate(predictions.ids):
            windows.setdefault(data.videos[video].file, []).append(i)
        return [
            join_windows(predictions, rows, [data.videos[predictions.ids[i]] for i in rows])
            for rows in windows.values()
        ]


def _recipe_of_run(run: Path, record: RunRecord, features: str | None) -> tuple[FeatureRecipe | str, Path | None]:
    """The recipe of a run's training features, and the projection of its folder."""
    if record.features is None:
        if features is None:
            raise ValueError(f"{run}: its record does not say how its training features were extracted: {_HOW_TO_SAY}")
        return features, None
    if features not in (None, record.features.recipe):
        raise ValueError(
            f"{run}: was trained on features of the recipe {record.features.recipe!r}, so it cannot parse those of "
            f"{features!r}: leave out --features"
        )
    return record.features, projection_of(run, record.features)
