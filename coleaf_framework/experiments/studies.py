"""Studies: the variants of the paper's Tables 1 to 5 and 7, and ablations that a user defines."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from coleaf_framework._config import nearest
from coleaf_framework.collaboration import CoLeaFConfig
from coleaf_framework.experiments.grid import ALONE, COLEAF, SET_BY_THE_GRID, UNIMODAL, Study, Variant
from coleaf_framework.results import paper

# Recipe -> (variant alone, variant in CoLeaF).
_RECIPES = {
    "paper": (ALONE, COLEAF),
    "official": (
        Variant("official-alone", "alone, official", ("recipe=official", *ALONE.settings)),
        Variant("official-coleaf", "in CoLeaF, official", ("recipe=official", *COLEAF.settings)),
    ),
    "strong": (ALONE, Variant("strong", "in CoLeaF, strong", ("recipe=strong", *COLEAF.settings))),
    "published": (
        Variant("published-alone", "alone, as published", ("recipe=published", *ALONE.settings)),
        Variant("published-coleaf", "in CoLeaF, as published", ("recipe=published", *COLEAF.settings)),
    ),
}


def compare_study(recipes: Sequence[str] = ("paper",)) -> Study:
    """The study of Table 5: each Anchor alone and in CoLeaF, with one or several recipes.

    Args:
        recipes: some of "paper", "official", "strong" and "published", each once.

    Raises:
        ValueError: an unknown recipe (names the closest match), or one given twice.
    """
    unknown = next((name for name in recipes if name not in _RECIPES), None)
    if unknown is not None:
        raise ValueError(
            f"--recipes {unknown!r}: no such recipe.{nearest(unknown, _RECIPES)} Recipes: {', '.join(_RECIPES)}"
        )
    if not recipes or len(set(recipes)) < len(recipes):
        raise ValueError(f"--recipes {','.join(recipes)!r}: expected each name once, such as paper,strong")
    chosen = [_RECIPES[name] for name in recipes]
    variants = {variant.name: variant for pair in chosen for variant in pair}
    return Study(
        "compare",
        "Does CoLeaF help? Each Anchor alone and in CoLeaF (Table 5)",
        tuple(variants.values()),
        tuple((treated.name, control.name) for control, treated in chosen),
        paper.TABLE_5,
    )


# What undoes `--labels` and its options for the rows without pseudo-labels.
_WITHOUT_LABELS = (
    "labels.sources=[]",
    *(
        f"coleaf.{name}={json.dumps(field.default)}"
        for name, field in CoLeaFConfig.model_fields.items()
        if name.startswith(("segment_label_", "modality_label_"))
    ),
)
LABELS_STUDY = Study(
    "compare-table7",
    "Does CoLeaF help on top of pseudo-labels? Each Anchor alone and in CoLeaF, without and with them (Table 7)",
    (
        Variant(ALONE.name, ALONE.label, (*ALONE.settings, *_WITHOUT_LABELS)),
        Variant(COLEAF.name, COLEAF.label, (*COLEAF.settings, *_WITHOUT_LABELS)),
        Variant("labels-alone", "alone, with pseudo-labels", ALONE.settings),
        Variant("labels-coleaf", "in CoLeaF, with pseudo-labels", COLEAF.settings),
    ),
    (
        (COLEAF.name, ALONE.name),
        ("labels-alone", ALONE.name),
        ("labels-coleaf", "labels-alone"),
        ("labels-coleaf", COLEAF.name),
    ),
    paper.TABLE_7,
)
"""The study of Table 7; its runs need `labels.sources`."""


RATES = Study(
    "rates",
    "Does mixing the modalities help or hurt? Rates by event type (Table 1)",
    (UNIMODAL, ALONE, COLEAF),
    (("alone", "unimodal"), ("coleaf", "alone")),
    counts_types=True,
)


def _in_coleaf(name: str, label: str, *settings: str) -> Variant:
    return Variant(name, f"in CoLeaF, {label}", ("coleaf.enabled=true", *settings))


def _ablation(name: str, question: str, variants: Sequence[Variant], table: paper.PaperTable | None = None) -> Study:
    pairs = tuple((variant.name, COLEAF.name) for variant in variants)
    return Study(name, question, (*variants, COLEAF), pairs, table)


_NO_TOKENS, _NO_COOCCURRENCE = "reference.options.class_tokens=false", "coleaf.cooccurrence_weight=0"
TABLES = {
    2: _ablation(
        "ablate-table2",
        "What does the event-aware contrast add? (Table 2)",
        [
            _in_coleaf("nce", "standard NCE", "coleaf.contrast=nce"),
            _in_coleaf("bce", "BCE for the contrast", "coleaf.contrast=bce"),
            _in_coleaf("no-contrast", "no contrast", "coleaf.contrast=none"),
        ],
        paper.TABLE_2,
    ),
    3: _ablation(
        "ablate-table3",
        "What does self-modality distillation add? (Table 3)",
        [_in_coleaf("no-self-modality", "no self-modality distillation", "coleaf.self_modality_weight=0")],
        paper.TABLE_3,
    ),
    4: _ablation(
        "ablate-table4",
        "What do class tokens and co-occurrence distillation add? (Table 4)",
        [
            _in_coleaf("no-cooccurrence", "no co-occurrence distillation", _NO_COOCCURRENCE),
            _in_coleaf("no-class-tokens", "no class tokens", _NO_TOKENS),
            _in_coleaf("no-class-relations", "neither class tokens nor co-occurrence", _NO_COOCCURRENCE, _NO_TOKENS),
        ],
        paper.TABLE_4,
    ),
}


def ablation_table(number: int) -> Study:
    """The ablation study of a table of the paper.

    Args:
        number: 2, 3 or 4.

    Raises:
        ValueError: another number.
    """
    if number not in TABLES:
        raise ValueError(
            f"--table {number}: no such ablation; the paper's are 2, 3 and 4 (Table 1 is `coleaf rates`, Table 5 "
            "`coleaf compare`)"
        )
    return TABLES[number]


def own_ablation(name: str, texts: Sequence[str]) -> Study:
    """A study of variants that the user defines.

    Args:
        name: name of its files.
        texts: one per variant, "NAME: section.key=value, section.key=value".

    Raises:
        ValueError: a text has another form, or two variants have the same name.
    """
    variants = []
    for text in texts:
        match = re.fullmatch(r"([\w.-]+):\s*(\S.*)", text)
        settings = re.split(r",\s*(?=[\w.]+=)", match[2].strip()) if match else []
        if match is None or not all("=" in setting for setting in settings):
            raise ValueError(
                f"--variant {text!r}: expected NAME: section.key=value, ..., such as slow: coleaf.anchor_warmup=5"
            )
        for setting in settings:
            key = setting.partition("=")[0]
            if key in SET_BY_THE_GRID or key == "coleaf.enabled":
                how = SET_BY_THE_GRID.get(key, "coleaf compare, which has each Anchor alone")
                raise ValueError(f"--variant {text!r}: {key} is not a setting of CoLeaF: it is set by {how}")
        variants.append(_in_coleaf(match[1], match[1], *settings))
    names = [variant.name for variant in (*variants, ALONE, COLEAF, UNIMODAL)]
    twice = next((x for x in names if names.count(x) > 1), None)
    if twice is not None:
        raise ValueError(f"--variant {twice}: a name that is taken; give each variant its own")
    return _ablation(name, "What does each change do to CoLeaF?", variants)
