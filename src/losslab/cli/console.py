"""What all commands share: tables, JSON, and how a command ends when something goes wrong."""

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from losslab.errors import InputError, Terminated, describe_error, describe_failure
from losslab.formats import format_line
from losslab.stage import INTERRUPTED, print_line, print_lines

TERMINATED = 128 + signal.SIGTERM
"""Exit code after SIGTERM, as in shells."""
AsJson = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]


def print_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, cell in enumerate(header):  # Text, as brackets in a plain string would be markup
        table.add_column(Text(format_line(cell)), overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*(Text(format_line(cell)) for cell in row))
    is_width_known = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    console = Console() if is_width_known else Console(width=1000)  # piped, each row stays on its line
    console.print(table, highlight=False)


def print_json(value: object) -> None:
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    for line in json.dumps(value, indent=2, ensure_ascii=not is_unicode).split("\n"):
        print_line(line)


def exit_with_errors(messages: Sequence[str], code: int = 1) -> None:
    """Print one line per error and end the command; do nothing when there are no errors."""
    for message in messages:
        print_lines([f"ERROR: {' '.join(message.split())}"])
    if messages:
        raise typer.Exit(code)


@contextmanager
def collect_errors(messages: list[str]) -> Iterator[None]:
    """Add an error to a list instead of ending the command, which goes on with its next item."""
    try:
        yield
    except (InputError, OSError) as error:
        messages.append(describe_error(error))


@contextmanager
def cli_errors(
    interrupted: str = "run the same command again", memory: str | None = None, path: Path | None = None
) -> Iterator[None]:
    """End a command with one line and exit code 1 for an error of the user or the system, 130 for Ctrl+C, 143 for SIGTERM.

    Every command runs inside it, as its decorator or in a `with` block.

    Args:
        interrupted: how to go on after an interrupt.
        memory: what to change when memory runs out.
        path: where the command writes, for errors of the system that name no file.
    """

    def terminate(number: int, frame: object) -> NoReturn:
        raise Terminated

    handler = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt as error:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one finds nothing left to clear away
        code = TERMINATED if isinstance(error, Terminated) else INTERRUPTED
        exit_with_errors([f"interrupted: {interrupted}"], code)
    except BrokenPipeError:  # whoever read the output has seen enough, as `head` does: typer ends without a word
        raise
    except Exception as error:
        if (line := describe_failure(error, memory, path)) is None:
            raise
        exit_with_errors([line])
    finally:
        signal.signal(signal.SIGTERM, handler)
