"""Rates of wrong verdicts, measured on simulated studies whose truth is known."""
