"""Features of media files, by named recipes."""

from coleaf_framework.extraction.extracting import Extracted, FeatureExtractor, extract
from coleaf_framework.extraction.recipe import Recipe
from coleaf_framework.extraction.recipes import RECIPES, make_recipe

__all__ = ["RECIPES", "Extracted", "FeatureExtractor", "Recipe", "extract", "make_recipe"]
