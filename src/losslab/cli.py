"""`losslab …`: what works across runs."""

from pathlib import Path
from typing import NoReturn

import typer

from losslab.errors import InputError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """losslab: reproducible experiments on losses and architectures for semantic segmentation."""


@app.command()
def sync() -> None:
    """Rebuild in MLflow the runs that DVC has and MLflow lacks: the workspace's, and every experiment's in the cache.

    DVC takes outs it has seen before from its cache without running a stage, so no stage could tell MLflow.
    """
    from losslab import tracking
    from losslab.experiments import WORKSPACE, LeftOut, runs_of

    root, failed, added, known = Path(), 0, 0, 0
    try:
        for outs in runs_of(root):
            if isinstance(outs, LeftOut):
                typer.echo(f"left out {outs.name}: {outs.reason}")
                continue
            if tracking.is_recorded(outs.dataset, outs.model_md5, outs.report_md5, outs.experiment, root):
                known += 1
                continue
            try:
                with outs.files() as folder:
                    tracking.rebuild(folder, outs.model_md5, outs.experiment, outs.baseline, root)
            except InputError as error:
                failed += 1
                typer.echo(f"ERROR: {error}", err=True)
            else:
                added += 1
                typer.echo(f"added {outs.experiment or WORKSPACE}")
    except InputError as error:
        _leave(error)
    typer.echo(f"sync: {added} added, {known} already there" + (f", {failed} failed" if failed else ""))
    if failed:
        raise typer.Exit(1)


def _leave(error: InputError) -> NoReturn:
    typer.echo(f"ERROR: {' '.join(str(error).split())}", err=True)
    raise typer.Exit(1)
