"""FLOPs against a count by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coleaf_framework import create_anchor
from coleaf_framework.data import open_folder
from coleaf_framework.experiments.costs import measure_costs
from coleaf_framework.record.settings import load_config
from tests.helpers.command import Command
from tests.helpers.data import write_data_set

WIDTH, T, C = 8, 4, 3


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    split = open_folder(write_data_set(tmp_path_factory.mktemp("costs") / "tiny"), "train")
    config = load_config(settings=(f"anchor.options.width={WIDTH}", "trainer.device=cpu"))
    return measure_costs(config, split.streams, C, videos=2, segments=T)


def test_hans_flops_are_those_counted_by_hand(costs) -> None:  # type: ignore[no-untyped-def]
    per_segment = 6 * WIDTH + 8 * WIDTH + 4 * WIDTH + 2 * WIDTH * WIDTH  # averaged streams, fusion
    per_token = 2 * 4 * WIDTH * WIDTH  # self- and cross-attention: queries, keys, values, out
    per_token += 2 * 2 * T * WIDTH  # and their products: scores, mixing
    per_token += 2 * WIDTH * WIDTH + 3 * WIDTH * C  # feed-forward, three classifiers
    expected = 2 * T * (per_segment + 2 * per_token)
    assert costs.rows["HAN, inference"].gflops == pytest.approx(expected / 1e9)


def test_the_matrix_products_of_lstms_are_counted(tmp_path: Path) -> None:
    """PyTorch's counter gives 0 for the kernels into which an LSTM is fused."""
    split = open_folder(write_data_set(tmp_path / "tiny"), "train")
    config = load_config(settings=("anchor.name=avsdn", f"anchor.options.width={WIDTH}", "trainer.device=cpu"))
    counted = measure_costs(config, split.streams, C, videos=2, segments=T).rows["AVSDN, inference"].gflops
    projections = 2 * T * (6 * WIDTH + 8 * WIDTH + 4 * WIDTH + 2 * WIDTH * WIDTH)
    half = WIDTH // 2
    encoders = 2 * T * 2 * 2 * 4 * half * (WIDTH + half)  # per modality and direction: four gates of input and state
    fusion = 2 * 2 * WIDTH * 2 * WIDTH
    decoders = 2 * T * 2 * 4 * WIDTH * (2 * WIDTH + WIDTH)
    classifiers = 2 * T * 2 * 3 * WIDTH * C
    assert counted == pytest.approx((projections + encoders + fusion + decoders + classifiers) / 1e9)


@pytest.mark.parametrize("name", ["hcmn", "dhhn"])
def test_parameters_of_inference_leave_out_what_training_alone_uses(name: str, tmp_path: Path) -> None:
    split = open_folder(write_data_set(tmp_path / "tiny"), "train")
    config = load_config(settings=(f"anchor.name={name}", f"anchor.options.width={WIDTH}", "trainer.device=cpu"))
    rows = measure_costs(config, split.streams, C, videos=2, segments=T).rows
    options = {"streams": split.streams, "num_classes": C, "width": WIDTH}
    without, whole = (
        sum(p.numel() for p in create_anchor(name, **options, helpers=helpers).parameters())
        for helpers in (False, True)
    )
    kind = type(create_anchor(name, **options)).__name__
    assert rows[f"{kind}, inference"].parameters == without
    assert rows[f"{kind} alone, training step"].parameters == whole > without


def test_inference_costs_what_the_anchor_costs(costs) -> None:  # type: ignore[no-untyped-def]
    alone, inside = costs.rows["HAN, inference"], costs.rows["HAN in CoLeaF, inference"]
    assert (alone.gflops, alone.parameters) == (inside.gflops, inside.parameters)
    assert "takes the FLOPs of HAN: the Reference is thrown away" in costs.conclusion()


def test_class_tokens_cost_and_training_costs_more(costs) -> None:  # type: ignore[no-untyped-def]
    with_, without = (costs.rows[f"Reference {x} class tokens, forward"] for x in ("with", "without"))
    assert with_.parameters - without.parameters == 2 * C * WIDTH
    assert with_.gflops > without.gflops
    assert costs.rows["HAN in CoLeaF, training step"].gflops > costs.rows["HAN alone, training step"].gflops
    assert all(cost.milliseconds > 0 for cost in costs.rows.values())


def test_the_command_prints_and_writes_them(coleaf: Command, data_root: Path, tmp_path: Path) -> None:
    small = ("--set", "anchor.options={width: 8, noise_ratios: {audio: 0, visual: 0}}", "--set", "trainer.device=cpu")
    sizes = ("--data", data_root, "--videos", 2, "--segments", 4)
    printed = coleaf("flops", "--anchor", "cmpae", *sizes, *small, "--json", "c.json")
    assert "CMPAE in CoLeaF, training step" in printed
    assert json.loads((tmp_path / "c.json").read_text())["videos"] == 2
    assert "no anchor is called 'hen'" in coleaf("flops", "--anchor", "hen", fails=True)
