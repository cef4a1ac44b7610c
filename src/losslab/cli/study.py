"""`losslab study …`: grids of runs that run themselves."""

import json
import shlex
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from losslab.cli.compare import COMPARISONS
from losslab.cli.console import AsJson, cli_errors, collect_errors, exit_with_errors, print_json, print_table
from losslab.errors import InputError
from losslab.stage import print_line, print_warning

if TYPE_CHECKING:
    from losslab.study.engine import Engine
    from losslab.study.plan import Study, StudyRun
    from losslab.study.scheduler import Budget, FixedGrid, StudyOutcome, StudyProgress
    from losslab.study.state import StudyState
    from losslab.study.until_decided import UntilDecided

app = typer.Typer(no_args_is_help=True, help="Run grids of experiments: list, show, run, status, stop.")
ROOT = Path()
Name = Annotated[str, typer.Argument(help="Name of a file in studies/ without .yaml, or an alias given to `run --as`.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE to override in params.yaml; repeatable.")]
Alias = Annotated[str | None, typer.Option("--as", help="Name of the experiments instead of the study's.")]


@app.command("list")
@cli_errors()
def list_studies(as_json: AsJson = False) -> None:
    """List the studies: title, cells, runs, and how many runs are done."""
    from losslab.study import spec as cards
    from losslab.study.look_record import add_known_seeds
    from losslab.study.plan import read_study
    from losslab.study.results import read_progress

    names = cards.list_studies(ROOT / cards.STUDIES)
    if not names and not (ROOT / cards.STUDIES).is_dir():
        raise InputError(f"{cards.STUDIES}: no such folder; run this in a project of losslab")
    counted = []
    errors: list[str] = []
    for name in names:
        with collect_errors(errors):
            study, _ = add_known_seeds(read_study(name, ROOT), ROOT)
            counted.append((study, len(study.cells), study.number_of_runs, len(read_progress(study, ROOT)[1])))
    if as_json:
        about = [
            {"name": study.name, "title": study.card.title, "question": study.card.question}
            | dict(zip(("cells", "runs", "done"), counts, strict=True))
            for study, *counts in counted
        ]
        print_json(about)
    else:
        rows = [(study.name, study.card.title, *map(str, counts)) for study, *counts in counted]
        print_table(("study", "title", "cells", "runs", "done"), rows)
        print_line("More: losslab study show NAME, losslab docs studies")
    exit_with_errors(errors)


@app.command()
@cli_errors()
def show(name: Name, sets: Sets = None, alias: Alias = None, as_json: AsJson = False) -> None:
    """Show a study: its question, its cells, and the params they change."""
    from losslab.study.state import find_study

    study = find_study(name, ROOT, tuple(sets or ()), alias)
    if as_json:
        print_json(_describe_study(study))
    else:
        _print_study(study)


@app.command()
def run(
    name: Name,
    jobs: Annotated[int, typer.Option(min=1, help="Runs to train at once.")] = 1,
    sets: Sets = None,
    alias: Alias = None,
    engine: Annotated[
        Literal["dvc", "ray", "slurm"],
        typer.Option(help="Where to run: this machine (dvc), a Ray cluster, or Slurm's nodes."),
    ] = "dvc",
    address: Annotated[str | None, typer.Option(help="Address of the Ray cluster.")] = None,
    until_decided: Annotated[
        bool, typer.Option("--until-decided", help="Add seeds until every pair is decided, or equivalent.")
    ] = False,
    max_seeds: Annotated[
        int | None, typer.Option(help="With --until-decided: most seeds of a cell.", show_default="12")
    ] = None,
    points: Annotated[
        float | None, typer.Option(help="With --until-decided: difference that does not matter.", show_default="1.0")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="With --until-decided: the score that is judged.", show_default="miou")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Begin no run after so long (90m, 3h, 2d), or after so many runs (40).")
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(help="OPTION=VALUE of sbatch, such as time=4:00:00, over those in slurm.yaml; repeatable."),
    ] = None,
) -> None:
    """Run the missing runs of a study as DVC experiments; failed runs are tried again.

    After a kill or an interrupt, the same command resumes the study.
    """
    from losslab.io.git import find_head
    from losslab.study.scheduler import FixedGrid, parse_budget
    from losslab.study.state import StudyState, find_study
    from losslab.study.until_decided import UntilDecided

    command = f"losslab study run {_format_arguments(name, tuple(sets or ()), alias)}"
    command += (f" --engine {engine}" if engine != "dvc" else "") + (f" --address {address}" if address else "")
    command += "".join(f" --slurm {shlex.quote(text)}" for text in slurm or ())
    given = {"--max-seeds": max_seeds, "--points": points, "--metric": metric}
    options = (" --until-decided" if until_decided else "") + "".join(
        f" {option} {shlex.quote(str(value))}" for option, value in given.items() if value is not None
    )
    unlimited = command + options
    options += f" --budget {shlex.quote(budget)}" if budget is not None else ""
    command += options
    with cli_errors(f"run `{command}` to resume"):
        if address is not None and engine != "ray":
            raise InputError("--address needs --engine ray")
        if slurm and engine != "slurm":
            raise InputError("--slurm needs --engine slurm")
        needing = [option for option in given if given[option] is not None]
        if needing and not until_decided:
            raise InputError(f"{needing[0]} needs --until-decided")
        limit = parse_budget(budget) if budget is not None else None
        study = find_study(name, ROOT, tuple(sets or ()), alias)
        state, baseline = StudyState(ROOT, study.key), find_head(ROOT)
        _refuse_taken_alias(study, state)
        check_committed(study)
        planner: FixedGrid | UntilDecided = FixedGrid(study)
        if until_decided:
            planner = _build_decider(study, max_seeds, points, metric)
        outcome = execute_study(
            planner,
            state,
            lambda: choose_engine(engine, address, slurm or [], state, baseline, jobs),
            jobs,
            options,
            limit,
        )
        failed = f", {outcome.failed} failed: see losslab study status {study.alias or study.name}"
        print_line(f"{study.key}: {outcome.done} of {outcome.total} done{failed if outcome.failed else ''}")
        if isinstance(planner, UntilDecided):
            print_line(planner.describe_end(outcome.done))
        if outcome.is_out_of_budget:
            print_line(f"the budget of {budget} is spent: run `{unlimited}` to go on, with a --budget or to the end")
        if outcome.failed:
            raise typer.Exit(1)


@app.command()
@cli_errors()
def status(name: Name, sets: Sets = None, alias: Alias = None, as_json: AsJson = False) -> None:
    """Show which runs of a study are done, running or missing, and why some failed."""
    from losslab.cli.study_display import format_optional_score
    from losslab.study.look_record import add_known_seeds
    from losslab.study.results import describe_runs
    from losslab.study.state import StudyState, find_study, list_states
    from losslab.study.until_decided import describe_last_look

    study, record = add_known_seeds(find_study(name, ROOT, tuple(sets or ()), alias), ROOT)
    rows = describe_runs(study, ROOT)
    runner = StudyState(ROOT, study.key).find_runner()
    if as_json:
        print_json({"study": study.name, "key": study.key, "running": runner is not None, "runs": rows})
        return
    keys = [*study.card.tuned] if study.card.search is not None else []
    table = []
    for row in rows:
        val, test = (format_optional_score(row[f"{split}_miou"]) for split in ("val", "test"))
        values = [row["values"].get(key, "") for key in keys]
        table.append((row["name"], *values, row["state"], val, test, row["reason"] or row["progress"] or ""))
    print_table(("run", *keys, "state", "val mIoU", "test mIoU", ""), table)
    _print_counts(study, rows, runner)
    if record is not None and record.looks:
        print_line(describe_last_look(record.looks))
    for other in list_states(ROOT):
        origin = other.read_origin()
        if origin[0] == study.name and other.key != study.key and origin[1:] != ((), None):
            print_line(f"Also: losslab study status {_format_arguments(*origin)}")


@app.command()
@cli_errors()
def stop(name: Name) -> None:
    """Stop a running study, whatever `--set` it was started with; `run` resumes it."""
    from losslab.study.state import find_study, list_states

    stopped = [state for state in list_states(ROOT) if name in (state.key, state.read_origin()[0]) and state.stop()]
    if not stopped:
        find_study(name, ROOT)  # raises when there is no such study
    for state in stopped:
        arguments = _format_arguments(*state.read_origin()) + state.read_options()
        print_line(f"stopped: run `losslab study run {arguments}` to resume")
    if not stopped:
        print_line(f"{name} was not running")


def execute_study(
    planner: "FixedGrid | UntilDecided",
    state: "StudyState",
    build_engine: "Callable[[], Engine]",
    jobs: int,
    options: str = "",
    budget: "Budget | None" = None,
) -> "StudyOutcome":
    """Run what is missing of a study, show it, and keep MLflow up to date."""
    from losslab.cli.study_display import StudyDisplay
    from losslab.study.scheduler import run_study
    from losslab.study.tracked import StudyRecorder

    study = planner.study
    with (
        state.claim(study, jobs, options) as write_running,
        closing(StudyDisplay(study, state)) as display,
        StudyRecorder(lambda: planner.study, ROOT, COMPARISONS / study.key, print_warning) as recorder,
    ):

        def idle(working: "list[StudyRun]") -> None:
            if display.show_working(working):
                write_running([run.name for run in working])

        def end(progress: "StudyProgress") -> None:
            display.show_result(progress)
            if progress.ended.reason is None:
                recorder.add(progress.ended.run)

        show = end, idle, display.show_preparing
        with closing(build_engine()) as workers:
            return run_study(study, ROOT, state, workers, jobs, *show, planner=planner, budget=budget)


def _build_decider(study: "Study", max_seeds: int | None, points: float | None, metric: str | None) -> "UntilDecided":
    """Build the planner of a study that goes on until it is decided, which prints what each look saw."""
    from losslab.comparison.looking import StudyJudge
    from losslab.study.until_decided import UntilDecided, make_plan

    plan = make_plan(study, ROOT, max_seeds, points, metric)
    judge = StudyJudge(study, plan, ROOT)

    def show(lines: list[str]) -> None:
        for line in lines:
            print_line(line)

    return UntilDecided(study, ROOT, plan, judge, show)


def _refuse_taken_alias(study: "Study", state: "StudyState") -> None:
    origin = state.read_origin()
    if origin[2] is not None and origin != (study.name, study.sets, study.alias):
        other = _format_arguments(origin[0], origin[1], None)
        raise InputError(
            f"--as {study.alias}: already the alias of {other}; choose another, or remove {state.folder} to replace its runs"
        )


def choose_engine(
    kind: str, address: str | None, slurm: list[str], state: "StudyState", baseline: str, jobs: int
) -> "Engine":
    from losslab.experiments.dvc_cache import find_cache_folder
    from losslab.study.slurm_queue import cancel_jobs

    if kind == "slurm":
        from losslab.study.slurm_engine import SlurmEngine

        return SlurmEngine(state, baseline, find_cache_folder(ROOT), slurm, jobs)
    cancel_jobs(state.folder)  # which a killed process left
    if kind == "ray":
        from losslab.study.ray_engine import RayEngine

        return RayEngine(state, baseline, address, jobs)
    from losslab.study.engine import LocalEngine
    from losslab.study.threads import share_threads

    threads, line = share_threads(state.folder, jobs)
    if line is not None:
        print_line(line)
    return LocalEngine(state, baseline, find_cache_folder(ROOT), jobs, threads)


def _print_counts(study: "Study", rows: list[dict[str, Any]], runner: dict[str, Any] | None) -> None:
    counts = Counter(row["state"] for row in rows)
    unknown = study.number_of_runs - len(rows)
    states = ("done", "running", "waiting", "missing", "failed")
    parts = [f"{counts[state]} {state}" for state in states if counts[state]]
    parts += [f"{unknown} more after tuning"] if unknown > 0 else []
    process = f"; run by process {runner.get('pid', '?')}" if runner is not None else ""
    print_line(f"{study.key}: {', '.join(parts)}{process}")
    for row in rows:
        if row["state"] == "failed":
            print_line(f"  {row['name']}: {row['log']}")


def _print_study(study: "Study") -> None:
    from losslab.study.tuning import describe_domains, describe_search

    card = study.card
    print_line(f"{study.name}: {card.title}")
    print_line(" ".join(card.question.split()))
    print_line("")
    axes = [*card.grid]
    rows = []
    for cell in study.cells:
        changes = ", ".join(f"{'.'.join(path)}: {_format_value(value)}" for path, value in cell.changes.items())
        rows.append((*(name for _, name in cell.labels), changes))
    print_table((*axes, "params"), rows)
    values = f", {', '.join(card.tuned)} tuned on val" if card.tuned else ""
    print_line("")
    print_line(f"{len(rows)} cells, seeds {', '.join(map(str, card.seeds))}{values}: {study.number_of_runs} runs")
    if card.search is not None:
        print_line(describe_search(card.search))
        print_table(("tuned", "values", "first, in all cells"), describe_domains(card, study.params))
    params = study.params
    print_line(f"on {params['dataset']} at {params['prepare']['size']} px, {params['train']['epochs']} epochs")
    if card.published is not None:
        from losslab.study.spec import format_label

        print_line("")
        print_line(f"Published by {card.published.source}: {card.published.metric}")
        print_line(" ".join(card.published.how.split()))
        print_line("")
        columns = list(dict.fromkeys(key for row in card.published.rows for key in row.values))
        published = []
        for row in card.published.rows:
            labels = (format_label(row.cell[axis]) if axis in row.cell else "" for axis in axes)
            published.append((*labels, *(f"{row.values[key]:g}" if key in row.values else "" for key in columns)))
        print_table((*axes, *columns), published)


def _describe_study(study: "Study") -> dict[str, Any]:
    from losslab.study.plan import plan_runs
    from losslab.study.results import describe_run

    runs = [{**describe_run(run), "params": run.params} for run in plan_runs(study)]
    return {"name": study.name, "key": study.key, **study.card.model_dump(), "runs": runs}


def check_committed(study: "Study") -> None:
    """Warn of files that are not committed. Raises InputError for a plug-in among them that the study needs."""
    from losslab.io.git import list_changes
    from losslab.plugins.usage import list_used_files
    from losslab.project.code import TRACKED
    from losslab.study.plan import list_kinds_of_runs

    changed = list_changes(ROOT, [*TRACKED, "params.yaml"])
    if missing := sorted(list_used_files(run.params for run in list_kinds_of_runs(study)).intersection(changed)):
        raise InputError(
            f"{missing[0]} is not committed, and the study uses it: commit it, because runs take the last commit"
        )
    if changed:
        shown = ", ".join(changed[:3]) + (", …" if len(changed) > 3 else "")
        print_warning(f"not committed, so not part of the runs: {shown}")


def _format_arguments(name: str, sets: tuple[str, ...], alias: str | None) -> str:
    ending = f" --as {alias}" if alias is not None else ""
    return name + "".join(f" --set {shlex.quote(text)}" for text in sets) + ending


def _format_value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
