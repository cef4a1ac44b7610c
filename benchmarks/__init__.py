"""Speed and memory of losslab against the loops that people write themselves; see docs/benchmarks.md."""
