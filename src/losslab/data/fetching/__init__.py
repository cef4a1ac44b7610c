"""Datasets from the network, from archives and from disk, whole or not at all."""
