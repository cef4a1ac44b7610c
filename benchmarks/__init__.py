"""Speed and memory of losslab compared with hand-written loops; see docs/explanation/benchmarks.md."""
