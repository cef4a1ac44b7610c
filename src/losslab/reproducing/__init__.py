"""Runs found again: by any of their names, run anew and compared, or put back into the workspace."""
