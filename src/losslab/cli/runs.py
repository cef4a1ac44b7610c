"""`losslab verify` and `losslab reproduce`: run a finished run again, or restore it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from losslab.cli.console import cli_errors
from losslab.formats import format_bytes
from losslab.stage import print_line

if TYPE_CHECKING:
    from losslab.experiments.run_finder import RunRecord
    from losslab.experiments.verify import Verification

ROOT = Path()
Name = Annotated[
    str,
    typer.Argument(metavar="RUN", help="DVC experiment, its commit, MLflow run id or its beginning, or `workspace`."),
]


@cli_errors("the temporary clone is gone; run the same command again")
def verify(
    run: Name,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads to compute with (default: as recorded).")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the clone and print its path.")] = False,
) -> None:
    """Repeat a run in a temporary clone, from its code, params and data, and compare its outs byte by byte.

    Exit code 0: identical. 1: different, or it could not be repeated.
    """
    from losslab.experiments.run_finder import find_record
    from losslab.experiments.verify import verify_run

    record = find_record(run, ROOT)
    verified = verify_run(record, ROOT, print_line, threads, keep)
    if verified.differences:
        _print_differences(record, verified)
        raise typer.Exit(1)
    print_line(f"identical: {verified.outs} outs, {format_bytes(verified.size_bytes)}")


@cli_errors("the workspace is unchanged; run the same command again")
def reproduce(
    run: Name,
    force: Annotated[
        bool,
        typer.Option("--force", help="Drop unsaved changes, and restore params and outs even if the code differs."),
    ] = False,
) -> None:
    """Restore a run in the workspace: params.yaml, dvc.lock, and the outs that DVC's cache or remote has."""
    from losslab.experiments.restore import restore_workspace
    from losslab.experiments.run_finder import find_record
    from losslab.io.git import run_git

    record = find_record(run, ROOT)
    restored = restore_workspace(record, ROOT, force)
    print_line(f"the workspace is now {record.name}: params.yaml, dvc.lock and {restored.outs} outs")
    if restored.changed_code is not None:
        print_line(
            f"the code was not restored: {restored.changed_code} differs, so `dvc repro` would give different outs"
        )
    if restored.missing or "report" not in (record.lock or {})["stages"]:
        missing = restored.missing or ["reports/report.html"]
        print_line(f"not in DVC's cache: {', '.join(missing)}; run dvc repro to make them")
    has_run = run_git(ROOT, "ls-tree", "--name-only", "HEAD", "dvc.lock") != ""
    back = "losslab reproduce HEAD" if has_run else "git checkout params.yaml, then dvc repro"
    print_line(f"to go back to your commit: {back}")


def _print_differences(record: "RunRecord", verified: "Verification") -> None:
    from losslab.experiments.verify import find_likely_reasons

    first, *more = verified.differences
    print_line(f"NOT identical, first in {first.path}: {first.description}")
    for each in more:
        print_line(f"{each.path}: {each.description}")
    print_line(f"{len(verified.differing)} of {verified.outs} outs differ: {', '.join(verified.differing)}")
    reasons = find_likely_reasons(record, verified, ROOT)
    for reason in reasons or ["hardware, threads and packages are the same; a step may not be deterministic"]:
        print_line(f"possible reason: {reason}")
