"""The paper's tables as configurations."""

from __future__ import annotations

import re

import pytest

from coleaf_framework.experiments.grid import Study, Variant
from coleaf_framework.experiments.studies import LABELS_STUDY, RATES, TABLES, compare_study, own_ablation
from coleaf_framework.record.config import RunConfig
from coleaf_framework.record.settings import load_config
from coleaf_framework.results.paper import TABLE_1
from tests import conftest


def config_of(variant: Variant) -> RunConfig:
    return load_config(settings=("anchor.name=cmpae", *variant.settings))


@pytest.mark.parametrize("study", [compare_study(), *TABLES.values()], ids=lambda study: study.name)
def test_every_row_of_the_paper_is_a_way_to_train_and_the_other_way_round(study: Study) -> None:
    assert study.paper is not None
    assert {variant for _, variant in study.paper.rows} == {variant.name for variant in study.variants}


def test_variants_change_what_their_table_is_about_and_nothing_else() -> None:
    full = config_of(compare_study().variants[1]).model_dump()
    for number, section, keys in ((2, "coleaf", {"contrast"}), (3, "coleaf", {"self_modality_weight"}),
                                  (4, None, {"cooccurrence_weight", "options"})):  # fmt: skip
        for variant in TABLES[number].variants:
            found = config_of(variant).model_dump()
            changed = {
                (part, key)
                for part in found
                if isinstance(found[part], dict)
                for key in found[part]
                if found[part][key] != full[part][key]
            }
            assert {key for _, key in changed} <= keys
            assert section is None or {part for part, _ in changed} <= {section}
            assert bool(changed) == (variant.name != "coleaf")


def test_rates_compare_with_and_without_cross_attention_and_in_coleaf() -> None:
    unimodal, alone, inside = (config_of(variant) for variant in RATES.variants)
    assert unimodal.anchor.options == {"cross_attention": False}
    assert (unimodal.coleaf.enabled, alone.coleaf.enabled, inside.coleaf.enabled) == (False, False, True)


def test_the_papers_numbers_are_the_papers() -> None:
    path = conftest.SHARED / "paper" / "coleaf_eccv2024.txt"
    if not path.exists():
        pytest.skip("needs the paper's text, which is not part of the package")
    lines = [re.findall(r"\d+\.\d", line) for line in path.read_text().splitlines()]
    for study in (compare_study(), *TABLES.values()):
        assert study.paper is not None
        for row in study.paper.rows.values():
            assert [f"{x:.1f}" for x in row] in lines
    for i in range(4):
        pairs = zip(TABLE_1["unimodal"].values(), TABLE_1["alone"].values(), strict=True)
        assert [f"{x[i]:.1f}" for pair in pairs for x in pair] in lines


def test_table_7s_numbers_are_the_papers() -> None:
    """Of its 18 columns, those of the new metrics and AV."""
    path = conftest.SHARED / "paper" / "coleaf_eccv2024.txt"
    if not path.exists():
        pytest.skip("needs the paper's text, which is not part of the package")
    lines = [re.findall(r"\d+\.\d", line) for line in path.read_text().splitlines()]
    chosen = [[line[i] for i in (1, 3, 4, 10, 12, 13)] for line in lines if len(line) == 18]
    assert LABELS_STUDY.paper is not None
    for row in LABELS_STUDY.paper.rows.values():
        assert [f"{x:.1f}" for x in row] in chosen


def test_table_7_trains_each_way_without_and_with_the_labels() -> None:
    given = ("labels.sources=[{kind: npy, path: x}]", "coleaf.segment_label_form=hard")
    configs = {v.name: load_config(settings=(*given, *v.settings)) for v in LABELS_STUDY.variants}
    for name, config in configs.items():
        labelled = name.startswith("labels")
        assert bool(config.labels.sources) == labelled
        assert (config.coleaf.segment_label_weight, config.coleaf.enabled) == (float(labelled), name.endswith("coleaf"))
        assert config.coleaf.segment_label_form == ("hard" if labelled else "soft")


def test_own_variants_may_have_several_settings() -> None:
    study = own_ablation(
        "ablate", ["a-b: coleaf.contrast=nce, coleaf.temperature=0.1", "c: anchor.options={width: 8, heads: 2}"]
    )
    first, second, _ = study.variants
    assert first.settings == ("coleaf.enabled=true", "coleaf.contrast=nce", "coleaf.temperature=0.1")
    assert second.settings == ("coleaf.enabled=true", "anchor.options={width: 8, heads: 2}")
    assert study.pairs == (("a-b", "coleaf"), ("c", "coleaf"))


def test_recipes_stand_side_by_side_each_with_its_own_baseline() -> None:
    study = compare_study(["paper", "official", "strong"])
    assert study.pairs == (("coleaf", "alone"), ("official-coleaf", "official-alone"), ("strong", "alone"))
    by_name = {variant.name: config_of(variant) for variant in study.variants}
    assert {name: config.recipe for name, config in by_name.items()} == {
        "alone": "paper",
        "coleaf": "paper",
        "official-alone": "official",
        "official-coleaf": "official",
        "strong": "strong",
    }
    assert (by_name["official-alone"].trainer.epochs, by_name["official-coleaf"].trainer.epochs) == (20, 10)
    # Why strong needs no baseline of its own: alone it trains as the paper's does.
    alone = load_config(settings=("recipe=strong", "anchor.name=cmpae", "coleaf.enabled=false"))
    for section in ("data", "anchor", "trainer", "decision"):
        assert getattr(alone, section) == getattr(by_name["alone"], section)


@pytest.mark.parametrize(
    ("recipes", "message"), [(["stong"], "Did you mean 'strong'"), (["paper", "paper"], "each name once"), ([], "once")]
)
def test_a_wrong_recipe_is_named(recipes: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare_study(recipes)
    if recipes == ["stong"]:
        with pytest.raises(ValueError, match=message):
            load_config(settings=["recipe=stong"])
