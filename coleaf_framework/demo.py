"""What `make demo` shows: HAN alone and inside CoLeaF on a small synthetic LLP."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from coleaf_framework.evidence.report import Report
from coleaf_framework.metrics import Event
from coleaf_framework.report.pictures import loss_curves, save, timeline
from coleaf_framework.report.predictions import VideoPrediction, write_predictions
from coleaf_framework.report.tables import score_table
from coleaf_framework.training.config import load_config
from coleaf_framework.training.experiment import open_split, train
from coleaf_framework.training.outputs import collect_outputs, write_outputs

# Sized for three minutes on two CPU cores, installation included.
SETTINGS = (
    "data.cache=memory",
    "data.synthetic_train=450",
    "data.synthetic_val=100",
    "data.synthetic_test=200",
    "trainer.epochs=5",
    "trainer.batch_size=32",
)


def run_demo(out: Path, settings: tuple[str, ...] = SETTINGS) -> str:
    """Train both parsers, write their runs, predictions and pictures under `out`.

    Args:
        out: folder; runs of an earlier demo in it are replaced.
        settings: sizes, as for `--set`.

    Raises:
        FileExistsError: `out` holds something else than a demo.

    Returns: the table of scores, what can be concluded and where the files are, as text.
    """
    start = time.perf_counter()
    marker = out / "DEMO.txt"
    if out.exists() and any(out.iterdir()) and not marker.exists():
        raise FileExistsError(f"{out} holds something else than a demo: choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    marker.write_text("written by `coleaf demo`, which may replace it\n")
    rows: dict[str, Mapping[str, float]] = {}
    histories, predicted = {}, {}
    for name, enabled in (("han", "false"), ("han-coleaf", "true")):
        config = load_config(settings=(*settings, f"coleaf.enabled={enabled}"))
        trainer = train(config, out / name, "overwrite")
        test = open_split(config.data, "test")
        parser = trainer.name
        evaluation = trainer.evaluate(test)
        rows[parser] = evaluation.scores
        histories[parser] = trainer.history
        predicted[parser] = trainer.predict(test)
        write_predictions(out / name / "predictions.json", parser, test.name, "test", predicted[parser])
        write_outputs(out / name, collect_outputs(trainer, test))
    rows |= {"empty parser": evaluation.empty, "video-label parser": evaluation.video_label}
    save(loss_curves(histories), out / "losses.png")
    report = Report([out / "han", out / "han-coleaf"], "test")
    report.write_page(out / "report.html")
    video = _telling_video(predicted[parser])
    save(timeline(_lanes(predicted, video), video.seconds, f"{video.id} (synthetic)"), out / "timeline.png")
    title = f"synthetic LLP (no real data), {evaluation.videos} test videos, F-scores in percent"
    return "\n".join(
        [
            score_table(rows, title),
            "",
            report.comparison.conclusion,
            "",
            f"checkpoint  {out / 'han-coleaf'}",
            f"report      {out / 'report.html'}",
            f"pictures    {out / 'timeline.png'}  {out / 'losses.png'}",
            f"took        {time.perf_counter() - start:.0f} s",
        ]
    )


def _telling_video(videos: list[VideoPrediction]) -> VideoPrediction:
    """The first video whose truth has events of two types and in which something was predicted."""
    for video in videos:
        if video.events and len({event.modality for event in video.ground_truth or ()}) > 1:
            return video
    return videos[0]


def _lanes(predicted: Mapping[str, list[VideoPrediction]], video: VideoPrediction) -> dict[str, list[Event]]:
    lanes = {"ground truth": video.ground_truth or []}
    for parser, videos in predicted.items():
        lanes[parser] = next(v.events for v in videos if v.id == video.id)
    return lanes
