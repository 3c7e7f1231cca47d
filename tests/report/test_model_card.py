"""The model card: what huggingface_hub and a Markdown reader make of it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from coleaf_framework.metrics import ALL_KEYS, DecisionConfig
from coleaf_framework.record.card import escaped, model_card
from coleaf_framework.record.log import write_log
from coleaf_framework.record.run_record import read_record
from coleaf_framework.report.model_card import card_of_run
from coleaf_framework.results.predictions import Predictions
from coleaf_framework.results.predictions_file import write_predictions
from coleaf_framework.storage import write_tensors
from tests.helpers.predictions import joint, made_up, write_record
from tests.helpers.slow_scores import slow_scores

pytest.importorskip("huggingface_hub", reason="needs the extra `hub`")
NAME = "ada/han-llp"
NASTY = "</td><script>alert(1)</script> | **x** `y` [z](javascript:1) &lt; $w$\n# head"


def run_with(folder: Path, *kept: Predictions, config: str = "", **how: Any) -> Path:
    write_record(folder, config, **how)
    write_tensors(folder / "model.safetensors", {"x": torch.zeros(1)})
    for predictions in kept:
        write_predictions(folder, predictions)
    return folder


def results_of(card: str) -> dict[str, float]:
    """Name of a metric -> value, as huggingface_hub reads them from the card."""
    return {x.metric_name: float(x.metric_value) for x in head_of(card).eval_results or []}


def head_of(card: str) -> Any:
    """What huggingface_hub reads from the card's head."""
    from huggingface_hub import ModelCard

    return ModelCard(card).data


def html(card: str) -> str:
    markdown_it = pytest.importorskip("markdown_it", reason="needs markdown-it-py, which rich brings")
    return markdown_it.MarkdownIt("commonmark").enable("table").render(card.split("\n---\n", 1)[1])


class Seen(HTMLParser):
    """Tags of a page, and its tables' rows of texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def test_the_scores_in_its_head_are_those_of_the_slow_twin(tmp_path: Path) -> None:
    predictions = made_up(1)
    results = results_of(card_of_run(run_with(tmp_path, predictions), NAME))
    published, support = slow_scores(predictions.decided().numpy(), predictions.known_truth.numpy())
    expected = published | {f"support/{column}": x for column, x in support.items()}
    assert len(results) == 12
    for name, value in results.items():
        column = name.removeprefix("F-score, ").removesuffix(", percent")
        assert value == pytest.approx(expected[column], abs=0.005 + 1e-9), column


def test_an_interval_is_students_over_videos(tmp_path: Path) -> None:
    """A published column is a mean over videos, so that its interval is the textbook's."""
    predictions = made_up(1, videos=9)
    page = Seen(html(card_of_run(run_with(tmp_path, predictions), NAME)))
    decided, truth = predictions.decided().numpy(), predictions.known_truth.numpy()
    by_video = [slow_scores(decided[n : n + 1], truth[n : n + 1])[0]["segment/A"] for n in range(9)]
    low, high = stats.t.interval(0.95, 8, np.mean(by_video), stats.sem(by_video))
    row = next(row for row in page.rows if row[0] == "A")
    assert row[1] == f"{np.mean(by_video):.1f} [{max(low, 0):.1f}, {min(high, 100):.1f}]"


def test_each_table_has_nine_rows_beside_the_trivial_parsers(tmp_path: Path) -> None:
    rows = Seen(html(card_of_run(run_with(tmp_path, made_up(1)), NAME))).rows
    heads = [row for row in rows if "segment: empty parser" in row]
    assert len(heads) == 2
    assert all(len(row) == 7 for row in rows[: 2 * 10])
    assert [row[0] for row in rows[1:10]] == [key.removeprefix("segment/") for key in ALL_KEYS[:9]]


def test_of_joint_truth_there_is_av_alone(tmp_path: Path) -> None:
    card = card_of_run(run_with(tmp_path, joint(1)), NAME)
    assert {name.split()[1] for name in results_of(card)} == {
        f"{prefix}{level}/AV," for prefix in ("", "support/") for level in ("segment", "event")
    }


def test_both_kept_splits_are_there(tmp_path: Path) -> None:
    card = card_of_run(run_with(tmp_path, made_up(1), made_up(2, split="test")), NAME)
    assert re.findall(r"### made-up, (\w+)", card) == ["test", "val"]


def test_without_kept_predictions_it_says_that_nothing_was_measured(tmp_path: Path) -> None:
    card = card_of_run(run_with(tmp_path), NAME)
    assert results_of(card) == {}
    assert "## Scores\n\nNone: the run keeps no predictions" in card


def test_predictions_without_truth_are_no_scores(tmp_path: Path) -> None:
    assert results_of(card_of_run(run_with(tmp_path, made_up(1, truth=None)), NAME)) == {}


def test_predictions_of_other_weights_are_refused(tmp_path: Path) -> None:
    run = run_with(tmp_path, made_up(1))
    write_tensors(run / "model.safetensors", {"x": torch.ones(1)})
    with pytest.raises(ValueError, match="predictions of other weights"):
        card_of_run(run, NAME)


def test_caveats_stand_in_it_word_for_word_without_folders(tmp_path: Path) -> None:
    said = ("the thresholds were chosen on the split 'test'", "its data are /home/ada/llp, not what it was trained on")
    card = card_of_run(run_with(tmp_path, made_up(1, split="test", caveats=said)), NAME)
    assert "- the thresholds were chosen on the split 'test'\n" in card
    assert "- its data are llp, not what it was trained on" in card
    assert "/home" not in card


def test_a_licence_is_what_was_chosen_or_said_to_be_none(tmp_path: Path) -> None:
    run = run_with(tmp_path)
    assert head_of(card_of_run(run, NAME, licence="cc-by-nc-4.0")).license == "cc-by-nc-4.0"
    without = card_of_run(run, NAME)
    assert head_of(without).license is None
    assert "No licence was chosen for these weights" in without
    with pytest.raises(ValueError, match="expected the Hub's identifier, such as apache-2.0"):
        card_of_run(run, NAME, licence="Apache 2.0")


@pytest.mark.parametrize(
    ("anchor", "expected", "absent"),
    [
        ("{name: han}", f'load_anchor("{NAME}")', "trust"),
        ("{name: 'mine:Net'}", f'load_anchor("{NAME}", trust=True)', "anchor=network"),
        ("{name: null}", f'load_anchor("{NAME}", anchor=network)', "--trust"),
    ],
)
def test_how_to_load_depends_on_whose_the_network_is(tmp_path: Path, anchor: str, expected: str, absent: str) -> None:
    card = card_of_run(run_with(tmp_path, config=f"anchor: {anchor}"), NAME)
    assert expected in card
    assert absent not in card
    assert ("not in this repository" in card) == ("han" not in anchor)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("data: {root: null}", True),
        ("train: {name: 'LLP, synthetic features'}\ndata: {root: /data/llp}", True),
        ("train: {name: LLP}\ndata: {root: /data/llp}", False),
    ],
)
def test_synthetic_features_are_told_at_the_top(tmp_path: Path, config: str, told: bool) -> None:
    assert ("Trained on synthetic features" in card_of_run(run_with(tmp_path, config=config), NAME)) == told


def test_settings_that_differ_from_the_default_are_listed_and_no_others(tmp_path: Path) -> None:
    card = card_of_run(run_with(tmp_path, config="coleaf: {temperature: 0.1}\ntrainer: {batch_size: 7}"), NAME)
    assert re.findall(r"^- `((?:coleaf|trainer)\..*)`$", card, re.MULTILINE) == [
        "coleaf.temperature = 0.1",
        "trainer.batch_size = 7",
    ]


def test_what_else_made_the_run_is_listed(tmp_path: Path) -> None:
    config = """
data: {root: /data/llp, standardize: true}
decision: {gate: modality}
reference: {options: {depth: 2}}
model: {loss: "mine:loss", default_loss: modalities}
train: {optimizer: torch.optim.NAdam, schedule: torch.optim.lr_scheduler.LinearLR}
"""
    card = card_of_run(run_with(tmp_path, config=config), NAME)
    listed = card.partition("## Training")[2].partition("Whatever is not listed")[0]
    for line in (
        "`reference.options.depth = 2`",
        "`data.standardize = True`",
        "`decision.gate = 'modality'`",
        "`model.default_loss = 'modalities'`",
        "loss of the Anchor: `mine:loss`, given from Python",
        "optimiser: `torch.optim.NAdam`, given from Python",
        "schedule: `torch.optim.lr_scheduler.LinearLR`, given from Python",
    ):
        assert f"- {line}\n" in listed
    assert "root" not in listed


def test_a_network_whose_training_is_not_recorded_is_not_called_trained(tmp_path: Path) -> None:
    record = read_record(run_with(tmp_path)).changed(train=None)
    card = model_card(record, NAME)
    assert "trained by CoLeaF" not in card
    assert "Whether and on what it was trained is not recorded." in card


def test_the_number_of_epochs_is_that_of_the_log_or_a_bound(tmp_path: Path) -> None:
    run = run_with(tmp_path, config="trainer: {epochs: 7}")
    assert "at most 7 epochs" in card_of_run(run, NAME)
    write_log(run / "log.jsonl", [{"epoch": n, "losses": {}} for n in (1, 2)])
    assert "2 of 7 epochs" in card_of_run(run, NAME)


def test_scores_by_other_thresholds_than_the_runs_are_told(tmp_path: Path) -> None:
    said = "the scores on val are by other thresholds than those of its config.yaml"
    run = run_with(tmp_path, made_up(1), config="decision: {gate_threshold: 0.5}")
    assert said not in card_of_run(run, NAME)
    write_predictions(run, made_up(1, decision=DecisionConfig(gate_threshold=0.4)))
    assert said in card_of_run(run, NAME)


def test_only_real_names_become_markup(tmp_path: Path) -> None:
    """Names of classes, data, networks and options are shown as they are, whatever they hold."""
    plain = Seen(html(card_of_run(run_with(tmp_path / "plain", made_up(1), config="anchor: {options: {x: 1}}"), NAME)))
    classes = [NASTY, "Car", "Speech"]
    predictions = made_up(1, data=NASTY, classes=tuple(classes), caveats=(NASTY,))
    config = f"anchor: {{options: {{x: {NASTY!r}}}}}\ntrain: {{name: {NASTY!r}}}\nmodel: {{classes: {classes!r}}}"
    page = html(card_of_run(run_with(tmp_path / "nasty", predictions, config=config), NAME))
    assert Seen(page).tags <= plain.tags | {"li", "ul"}
    assert "javascript:1" in page
    assert 'href="javascript' not in page


def test_escaped_text_is_read_as_it_was(tmp_path: Path) -> None:
    markdown_it = pytest.importorskip("markdown_it", reason="needs markdown-it-py, which rich brings")
    text = "".join(map(chr, range(33, 127)))
    shown: list[str] = []
    reader = HTMLParser()
    reader.handle_data = shown.append  # type: ignore[method-assign]
    reader.feed(markdown_it.MarkdownIt("commonmark").render(f"so {escaped(text)}"))
    assert "".join(shown).strip() == f"so {text}"
