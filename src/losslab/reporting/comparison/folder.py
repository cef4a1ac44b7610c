"""The folder of a comparison: one page to read, Markdown to post, tables and JSON to go on with, figures to print."""

from pathlib import Path

from losslab.files import whole, write_csv, write_json, write_text
from losslab.reporting.comparison.figures import draw_all
from losslab.reporting.comparison.markdown import markdown_of
from losslab.reporting.comparison.page import page_of
from losslab.reporting.comparison.plain import plain
from losslab.reporting.comparison.tables import cell_rows, run_rows
from losslab.study.comparing.comparison import Comparison


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write index.html, comparison.md, comparison.csv, cells.csv, comparison.json and figures/*.png: all, or nothing.

    Args:
        folder: replaced as a whole.
    """
    with whole(folder) as partial:
        partial.mkdir()
        write_text(partial / "index.html", page_of(comparison))
        write_text(partial / "comparison.md", markdown_of(comparison))
        write_csv(partial / "comparison.csv", run_rows(comparison))
        write_csv(partial / "cells.csv", cell_rows(comparison))
        write_json(partial / "comparison.json", plain(comparison))
        draw_all(comparison, partial / "figures")
