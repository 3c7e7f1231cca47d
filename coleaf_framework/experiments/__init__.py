"""What is made of several training runs: recipes of several steps; grids of runs, one process each, and their results:
comparisons, rates by event type, costs.
"""
