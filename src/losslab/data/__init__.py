"""Datasets, from the card to batches: download, read, prepare, audit, load."""
