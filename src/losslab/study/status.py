"""How far a study is: what is done, what goes on, what failed and why."""

import re
from pathlib import Path
from typing import Any

from losslab.experiments import Outs
from losslab.study.plan import Run, Study, every_run, runs
from losslab.study.runs import chosen_values, found_runs, scores
from losslab.study.state import State


def planned_runs(study: Study, root: Path) -> tuple[list[Run], dict[Run, Outs], dict[Run, Any]]:
    """The runs that are known to be needed; of these the done ones, and the failed ones."""
    every = every_run(study)
    found = found_runs(every, root)
    failed = {run: about for run, about in State(root, study.key).failures(every).items() if run not in found}
    planned = runs(study, chosen_values(study, found, failed, root))
    return planned, {run: found[run] for run in planned if run in found}, failed


def status_of(study: Study, root: Path) -> list[dict[str, Any]]:
    """Of each run that is known to be needed: its name, cell, state, scores, and why it failed."""
    planned, done, failed = planned_runs(study, root)
    state = State(root, study.key)
    runner = state.runner()
    going = [] if runner is None else runner.get("runs", [])
    rows = []
    for run in planned:
        row: dict[str, Any] = {"name": run.name, "cell": dict(run.cell.labels), "tuned": run.tuned, "seed": run.seed}
        row |= {"state": "missing" if runner is None else "waiting"}
        row |= dict.fromkeys(("val_miou", "test_miou", "reason", "log", "progress"))
        if run in done:
            measured = scores(done[run], root)
            row |= {"state": "done", **{f"{split}_miou": measured[split]["miou"] for split in ("val", "test")}}
        elif run.name in going:
            row |= {"state": "running", "progress": epoch_of(state.log(run.name))}
        elif run in failed:
            row |= {"state": "failed", "reason": failed[run]["reason"], "log": failed[run]["log"]}
        rows.append(row)
    return rows


def epoch_of(log: Path) -> str | None:
    """The epoch that a run is in, by its log; None before the first."""
    try:
        found = re.findall(r"^epoch \d+/\d+", log.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    except FileNotFoundError:
        return None
    return found[-1] if found else None
