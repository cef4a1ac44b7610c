"""Prepared arrays as batches for training and evaluation."""
