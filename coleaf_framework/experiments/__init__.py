"""Experiments of several training runs: recipes of several steps; grids, one process a run; comparisons, rates by event
type, costs.
"""
