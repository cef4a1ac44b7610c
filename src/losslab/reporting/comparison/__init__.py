"""Report of a comparison: page, Markdown, tables, JSON and figures."""

from losslab.reporting.comparison.folder import write_comparison

__all__ = ["write_comparison"]
