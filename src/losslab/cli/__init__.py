"""`losslab …`: what works across runs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from losslab.cli import compare, datasets, models, predict, runs, study
from losslab.cli.console import exit_with_error, print_table
from losslab.errors import InputError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(datasets.app, name="datasets")
app.command()(predict.predict)
app.add_typer(models.app)
app.add_typer(study.app, name="study")
app.command()(compare.compare)
app.command()(runs.verify)
app.command()(runs.reproduce)


@app.callback()
def main() -> None:
    """losslab: reproducible experiments on losses and architectures for semantic segmentation."""


@app.command()
def sync() -> None:
    """Rebuild in MLflow the runs that DVC has and MLflow lacks: the workspace's, and every experiment's in the cache.

    DVC takes outs it has seen before from its cache without running a stage, so no stage could tell MLflow.
    """
    from losslab import tracking
    from losslab.experiments.outs import WORKSPACE, UnfinishedRun, list_runs

    root, failed, added, known = Path(), 0, 0, 0
    try:
        for outs in list_runs(root):
            if isinstance(outs, UnfinishedRun):
                typer.echo(f"left out {outs.name}: {outs.reason}")
                continue
            if tracking.is_recorded(outs.dataset, outs.model_md5, outs.report_md5, outs.experiment, root):
                known += 1
                continue
            try:
                with outs.files() as folder:
                    tracking.rebuild_run(folder, outs.model_md5, outs.experiment, outs.baseline, root)
            except InputError as error:
                failed += 1
                typer.echo(f"ERROR: {error}", err=True)
            else:
                added += 1
                typer.echo(f"added {outs.experiment or WORKSPACE}")
    except InputError as error:
        exit_with_error(error)
    typer.echo(f"sync: {added} added, {known} already there" + (f", {failed} failed" if failed else ""))
    if failed:
        raise typer.Exit(1)


@app.command()
def losses(
    as_json: Annotated[bool, typer.Option("--json", help="Print all there is to know as JSON.")] = False,
    cards: Annotated[bool, typer.Option("--cards", help="Measure each loss and write reports/losses.html.")] = False,
) -> None:
    """List the losses: kind, options with their defaults, source, and what to write as `loss`."""
    from losslab.losses.registry import LOSSES

    if cards and as_json:
        exit_with_error(InputError("losses: --json and --cards are two things; ask for one"))
    if cards:
        _write_cards()
    elif as_json:
        typer.echo(json.dumps([spec.describe() for spec in LOSSES.values()], indent=2, ensure_ascii=False))
    else:
        rows = [
            (
                spec.name,
                spec.kind,
                f"{spec.binary}, {spec.multiclass}",
                "alone" if spec.stands_alone else spec.expression,
                " ".join(f"{name}={_shown(value)}" for name, value in spec.defaults.items()),
                spec.paper,
            )
            for spec in LOSSES.values()
        ]
        print_table(("loss", "kind", "binary, multiclass", "use it as", "options", "source"), rows)
        typer.echo("More: losslab losses --cards, losslab losses --json, docs/losses.md")


@app.command()
def archs(
    as_json: Annotated[bool, typer.Option("--json", help="Print all there is to know as JSON.")] = False,
    size: Annotated[int | None, typer.Option(min=1, max=4096, help="Pixels a side; else prepare.size.")] = None,
    encoder: Annotated[str | None, typer.Option(help="An encoder; else that of params.yaml.")] = None,
) -> None:
    """List the nets: parameters, and GFLOPs (10^9 operations, two per multiply-add) of one image forward.

    Each is built on the encoder of params.yaml, or, where it cannot be, on one that it goes with.
    """
    from tqdm import tqdm

    from losslab.models.registry import ARCHS

    try:
        asked = _survey_of(size, encoder)
        from losslab.models.cost import measure_arch_cost

        names = tqdm(ARCHS, desc="archs", unit=" nets", leave=False, disable=None, delay=2)
        costs = [measure_arch_cost(name, *asked) for name in names]
    except InputError as error:
        exit_with_error(error)
    if as_json:
        typer.echo(json.dumps([asdict(cost) for cost in costs], indent=2, ensure_ascii=False))
        return
    rows = [
        (
            cost.arch,
            cost.encoder or "",
            f"{cost.parameters:,}",
            f"{cost.gflops:.2f}" if cost.gflops is not None else "not at this size",
            str(cost.stride),
            cost.source,
        )
        for cost in costs
    ]
    print_table(("arch", "encoder", "parameters", "GFLOPs", "stride", "source"), rows)
    pixels, outputs, _ = asked
    typer.echo(f"One image of {pixels}x{pixels}, {outputs} outputs. More: losslab archs --json, docs/architectures.md")


def _survey_of(size: int | None, encoder: str | None) -> tuple[int, int, str | None]:
    """Size, number of outputs and encoder to list the archs for: of params.yaml, where the command does not say."""
    from losslab import params
    from losslab.cards import read_card

    if not Path("params.yaml").exists():
        if size is None:
            raise InputError("params.yaml: no such file; run from the root of the repository, or give --size")
        return size, 1, encoder
    run = params.load()
    return size or run.prepare.size, read_card(run.dataset).num_outputs, encoder or run.encoder


def _write_cards() -> None:
    from tqdm import tqdm

    from losslab.losses import available
    from losslab.reporting.losses.page import write_loss_cards
    from losslab.runtime.devices import describe_hardware

    path = Path("reports/losses.html")
    try:
        write_loss_cards(path, describe_hardware(), tqdm(available(), desc="cards", unit=" losses", disable=None))
    except OSError as error:
        exit_with_error(InputError(f"{error.filename or path}: {error.strerror or error}"))
    typer.echo(f"wrote {path}")


def _shown(value: object) -> str:
    """As in params.yaml."""
    if isinstance(value, float):
        return f"{value:g}"
    return "null" if value is None else str(value).lower()
