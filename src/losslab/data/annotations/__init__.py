"""Annotation files of other tools, read into one form and drawn as masks."""
