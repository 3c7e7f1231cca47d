"""What the published columns reward: python -m benchmarks.published_columns DATA [SPLIT] [--out DIR]

Scores parsers that are made of the ground truth itself, so that how good each is can be told by its name. DATA is a
folder with annotations; features are not needed (LLP, AVE, UnAV-100). With --out, each parser's events are written as
JSON, so that `coleaf evaluate DIR/*.json --data DATA` shows all 36 columns of them with intervals.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from coleaf_framework.data.opening import open_annotated
from coleaf_framework.metrics import LEVELS, all_scores
from coleaf_framework.metrics.events import split_types
from coleaf_framework.results.certain import certain_fields
from coleaf_framework.results.events_file import write_events
from coleaf_framework.results.given import SplitTruth
from coleaf_framework.results.predictions import Predictions
from coleaf_framework.results.published import PUBLISHED, is_published_split
from coleaf_framework.results.tables import plain_table

COLUMNS = ("segment/Ao", "segment/Vo", "segment/AV", "segment/Type@AVo", "support/segment/Type@AVo")
TYPES = {"audible-only": 2, "visible-only": 3, "audible-visible": 4}  # place in `split_types`


def parsers(truth: Tensor, labels: Tensor, mask: Tensor) -> Mapping[str, Tensor]:
    """Name of a parser -> its predicted events (N,T,M,C) bool.

    Args:
        truth: (N,T,M,C) bool.
        labels: (N,C) weak labels in {0,1}.
        mask: (N,T) bool, True = real segment.
    """
    either, both = truth.any(2, keepdim=True), truth.all(2, keepdim=True)
    everywhere = mask[:, :, None, None].expand_as(truth)
    one_more = truth.clone()
    one_more[:, 0, 0, 0] |= ~truth[:, 0, :, 0].any(1)  # the first class is heard in the first segment
    return {
        "nothing": torch.zeros_like(truth),
        "every class, everywhere, heard and seen": everywhere.clone(),
        "the video's labels, everywhere, heard and seen": everywhere & labels.bool()[:, None, None, :],
        "true events, all said to be heard and seen": either.expand_as(truth).clone(),
        "true audible-visible events, no others": both.expand_as(truth).clone(),
        "the truth, and one wrong second heard alone in every video": one_more,
        "the truth": truth,
    }


def silence(truth: Tensor) -> dict[str, float]:
    """Event type -> share of the videos without an event of it, in percent."""
    typed = split_types(truth)
    return {name: 100 * (~typed[i].flatten(1).any(1)).double().mean().item() for name, i in TYPES.items()}


def published(nothing: Mapping[str, float]) -> str:
    """A table of the published systems beside the parser that predicts nothing, on LLP's test split."""
    body = []
    for column in (f"{level}/{name}" for level in LEVELS for name in ("Ao", "Vo", "AV", "Type@AVo")):
        values = {row.name: row.scores[column] for row in PUBLISHED if column in row.scores}
        below = sum(value < nothing[column] for value in values.values())
        low, high = (f"{end(values.values()):.1f}" for end in (min, max))
        body.append([column, f"{nothing[column]:.1f}", low, high, f"{below} of {len(values)}"])
    heads = ["column", "nothing", "lowest published", "highest", "published rows below nothing"]
    return plain_table(heads, body, "Published systems (results/published.py)", markdown=True)


def main() -> None:
    """Print the tables of a split, and write the parsers' events where `--out` names a folder."""
    asked = ArgumentParser(prog="python -m benchmarks.published_columns", description=__doc__.split("\n")[0])
    asked.add_argument("data")
    asked.add_argument("split", nargs="?", default="test")
    asked.add_argument("--out", type=Path)
    given = asked.parse_args()
    data, split, out = given.data, given.split, given.out
    found = SplitTruth.of(open_annotated(data, split)[0])
    made = parsers(found.truth, found.labels, found.mask)
    body = []
    for name, decided in made.items():
        scores = all_scores(decided, found.truth)
        body.append([name, *(f"{scores[column]:.1f}" for column in COLUMNS)])
    title = f"{found.where}, {len(found.ids)} videos, F-scores in percent"
    print(plain_table(["parser", *COLUMNS], body, title, markdown=True))
    rows = [[name, f"{share:.1f}", f"{100 - share:.1f}"] for name, share in silence(found.truth).items()]
    heads = ["event type", "videos without, in percent", "with"]
    print("\n" + plain_table(heads, rows, "Videos without an event of the type", markdown=True))
    if is_published_split(found.data, found.split, len(found.ids)):
        print("\n" + published(all_scores(made["nothing"], found.truth)))
    for number, (name, decided) in enumerate(made.items() if out is not None else ()):
        predictions = Predictions(
            name, found.data, found.split, found.ids, found.classes, **certain_fields(decided),
            truth=found.truth, labels=found.labels, mask=found.mask, segment_seconds=found.segment_seconds,
        )  # fmt: skip
        events = [replace(video, ground_truth=None) for video in predictions.events()]
        out.mkdir(parents=True, exist_ok=True)
        write_events(out / f"{number}.json", name, found.data, found.split, events)


if __name__ == "__main__":
    main()
