"""`losslab verify` and `losslab reproduce`: runs that can be had again, by any of their names."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from losslab.cli.console import exit_with_error, print_error
from losslab.errors import InputError

if TYPE_CHECKING:
    from losslab.experiments.records import RunRecord
    from losslab.experiments.verify import Verification

ROOT = Path()
INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""
Name = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A DVC experiment, its commit, an MLflow run id or its beginning, workspace."),
]


def verify(
    run: Name,
    threads: Annotated[int | None, typer.Option(min=1, help="That compute; else as many as recorded.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the clone, and say where it is.")] = False,
) -> None:
    """Run it again in a temporary clone, from its code, params and data, and compare what comes out byte by byte.

    Exit code 0: identical. 1: not, or it could not be run again.
    """
    from losslab.formats import format_bytes

    with _told("interrupted; nothing is left of it"):
        from losslab.experiments.records import find_record
        from losslab.experiments.verify import verify_run as run_again

        record = find_record(run, ROOT)
        verified = run_again(record, ROOT, _say, threads, keep)
        if not verified.differences:
            typer.echo(f"identical: {verified.outs} outs, {format_bytes(verified.size_bytes)}")
            return
        _tell_difference(record, verified)
    raise typer.Exit(1)


def reproduce(
    run: Name,
    force: Annotated[
        bool, typer.Option("--force", help="Drop changes that are kept nowhere; take params and outs alone.")
    ] = False,
) -> None:
    """Put the workspace into the state of a run: params.yaml, dvc.lock, and the outs that DVC's cache or remote has."""
    with _told("interrupted; the workspace is as it was"):
        from losslab.experiments.records import find_record
        from losslab.experiments.restore import restore_workspace

        record = find_record(run, ROOT)
        restored = restore_workspace(record, ROOT, force)
        typer.echo(f"the workspace is now {record.name}: params.yaml, dvc.lock and {restored.outs} outs")
        if restored.changed_code is not None:
            typer.echo(f"its code is not: {restored.changed_code} is another, so dvc repro would not give the same")
        if restored.missing or "report" not in (record.lock or {})["stages"]:
            gone = restored.missing or ["reports/report.html"]
            typer.echo(f"not in DVC's cache: {', '.join(gone)}; dvc repro makes them")
        typer.echo("back to your commit: git checkout params.yaml dvc.lock && dvc checkout")


def _tell_difference(record: "RunRecord", verified: "Verification") -> None:
    from losslab.experiments.verify import find_likely_reasons

    first, *more = verified.differences
    typer.echo(f"NOT identical, first in {first.path}: {first.description}")
    for each in more:
        typer.echo(f"{each.path}: {each.description}")
    typer.echo(f"{len(verified.differing)} of {verified.outs} outs differ: {', '.join(verified.differing)}")
    for reason in find_likely_reasons(record, verified, ROOT) or [
        "hardware, threads and packages are as they were: is something in it not deterministic?"
    ]:
        typer.echo(f"maybe: {reason}")


def _say(line: str) -> None:
    typer.echo(line)
    sys.stdout.flush()


@contextmanager
def _told(interrupted: str) -> Iterator[None]:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except InputError as error:
        exit_with_error(error)
    except OSError as error:
        exit_with_error(InputError(f"{error.filename}: {error.strerror}" if error.filename else str(error)))
    except KeyboardInterrupt:
        print_error(InputError(interrupted))
        sys.exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, before)
