"""From the runs of a study to a verdict: evidence, statistics, and what may be said."""
