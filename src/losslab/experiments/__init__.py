"""Finished runs in the workspace, in DVC experiments or in MLflow: they are found, repeated and restored."""
