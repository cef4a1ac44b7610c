"""Comparisons find the best cell of a study and whether the difference is real: evidence, statistics, verdicts."""
