"""A comparison as a folder: page, Markdown, tables, JSON and figures of a `Comparison` (losslab.study.comparing)."""

from losslab.reporting.comparison.folder import write_comparison

__all__ = ["write_comparison"]
