"""The demo: train HAN alone and inside CoLeaF, on TuxAV mini or a small synthetic LLP, and compare them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coleaf_framework.cli.parse_video import write_page
from coleaf_framework.data import AVVPDataset
from coleaf_framework.data.recipe_file import RECIPE_FILE, recipe_of
from coleaf_framework.metrics import Event
from coleaf_framework.record.config import RunConfig
from coleaf_framework.record.settings import as_setting, load_config
from coleaf_framework.report.pictures import loss_curves, save, timeline
from coleaf_framework.report.runs import Report
from coleaf_framework.results.events_file import VideoEvents, write_events
from coleaf_framework.results.predictions_file import write_predictions
from coleaf_framework.storage import write_text
from coleaf_framework.training.experiment import has_split, open_split, train

# The paper's recipe at the published width, with a batch size for 1,000 videos. The last epoch is kept, so that none is
# selected. Of five seeds, this one has the median difference on TuxAV mini's validation split (docs/results.md).
REAL = (
    "data.cache=memory",
    "data.average_frames=true",
    "trainer.batch_size=64",
    "trainer.monitor=[]",
    "trainer.seed=3",
)
# Takes about as long.
SYNTHETIC = (
    "data.cache=memory",
    "data.synthetic_train=450",
    "data.synthetic_val=100",
    "data.synthetic_test=200",
    "trainer.epochs=5",
    "trainer.batch_size=32",
    "trainer.monitor=[]",
)
SHOWN = (
    "segment/Type@AV",
    "event/Type@AV",
    "support/segment/Ao",
    "support/segment/Vo",
    "support/segment/AV",
    "support/segment/Type@AVo",
)
_RULE = "the first test video with two types of events or more in which the two parsers' events differ"
_SYNTHETIC = (
    "This is synthetic LLP: it shows how things work, not how well. Real: --data examples/tuxav_mini, in a clone."
)
_RUNS = (("han", "false"), ("han-coleaf", "true"))


def run_demo(out: Path, data: Path | None = None, settings: tuple[str, ...] = (), *, video: Path | None = None) -> str:
    """Train both parsers and write their runs, predictions and pictures into a folder.

    Every video is read before training starts.

    Args:
        out: The folder. An earlier demo in it is replaced.
        data: Folder in LLP's layout with ground truth for its test split; synthetic LLP if None.
        settings: Further settings, as for `--set`.
        video: Media file that HAN in CoLeaF parses at the end; the data's `extraction.yaml` must say how.

    Returns:
        Text with a short table, the conclusion and the paths of the files.

    Raises:
        FileExistsError: `out` has something else than a demo in it.
        FileNotFoundError: A file of the data set, or the video, is missing.
        ImportError: The video needs a library that is missing.
        ValueError: A file of the data set is damaged, or it does not say how its features were extracted.
    """
    start = time.perf_counter()
    marker = out / "DEMO.txt"
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not marker.exists())):
        raise FileExistsError(f"{out} holds something else than a demo: choose another folder")
    root = (as_setting("data.root", data.resolve().as_posix()),) if data is not None else ()
    sized = REAL if data is not None else SYNTHETIC
    configs = {
        name: load_config(settings=(*sized, *root, *settings, f"coleaf.enabled={enabled}")) for name, enabled in _RUNS
    }
    test = _checked(configs["han"])
    if video is not None:
        _require_parsable(video, test)
    write_text(marker, "written by `coleaf demo`, which may replace it\n")
    histories, predicted = _train_and_predict(configs, out, test)
    save(loss_curves(histories), out / "losses.png")
    report = Report([out / name for name in configs], "test")
    report.write_page(out / "report.html")
    report.comparison.write(out / "scores")
    telling = _telling_video(list(predicted.values()))
    save(timeline(_lanes(predicted, telling), telling.seconds, f"{telling.id}: {_RULE}"), out / "timeline.png")
    return "\n".join(
        [
            "" if data is not None else _SYNTHETIC,
            report.comparison.brief([column for column in SHOWN if column in report.comparison.columns]),
            "",
            report.types_found(),
            "",
            report.comparison.conclusion,
            "",
            f"all scores  {out / 'scores.md'}, .csv, .json",
            f"checkpoint  {out / 'han-coleaf'}",
            f"report      {out / 'report.html'}",
            f"pictures    {out / 'timeline.png'} ({_RULE}), {out / 'losses.png'}",
            *([] if video is None else _parsed(out / "han-coleaf", video, out / "video.html")),
            f"took        {time.perf_counter() - start:.0f} s",
        ]
    ).lstrip()


def _train_and_predict(
    configs: Mapping[str, RunConfig], out: Path, test: AVVPDataset
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, list[VideoEvents]]]:
    """Train each run and write its predictions; returns the history and the events of each, by the parser's name."""
    histories, predicted = {}, {}
    for name, config in configs.items():
        trainer = train(config, out / name, "overwrite")
        histories[trainer.name] = trainer.history
        predictions = trainer.predict(test, truth=True)
        write_predictions(out / name, predictions)
        predicted[trainer.name] = predictions.events()
        path, caveats = out / name / "predictions.json", predictions.caveats
        write_events(path, trainer.name, test.name, "test", predicted[trainer.name], caveats)
    return histories, predicted


def _checked(config: RunConfig) -> AVVPDataset:
    """Read every video of every split of a folder once, and return the test split."""
    found = (split for split in ("train", "val", "test") if split != "val" or has_split(config.data, split))
    splits = {split: open_split(config.data, split) for split in found}
    if config.data.root is not None:
        for videos in splits.values():
            for i in range(len(videos)):
                videos[i]
    test: AVVPDataset = splits["test"]
    if not test.has_ground_truth:
        raise ValueError(
            f"{test.name} test has only weak labels; the demo scores it, which needs ground truth "
            "(in LLP's layout AVVP_eval_*.csv)"
        )
    return test


def _require_parsable(video: Path, data: AVVPDataset) -> None:
    """Check, before anything is trained, that the video can be parsed afterwards."""
    from coleaf_framework.extraction import FeatureExtractor
    from coleaf_framework.media import probe

    probe(video)
    if (extracted := recipe_of(data)) is None:
        raise ValueError(
            f"--video: {data.name} does not say how its features were extracted (it has no {RECIPE_FILE}), so those of "
            "a video cannot be made"
        )
    recipe, projection = extracted
    FeatureExtractor(recipe, projection=projection)


def _parsed(run: Path, video: Path, page: Path) -> list[str]:
    """Parse the video, write its page, and say what was found."""
    from coleaf_framework.parsing import VideoParser
    from coleaf_framework.report.player import PERCEIVED

    parsed, failed = VideoParser(run).parse([video])
    if failed:
        return [f"video       {why}" for why in failed.values()]
    write_page(page, parsed, embed=True)
    events = parsed[0].events()
    found = [f"{e.label} ({PERCEIVED[e.modality]}) {e.onset:g} to {e.offset:g} s" for e in events]
    return [f"video       {page}: in {video.name} {', '.join(found) or 'nothing'}"]


def _telling_video(parsers: Sequence[list[VideoEvents]]) -> VideoEvents:
    """The video that `_RULE` selects; the first video if there is none."""
    for videos in zip(*parsers, strict=True):
        types = {event.modality for event in videos[0].ground_truth or ()}
        if len(types) > 1 and _spans(videos[0].events) != _spans(videos[1].events):
            found: VideoEvents = videos[0]
            return found
    return parsers[0][0]


def _spans(events: Sequence[Event]) -> set[tuple[str, str, float, float]]:
    return {(event.label, event.modality, event.onset, event.offset) for event in events}


def _lanes(predicted: Mapping[str, list[VideoEvents]], video: VideoEvents) -> dict[str, list[Event]]:
    lanes = {"ground truth": video.ground_truth or []}
    for parser, videos in predicted.items():
        lanes[parser] = next(v.events for v in videos if v.id == video.id)
    return lanes
