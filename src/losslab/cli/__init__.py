"""The `losslab` program: its commands, and those that belong to no group: sync and archs."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import losslab
from losslab.cli import (
    advise,
    compare,
    datasets,
    docs,
    doubt,
    ensemble,
    losses,
    models,
    predict,
    project,
    runs,
    study,
    suspects,
    ui,
)
from losslab.cli.console import AsJson, cli_errors, collect_errors, exit_with_errors, print_json, print_table
from losslab.errors import InputError
from losslab.formats import format_plural
from losslab.stage import escape_unknown_letters, print_line

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(project.app)
datasets.app.command()(suspects.doubt)
app.add_typer(datasets.app, name="datasets")
app.add_typer(losses.app, name="losses")
app.command()(predict.predict)
app.add_typer(models.app)
app.add_typer(study.app, name="study")
app.command()(compare.compare)
app.command()(advise.advise)
app.command()(ensemble.ensemble)
app.command()(doubt.doubt)
app.command()(docs.docs)
app.command()(runs.verify)
app.command()(runs.reproduce)
app.command()(ui.ui)


AT_ROOT = (
    "advise",
    "archs",
    "compare",
    "datasets",
    "ensemble",
    "losses",
    "register",
    "reproduce",
    "study",
    "sync",
    "ui",
    "upgrade",
    "verify",
)
"""Commands that work at the root of the project, from any folder below it, which is `context.obj` then."""


def _print_version(wanted: bool) -> None:
    if wanted:
        print_line(losslab.__version__)
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """losslab: reproducible experiments on losses and architectures for semantic segmentation."""
    escape_unknown_letters()
    if context.invoked_subcommand in AT_ROOT:
        from losslab.project.code import find_root

        here = Path.cwd()
        if (root := find_root(here)) not in (None, here):
            context.obj = here
            os.chdir(root)


@app.command()
@cli_errors("run `losslab sync` again to add the rest")
def sync() -> None:
    """Add to MLflow the runs that only DVC has: the workspace's, and those of all experiments in the cache.

    DVC restores a run that it has cached without running a stage, so no stage could log it.
    """
    from losslab import tracking
    from losslab.experiments.finished_runs import WORKSPACE, UnfinishedRun, list_runs
    from losslab.study.state import find_study, list_states
    from losslab.study.tracked import record_study

    root, added, known, store = Path(), 0, 0, None
    errors: list[str] = []
    tracking.end_lost_runs(root)
    # The workspace comes last: its run may be that of an experiment.
    workspace, *experiments = list_runs(root)
    for outs in (*experiments, workspace):
        if isinstance(outs, UnfinishedRun):
            print_line(f"skipped {outs.name}: {outs.reason}")
            continue
        store = store or tracking.open_store(root)
        if tracking.is_recorded(outs.dataset, outs.model_md5, outs.report_md5, outs.experiment, store):
            known += 1
        else:
            with collect_errors(errors):
                with outs.files(outs.tracked) as folder:
                    tracking.rebuild_run(folder, outs.model_md5, outs.experiment, outs.baseline, store)
                added += 1
                print_line(f"added {outs.experiment or WORKSPACE}")
    if store is not None:
        for state in list_states(root):
            with collect_errors(errors):
                name, sets, alias = state.read_origin()
                record_study(find_study(name, root, sets, alias), root, compare.COMPARISONS / state.key, store)
    print_line(f"sync: {added} added, {known} already there" + (f", {len(errors)} failed" if errors else ""))
    exit_with_errors(errors)


@app.command()
@cli_errors()
def archs(
    as_json: AsJson = False,
    size: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Image side in pixels (default: prepare.size).")
    ] = None,
    encoder: Annotated[str | None, typer.Option(help="Encoder name (default: encoder in params.yaml).")] = None,
) -> None:
    """List the nets: parameters, and GFLOPs for one image (10^9 operations, two per multiply-add).

    Each net is built on the encoder in params.yaml, or on one that fits where that one does not.
    """
    from tqdm import tqdm

    from losslab.models.registry import list_archs

    size, outputs, encoder = _choose_survey(size, encoder)
    from losslab.models.cost import measure_arch_cost

    names = tqdm(list_archs(), desc="archs", unit=" nets", leave=False, disable=None, delay=2)
    costs = [measure_arch_cost(name, size, outputs, encoder) for name in names]
    if as_json:
        print_json([asdict(cost) for cost in costs])
        return
    rows = []
    for cost in costs:
        gflops = f"{cost.gflops:.2f}" if cost.gflops is not None else "not at this size"
        rows.append((cost.arch, cost.encoder or "", f"{cost.parameters:,}", gflops, str(cost.stride), cost.source))
    print_table(("arch", "encoder", "parameters", "GFLOPs", "stride", "source"), rows)
    print_line(
        f"One image of {size}x{size}, {format_plural(outputs, 'output')}. More: losslab archs --json, losslab docs architectures"
    )


def _choose_survey(size: int | None, encoder: str | None) -> tuple[int, int, str | None]:
    """Choose the size, the number of outputs and the encoder to list nets for: params.yaml fills in what is not given."""
    from losslab import params
    from losslab.cards import read_card

    if not Path("params.yaml").exists():
        if size is None:
            raise InputError("params.yaml: no such file; run from the root of the repository, or give --size")
        return size, 1, encoder
    run = params.load()
    return size or run.prepare.size, read_card(run.dataset).num_outputs, encoder or run.encoder
