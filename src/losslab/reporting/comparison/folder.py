"""Folder of a comparison: a page to read, Markdown to post, tables and JSON to work with, figures to print."""

from pathlib import Path

from losslab.comparison.result import Comparison
from losslab.io.files import atomic_write, write_csv, write_json, write_text
from losslab.reporting.comparison.csv_tables import build_cell_rows, build_run_rows
from losslab.reporting.comparison.figures import draw_comparison_figures
from losslab.reporting.comparison.markdown import build_markdown
from losslab.reporting.comparison.page import build_comparison_page
from losslab.reporting.comparison.plain_data import convert_to_plain


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write index.html, comparison.md, *.csv, comparison.json and figures/*.png, and replace the folder: all, or nothing."""
    with atomic_write(folder) as partial:
        partial.mkdir()
        write_text(partial / "index.html", build_comparison_page(comparison))
        write_text(partial / "comparison.md", build_markdown(comparison))
        write_csv(partial / "comparison.csv", build_run_rows(comparison))
        write_csv(partial / "cells.csv", build_cell_rows(comparison))
        write_json(partial / "comparison.json", convert_to_plain(comparison))
        draw_comparison_figures(comparison, partial / "figures")
