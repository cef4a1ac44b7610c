"""`losslab study …`: grids of runs that run themselves."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from losslab.cli.console import cli_errors, describe_os_error, print_error, print_table
from losslab.errors import InputError

if TYPE_CHECKING:
    from losslab.study.engine import Engine
    from losslab.study.plan import Study, StudyRun
    from losslab.study.state import StudyState

app = typer.Typer(no_args_is_help=True, help="Grids of runs: list, show, run, status, stop.")
ROOT = Path()
Name = Annotated[str, typer.Argument(help="A file's name in studies/, without .yaml, or an alias that it was run as.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="key=value over params.yaml, as often as needed.")]
Alias = Annotated[str | None, typer.Option("--as", help="Instead of the study's name in those of its experiments.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print all there is to know as JSON.")]


@app.command("list")
def list_studies(as_json: AsJson = False) -> None:
    """List the studies: what they ask, how many runs they take, how many are done."""
    from losslab.study import spec as cards
    from losslab.study.plan import read_study
    from losslab.study.results import read_progress

    found, faults = [], []
    for name in cards.list_studies(ROOT / cards.STUDIES):
        try:
            study = read_study(name, ROOT)
            found.append((study, len(study.cells), study.number_of_runs, len(read_progress(study, ROOT)[1])))
        except InputError as error:
            faults.append(error)
        except OSError as error:  # a folder of this name, or a file that may not be read
            faults.append(describe_os_error(error))
    if as_json:
        keys = ("cells", "runs", "done")
        about = [
            {
                "name": study.name,
                "title": study.card.title,
                "question": study.card.question,
                **dict(zip(keys, counts, strict=True)),
            }
            for study, *counts in found
        ]
        typer.echo(json.dumps(about, indent=2, ensure_ascii=False))
    else:
        rows = [(study.name, study.card.title, *map(str, counts)) for study, *counts in found]
        print_table(("study", "title", "cells", "runs", "done"), rows)
        typer.echo("More: losslab study show NAME, docs/studies.md")
    for fault in faults:
        print_error(fault)
    if faults:
        raise typer.Exit(1)


@app.command()
def show(name: Name, sets: Sets = None, alias: Alias = None, as_json: AsJson = False) -> None:
    """Show a study: its question, its cells, and what they change in params.yaml."""
    from losslab.study.state import find_study

    with cli_errors():
        study = find_study(name, ROOT, tuple(sets or ()), alias)
        if as_json:
            typer.echo(json.dumps(_described(study), indent=2, ensure_ascii=False))
        else:
            _show(study)


@app.command()
def run(
    name: Name,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at once.")] = 1,
    sets: Sets = None,
    alias: Alias = None,
    engine: Annotated[Literal["dvc", "ray"], typer.Option(help="This machine, or a Ray cluster.")] = "dvc",
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster.")] = None,
) -> None:
    """Run what is missing of a study as DVC experiments; what failed before is tried again.

    Killed or interrupted, the same command goes on.
    """
    from losslab.cli.study_display import show_study
    from losslab.io.git import find_head
    from losslab.study.scheduler import run_study
    from losslab.study.state import StudyState, find_study

    with cli_errors():
        if address is not None and engine != "ray":
            raise InputError("--address: is of --engine ray")
        study = find_study(name, ROOT, tuple(sets or ()), alias)
        state, baseline = StudyState(ROOT, study.key), find_head(ROOT)
        _refuse_taken_alias(study, state)
        for line in _uncommitted():
            typer.echo(f"WARNING: {line}", err=True)
        with state.claim(study, jobs) as tell_running, show_study(study, state) as shown, _ends_well(study):
            made = _engine(engine, address, state, baseline, jobs)
            try:

                def idle(working: "list[StudyRun]") -> None:
                    if shown.shows(working):
                        tell_running([run.name for run in working])

                outcome = run_study(study, ROOT, state, made, jobs, shown.told, idle, shown.preparing)
            finally:
                made.close()
    failed = f", {outcome.failed} failed: losslab study status {study.alias or study.name}" if outcome.failed else ""
    typer.echo(f"{study.key}: {outcome.done} of {outcome.total} done{failed}")
    if outcome.failed:
        raise typer.Exit(1)


@app.command()
def status(name: Name, sets: Sets = None, alias: Alias = None, as_json: AsJson = False) -> None:
    """Tell which runs of a study are done, which go on, and which failed and why."""
    from losslab.cli.study_display import format_optional_score
    from losslab.study.results import describe_runs
    from losslab.study.state import StudyState, find_study, list_states

    with cli_errors():
        study = find_study(name, ROOT, tuple(sets or ()), alias)
        rows = describe_runs(study, ROOT)
        runner = StudyState(ROOT, study.key).find_runner()
        if as_json:
            about = {"study": study.name, "key": study.key, "running": runner is not None, "runs": rows}
            typer.echo(json.dumps(about, indent=2, ensure_ascii=False))
            return
        table = [
            (
                row["name"],
                row["state"],
                format_optional_score(row["val_miou"]),
                format_optional_score(row["test_miou"]),
                row["reason"] or row["progress"] or "",
            )
            for row in rows
        ]
        print_table(("run", "state", "val mIoU", "test mIoU", ""), table)
        _tell_counts(study, rows, runner)
        for other in list_states(ROOT):
            origin = other.read_origin()
            if origin[0] == study.name and other.key != study.key and origin[1:] != ((), None):
                typer.echo(f"Also: losslab study status {_arguments(*origin)}")


@app.command()
def stop(name: Name) -> None:
    """End what runs of a study, whatever `--set` it was started with; `run` goes on with it."""
    from losslab.study.state import find_study, list_states

    with cli_errors():
        stopped = [state for state in list_states(ROOT) if name in (state.key, state.read_origin()[0]) and state.stop()]
        if not stopped:
            find_study(name, ROOT)  # is there such a study at all?
        for state in stopped:
            typer.echo(f"stopped; to go on: losslab study run {_arguments(*state.read_origin())}")
        if not stopped:
            typer.echo(f"{name} was not running")


@contextmanager
def _ends_well(study: "Study") -> Iterator[None]:
    """Ctrl+C, and `losslab study stop`: end the workers, say how to go on."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        raise InputError(
            f"interrupted; to go on: losslab study run {_arguments(study.name, study.sets, study.alias)}"
        ) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _refuse_taken_alias(study: "Study", state: "StudyState") -> None:
    origin = state.read_origin()
    if origin[2] is not None and origin != (study.name, study.sets, study.alias):
        was = _arguments(origin[0], origin[1], None)
        raise InputError(
            f"--as {study.alias}: was of {was}, and the names of its experiments would be the same; take another, or remove "
            f"{state.folder} if they may be replaced"
        )


def _engine(kind: str, address: str | None, state: "StudyState", baseline: str, jobs: int) -> "Engine":
    from losslab.experiments.dvc_cache import find_cache_folder

    if kind == "ray":
        from losslab.study.ray_engine import RayEngine

        return RayEngine(state, baseline, address, jobs)
    from losslab.study.engine import LocalEngine

    return LocalEngine(state, baseline, find_cache_folder(ROOT), jobs)


def _tell_counts(study: "Study", rows: list[dict[str, Any]], runner: dict[str, Any] | None) -> None:
    counts = {
        state: sum(row["state"] == state for row in rows)
        for state in ("done", "running", "waiting", "missing", "failed")
    }
    unknown = study.number_of_runs - len(rows)
    told = [f"{count} {state}" for state, count in counts.items() if count]
    told += [f"{unknown} more when tuning has ended"] if unknown > 0 else []
    by = f"; run by process {runner.get('pid', '?')}" if runner is not None else ""
    typer.echo(f"{study.key}: {', '.join(told)}{by}")
    for row in rows:
        if row["state"] == "failed":
            typer.echo(f"  {row['name']}: {row['log']}")


def _show(study: "Study") -> None:
    card = study.card
    typer.echo(f"{study.name}: {card.title}\n{card.question}\n")
    axes = [*card.grid]
    rows = []
    for cell in study.cells:
        changes = ", ".join(f"{'.'.join(path)}: {_told_value(value)}" for path, value in cell.changes.items())
        rows.append((*(name for _, name in cell.labels), changes))
    print_table((*axes, "params"), rows)
    values = f", {', '.join(card.tune)} tuned on val" if card.tune else ""
    typer.echo(f"\n{len(rows)} cells, seeds {', '.join(map(str, card.seeds))}{values}: {study.number_of_runs} runs")
    params = study.params
    typer.echo(f"on {params['dataset']} at {params['prepare']['size']} px, {params['train']['epochs']} epochs")
    if card.published is not None:
        from losslab.study.spec import format_label

        typer.echo(f"\nPublished by {card.published.source}: {card.published.metric}\n{card.published.how}\n")
        columns = list(dict.fromkeys(key for row in card.published.rows for key in row.values))
        print_table(
            (*axes, *columns),
            [
                (
                    *(format_label(row.cell[axis]) if axis in row.cell else "" for axis in axes),
                    *(f"{row.values[column]:g}" if column in row.values else "" for column in columns),
                )
                for row in card.published.rows
            ],
        )


def _described(study: "Study") -> dict[str, Any]:
    about = {"name": study.name, "key": study.key, **study.card.model_dump()}
    return about | {
        "runs": [
            {
                "name": run.name,
                "cell": dict(run.cell.labels),
                "tuned": run.tuned,
                "seed": run.seed,
                "params": run.params,
            }
            for run in study.every_run
        ]
    }


def _uncommitted() -> list[str]:
    """What the runs will not have, because they run on the commit."""
    from losslab.io.git import list_changes

    places = ["src", "data/catalog", "dvc.yaml", "params.yaml"]
    changed = list_changes(ROOT, places)
    shown = ", ".join(changed[:3]) + (", …" if len(changed) > 3 else "")
    return [f"not committed, so not part of the runs: {shown}"] if changed else []


def _arguments(name: str, sets: tuple[str, ...], alias: str | None) -> str:
    import shlex

    named = f" --as {alias}" if alias is not None else ""
    return name + "".join(f" --set {shlex.quote(text)}" for text in sets) + named


def _told_value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
