"""Figures and HTML: reads the outs of train and evaluate, never torch."""
