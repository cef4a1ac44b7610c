"""Finished runs, wherever they lie: in the workspace, in DVC experiments, or in MLflow; found, run again, restored."""
