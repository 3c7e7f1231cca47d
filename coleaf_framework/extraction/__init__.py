"""Features of media files, by named recipes."""

from coleaf_framework.extraction.extracting import Extracted, FeatureExtractor, extract
from coleaf_framework.extraction.recipe import Recipe
from coleaf_framework.extraction.recipes import RECIPES, recipe_class

__all__ = ["RECIPES", "Extracted", "FeatureExtractor", "Recipe", "extract", "recipe_class"]
