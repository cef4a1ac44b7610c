"""`losslab docs`: the pages of the documentation, in the terminal."""

import html
import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from losslab.cli.console import cli_errors, print_table
from losslab.errors import InputError, quote, suggest_name
from losslab.stage import print_line

CARRIED = Path(__file__).parents[1] / "docs_pages"
"""Folder in the wheel with the pages; a clone of the repository has them in docs/."""


@cli_errors()
def docs(page: Annotated[str | None, typer.Argument(help="A page to show, such as losses.")] = None) -> None:
    """List the pages of the documentation, or show one of them."""
    from losslab.project.code import REPOSITORY

    folder = CARRIED if CARRIED.is_dir() else REPOSITORY / "docs"
    pages = {path.stem: path for path in sorted(folder.glob("*/*.md"))}
    if page is None:
        kinds = ("tutorial", "how-to", "reference", "explanation", "decisions")
        ordered = sorted(pages.values(), key=lambda path: kinds.index(path.parent.name))
        print_table(("page", "kind", "title"), [(path.stem, path.parent.name, _read_title(path)) for path in ordered])
        print_line("Show one: losslab docs losses")
    elif place := pages.get(Path(page).stem):
        _show(place.read_text(encoding="utf-8"))
    else:
        close = suggest_name(page, list(pages)) or "; `losslab docs` lists the pages"
        raise InputError(f"no such page: {quote(page)}{close}")


def _read_title(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    heading = next((line for line in lines if line.startswith("# ")), "")
    return heading.removeprefix("# ").replace("`", "")


def _show(text: str) -> None:
    """Print Markdown: in a pager and with its headings, tables and code set where a person reads it, else as it is."""
    from losslab.cli.reference import MARK, TABLES

    text = MARK.sub(lambda mark: TABLES[mark[1]]() if mark[1] in TABLES else mark[0], text)
    text = re.sub(r"<!--.*?-->\n", "", text)
    if not sys.stdout.isatty():
        for line in text.splitlines():
            print_line(html.unescape(line))
        return
    from rich.console import Console
    from rich.markdown import Markdown

    os.environ.setdefault("LESS", "-FRX")
    console = Console()
    with console.pager(styles=True):
        console.print(Markdown(text), width=min(console.width, 120))
