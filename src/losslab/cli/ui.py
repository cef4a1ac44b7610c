"""`losslab ui`: MLflow's pages, opened on the runs."""

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from losslab.cli.console import cli_errors
from losslab.stage import print_line

ROOT = Path()


@cli_errors("MLflow's pages are closed; the runs are kept")
def ui(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port on this machine.", show_default="a free one")
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open it in a browser, where there is one.")
    ] = True,
) -> None:
    """Show the runs in MLflow: a table, grouped by study and cell, with the mean over seeds. Ctrl+C ends it.

    If MLFLOW_TRACKING_URI names a server, nothing is started, and its page is opened.
    """
    from losslab.tracking import pages

    page = pages.choose_page(ROOT)
    if (address := pages.find_server()) is not None:
        _show(address + page, browser)
    else:
        print_line("starting MLflow; Ctrl+C ends it")
        pages.serve(ROOT, port, lambda address: _show(address + page, browser))


def _show(url: str, browser: bool) -> None:
    print_line(url)
    has_screen = sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
    if browser and has_screen:
        webbrowser.open(url)
