"""Studies: grids of runs, and verdicts on them."""
