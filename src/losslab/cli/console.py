"""How commands talk: tables, sizes, and the one line of an error."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import typer

from losslab.errors import InputError


def print_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*map(Text, row))  # as it stands: brackets in it are no markup
    # Piped, each row stays on its line.
    console = Console() if sys.stdout.isatty() else Console(width=1000)
    console.print(table, highlight=False)


def exit_with_error(error: InputError) -> NoReturn:
    print_error(error)
    raise typer.Exit(1)


def print_error(error: InputError) -> None:
    typer.echo(f"ERROR: {' '.join(str(error).split())}", err=True)


@contextmanager
def cli_errors() -> Iterator[None]:
    """End with one line, and exit code 1, where the input is wrong or a file cannot be had."""
    try:
        yield
    except InputError as error:
        exit_with_error(error)
    except OSError as error:
        exit_with_error(describe_os_error(error))


def describe_os_error(error: OSError) -> InputError:
    """What is wrong with which file."""
    return InputError(f"{error.filename}: {error.strerror}" if error.filename else str(error))
