"""Which cell of a study is best, and whether the difference is real: evidence, statistics, verdicts."""
