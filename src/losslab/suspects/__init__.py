"""Masks that are probably wrong, found by nets that never saw them."""
