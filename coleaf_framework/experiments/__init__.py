"""Grids of training runs, one process per run, and their results: comparisons, rates by event type, costs."""
