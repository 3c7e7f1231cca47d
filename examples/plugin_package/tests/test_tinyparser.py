"""A plugin's own tests: the conformance suite, and what only it promises."""

from coleaf_framework import check_anchor


def test_it_is_an_anchor() -> None:
    check_anchor("tinyparser")


def test_it_takes_any_number_of_classes() -> None:
    check_anchor("tinyparser", num_classes=7, anchor_options={"width": 16})
