"""`losslab study …`: grids of runs that run themselves."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from losslab.console import complain, leave, print_table
from losslab.errors import InputError
from losslab.stage import say

if TYPE_CHECKING:
    from losslab.experiments import Outs
    from losslab.study.engine import Engine
    from losslab.study.plan import Run, Study
    from losslab.study.running import Progress
    from losslab.study.state import State

app = typer.Typer(no_args_is_help=True, help="Grids of runs: list, show, run, status, stop.")
ROOT = Path()
Name = Annotated[str, typer.Argument(help="A file's name in studies/, without .yaml, or an alias that it was run as.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="key=value over params.yaml, as often as needed.")]
Alias = Annotated[str | None, typer.Option("--as", help="Instead of the study's name in those of its experiments.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print all there is to know as JSON.")]


@app.command("list")
def list_studies(as_json: AsJson = False) -> None:
    """List the studies: what they ask, how many runs they take, how many are done."""
    from losslab.study import card as cards
    from losslab.study.plan import cells, number_of_runs, read_study

    found, faults = [], []
    for name in cards.names(ROOT / cards.STUDIES):
        try:
            study = read_study(name, ROOT)
            found.append((study, len(cells(study)), number_of_runs(study), len(_planned(study)[1])))
        except InputError as error:
            faults.append(error)
        except OSError as error:  # a folder of this name, or a file that may not be read
            faults.append(_of_file(error))
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
        complain(fault)
    if faults:
        raise typer.Exit(1)


@app.command()
def show(name: Name, sets: Sets = None, alias: Alias = None, as_json: AsJson = False) -> None:
    """Show a study: its question, its cells, and what they change in params.yaml."""
    from losslab.study.named import named_study

    with _told():
        study = named_study(name, ROOT, tuple(sets or ()), alias)
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
    from losslab.study.named import named_study
    from losslab.study.running import run_study
    from losslab.study.runs import head
    from losslab.study.state import State

    with _told():
        if address is not None and engine != "ray":
            raise InputError("--address: is of --engine ray")
        study = named_study(name, ROOT, tuple(sets or ()), alias)
        state, baseline = State(ROOT, study.key), head(ROOT)
        _refuse_taken_alias(study, state)
        for line in _uncommitted():
            typer.echo(f"WARNING: {line}", err=True)
        with state.running(study, jobs) as tell_running, _display(study, state) as display, _ends_well(study):
            made = _engine(engine, address, state, baseline, jobs)
            try:

                def idle(working: "list[Run]") -> None:
                    if display.shows(working):
                        tell_running([run.name for run in working])

                outcome = run_study(study, ROOT, state, made, jobs, display.told, idle, display.preparing)
            finally:
                made.close()
    failed = f", {outcome.failed} failed: losslab study status {study.alias or study.name}" if outcome.failed else ""
    typer.echo(f"{study.key}: {outcome.done} of {outcome.of} done{failed}")
    if outcome.failed:
        raise typer.Exit(1)


@app.command()
def status(name: Name, sets: Sets = None, alias: Alias = None, as_json: AsJson = False) -> None:
    """Tell which runs of a study are done, which go on, and which failed and why."""
    from losslab.study.named import named_study
    from losslab.study.state import State, states

    with _told():
        study = named_study(name, ROOT, tuple(sets or ()), alias)
        rows = _status(study)
        runner = State(ROOT, study.key).runner()
        if as_json:
            about = {"study": study.name, "key": study.key, "running": runner is not None, "runs": rows}
            typer.echo(json.dumps(about, indent=2, ensure_ascii=False))
            return
        table = [
            (
                row["name"],
                row["state"],
                _score(row["val_miou"]),
                _score(row["test_miou"]),
                row["reason"] or row["progress"] or "",
            )
            for row in rows
        ]
        print_table(("run", "state", "val mIoU", "test mIoU", ""), table)
        _tell_counts(study, rows, runner)
        for other in states(ROOT):
            origin = other.origin()
            if origin[0] == study.name and other.key != study.key and origin[1:] != ((), None):
                typer.echo(f"Also: losslab study status {_arguments(*origin)}")


@app.command()
def stop(name: Name) -> None:
    """End what runs of a study, whatever `--set` it was started with; `run` goes on with it."""
    from losslab.study.named import named_study
    from losslab.study.state import states

    with _told():
        stopped = [state for state in states(ROOT) if name in (state.key, state.origin()[0]) and state.stop()]
        if not stopped:
            named_study(name, ROOT)  # is there such a study at all?
        for state in stopped:
            typer.echo(f"stopped; to go on: losslab study run {_arguments(*state.origin())}")
        if not stopped:
            typer.echo(f"{name} was not running")


class _Display:
    """One line for each run that ends, and on a terminal a bar with what goes on."""

    def __init__(self, study: "Study", state: "State") -> None:
        from tqdm import tqdm

        from losslab.study.plan import number_of_runs

        self.study, self.state = study, state
        self.names: list[str] = []
        _, done, _ = _planned(study)
        typer.echo(f"{study.key}: {len(done)} of {number_of_runs(study)} runs are done")
        self.bar = tqdm(
            total=number_of_runs(study),
            initial=len(done),
            desc=study.key,
            disable=None,
            leave=False,
            bar_format="{desc} {bar} {n_fmt}/{total_fmt}{postfix}",
        )
        self.eta = ""

    def preparing(self, run: "Run") -> None:
        say(f"preparing {run.params['dataset']}")

    def told(self, progress: "Progress") -> None:
        ended, left = progress.ended, progress.of - progress.over
        if ended.reason is None:
            result = (
                f"val mIoU {_score(progress.val_miou)}  test mIoU {_score(progress.test_miou)}  {ended.seconds:.0f} s"
            )
        else:
            result = f"FAILED: {ended.reason}"
        self.eta = f", about {_duration(progress.eta)}" if left and progress.eta is not None else ""
        say(f"[{progress.over}/{progress.of}] {ended.run.name}  {result}  ({left} to go{self.eta})")
        self.bar.n = progress.over
        self.bar.refresh()

    def shows(self, working: "list[Run]") -> bool:
        """Show what goes on. Returns whether it is something else than before."""
        names = [run.name for run in working]
        changed, self.names = names != self.names, names
        if not self.bar.disable:
            own = f"{self.study.alias or self.study.name}-"
            told = [f"{name.removeprefix(own)} {_progress(self.state.log(name)) or ''}".strip() for name in names]
            self.bar.set_postfix_str("; ".join(told) + self.eta)
        return changed


@contextmanager
def _display(study: "Study", state: "State") -> Iterator[_Display]:
    display = _Display(study, state)
    try:
        yield display
    finally:
        display.bar.close()


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


def _refuse_taken_alias(study: "Study", state: "State") -> None:
    origin = state.origin()
    if origin[2] is not None and origin != (study.name, study.sets, study.alias):
        was = _arguments(origin[0], origin[1], None)
        raise InputError(
            f"--as {study.alias}: was of {was}, and the names of its experiments would be the same; take another, or remove "
            f"{state.folder} if they may be replaced"
        )


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        leave(error)
    except OSError as error:
        leave(_of_file(error))


def _of_file(error: OSError) -> InputError:
    return InputError(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _engine(kind: str, address: str | None, state: "State", baseline: str, jobs: int) -> "Engine":
    from losslab.dvc_cache import cache

    if kind == "ray":
        from losslab.study.ray_engine import RayEngine

        return RayEngine(state, baseline, address, jobs)
    from losslab.study.engine import LocalEngine

    return LocalEngine(state, baseline, cache(ROOT), jobs)


def _planned(study: "Study") -> "tuple[list[Run], dict[Run, Outs], dict[Run, Any]]":
    """The runs that are known to be needed; of these the done ones, and the failed ones."""
    from losslab.study.plan import every_run, runs
    from losslab.study.runs import chosen_values, found_runs
    from losslab.study.state import State

    every = every_run(study)
    found = found_runs(every, ROOT)
    failed = {run: about for run, about in State(ROOT, study.key).failures(every).items() if run not in found}
    planned = runs(study, chosen_values(study, found, failed, ROOT))
    return planned, {run: found[run] for run in planned if run in found}, failed


def _status(study: "Study") -> list[dict[str, Any]]:
    from losslab.study.runs import scores
    from losslab.study.state import State

    planned, done, failed = _planned(study)
    state = State(ROOT, study.key)
    runner = state.runner()
    going = [] if runner is None else runner.get("runs", [])
    rows = []
    for run in planned:
        row: dict[str, Any] = {"name": run.name, "cell": dict(run.cell.labels), "tuned": run.tuned, "seed": run.seed}
        row |= {"state": "missing" if runner is None else "waiting"}
        row |= dict.fromkeys(("val_miou", "test_miou", "reason", "log", "progress"))
        if run in done:
            measured = scores(done[run], ROOT)
            row |= {"state": "done", **{f"{split}_miou": measured[split]["miou"] for split in ("val", "test")}}
        elif run.name in going:
            row |= {"state": "running", "progress": _progress(state.log(run.name))}
        elif run in failed:
            row |= {"state": "failed", "reason": failed[run]["reason"], "log": failed[run]["log"]}
        rows.append(row)
    return rows


def _tell_counts(study: "Study", rows: list[dict[str, Any]], runner: dict[str, Any] | None) -> None:
    from losslab.study.plan import number_of_runs

    counts = {
        state: sum(row["state"] == state for row in rows)
        for state in ("done", "running", "waiting", "missing", "failed")
    }
    unknown = number_of_runs(study) - len(rows)
    told = [f"{count} {state}" for state, count in counts.items() if count]
    told += [f"{unknown} more when tuning has ended"] if unknown > 0 else []
    by = f"; run by process {runner.get('pid', '?')}" if runner is not None else ""
    typer.echo(f"{study.key}: {', '.join(told)}{by}")
    for row in rows:
        if row["state"] == "failed":
            typer.echo(f"  {row['name']}: {row['log']}")


def _show(study: "Study") -> None:
    from losslab.study.plan import cells, number_of_runs

    card = study.card
    typer.echo(f"{study.name}: {card.title}\n{card.question}\n")
    axes = [*card.grid]
    rows = []
    for cell in cells(study):
        changes = ", ".join(f"{'.'.join(path)}: {_told_value(value)}" for path, value in cell.changes.items())
        rows.append((*(name for _, name in cell.labels), changes))
    print_table((*axes, "params"), rows)
    values = f", {', '.join(card.tune)} tuned on val" if card.tune else ""
    typer.echo(f"\n{len(rows)} cells, seeds {', '.join(map(str, card.seeds))}{values}: {number_of_runs(study)} runs")
    params = study.params
    typer.echo(f"on {params['dataset']} at {params['prepare']['size']} px, {params['train']['epochs']} epochs")
    if card.published is not None:
        from losslab.study.card import label

        typer.echo(f"\nPublished by {card.published.source}: {card.published.metric}\n{card.published.how}\n")
        columns = list(dict.fromkeys(key for row in card.published.rows for key in row.values))
        print_table(
            (*axes, *columns),
            [
                (
                    *(label(row.cell[axis]) if axis in row.cell else "" for axis in axes),
                    *(f"{row.values[column]:g}" if column in row.values else "" for column in columns),
                )
                for row in card.published.rows
            ],
        )


def _described(study: "Study") -> dict[str, Any]:
    from losslab.study.plan import every_run

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
            for run in every_run(study)
        ]
    }


def _uncommitted() -> list[str]:
    """What the runs will not have, because they run on the commit."""
    places = ["src", "data/catalog", "dvc.yaml", "params.yaml"]
    listed = subprocess.run(
        ["git", "status", "--porcelain", "--", *places], cwd=ROOT, capture_output=True, text=True, check=False
    )
    changed = [line[3:] for line in listed.stdout.splitlines()]
    shown = ", ".join(changed[:3]) + (", …" if len(changed) > 3 else "")
    return [f"not committed, so not part of the runs: {shown}"] if changed else []


def _arguments(name: str, sets: tuple[str, ...], alias: str | None) -> str:
    import shlex

    named = f" --as {alias}" if alias is not None else ""
    return name + "".join(f" --set {shlex.quote(text)}" for text in sets) + named


def _progress(log: Path) -> str | None:
    try:
        found = re.findall(r"^epoch \d+/\d+", log.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    except FileNotFoundError:
        return None
    return found[-1] if found else None


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _told_value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
