"""Grids of runs, each cell a process of its own, and what they show: comparisons, rates by event type, costs."""
