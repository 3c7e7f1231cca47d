"""The recipes by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from coleaf_framework._config import nearest
from coleaf_framework.extraction.recipe import Recipe

RECIPES: Mapping[str, str] = {
    "tiny": "coleaf_framework.extraction.tiny:Tiny",
    "llp": "coleaf_framework.extraction.llp:LLPRecipe",
    "clip-clap": "coleaf_framework.extraction.clip_clap:ClipClap",
}
"""Name -> module and class, imported when it is asked for, since each needs libraries of its own."""


def recipe_class(name: str) -> type[Recipe]:
    """The class of a recipe; it is not made, so no weights are needed.

    Raises:
        ValueError: There is no such recipe; names the nearest.
    """
    if name not in RECIPES:
        raise ValueError(f"no recipe of features {name!r}.{nearest(name, RECIPES)} Recipes: {', '.join(RECIPES)}")
    module, _, kind = RECIPES[name].partition(":")
    found: type[Recipe] = getattr(import_module(module), kind)
    return found
