"""Datasets from the network, from archives or from disk; a folder appears complete or not at all."""
