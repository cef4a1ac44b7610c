"""One run of the odyssey, repeated from its committed row: the same model to the last byte, or what differs."""

import random
import shlex
from dataclasses import dataclass
from pathlib import Path

from benchmarks.odyssey.collect import describe_scores
from benchmarks.odyssey.tables import REPEATED, REPEATED_COLUMNS, Kind, Row, read_table, write_table
from losslab.errors import InputError
from losslab.experiments.clone import make_clone, open_clone_folder, run_dvc_repro, write_params
from losslab.io.files import read_json
from losslab.io.git import find_commit, find_prefix
from losslab.io.hashing import compute_file_md5
from losslab.runtime.devices import describe_hardware
from losslab.study.plan import StudyRun, read_study
from losslab.study.tuning import list_listed_trials
from losslab.tracking.store import build_sqlite_uri

CLONES = Path(".losslab/odyssey")


@dataclass(frozen=True)
class Repetition:
    """What a run gave when it was repeated."""

    run: str
    model_md5: str
    miou: str
    differences: list[str]
    """What is not as in the row; empty: nothing."""


def choose_run(kind: Kind, name: str | None, seed: int) -> Row:
    """Find a run that has a row, or draw one of those that count. Raises InputError: there is no such row."""
    rows = {row["run"]: row for row in kind.runs if row["state"] == "done"}
    if name is None:
        return random.Random(seed).choice(kind.chosen)
    if name not in rows:
        raise InputError(f"{name}: {kind.name}.runs.csv has no finished run of this name")
    return rows[name]


def repeat_run(kind: Kind, row: Row, root: Path) -> Repetition:
    """Train and evaluate a run again, in a clone at its commit with the recorded number of threads, and compare.

    Raises InputError if the commit is not here, the runs had different numbers of threads, its study has no such run any
    more, or the run fails.
    """
    if not (threads := kind.about["threads"]).isdigit():
        raise InputError(
            f"{row['run']}: the runs of {kind.name} had {threads or '?'} threads, so its own are not known"
        )
    commit = find_commit(root, row["commit"])
    if commit is None:
        raise InputError(f"{row['run']}: commit {row['commit']} is not in this repository")
    with open_clone_folder(root / CLONES) as (folder, held):
        site = str(folder / "site")
        places = folder / "cache", find_prefix(root)
        clone = make_clone(folder / "clone", root, root, commit, *places, core__site_cache_dir=site)
        params = find_run(kind.about["command"], row["run"], clone).params
        if params["download"]["source"] is not None:
            params["download"]["source"] = str((root / params["download"]["source"]).resolve())
        write_params(clone / "params.yaml", params)
        environment = {"DVC_ROOT": str(clone), "MLFLOW_TRACKING_URI": build_sqlite_uri(folder / "mlflow.db")}
        environment |= {"OMP_NUM_THREADS": threads}
        if run_dvc_repro(clone, ["evaluate"], environment, [held], own_group=True):
            raise InputError(f"{row['run']} failed when it was repeated; its output is above")
        md5 = compute_file_md5(clone / "models/model.safetensors")[: len(row["model_md5"])]
        scores = {"model_md5": md5} | describe_scores(read_json(clone / "reports/scores.json")["test"])
    differences = [f"{name} {row[name]}, now {value}" for name, value in scores.items() if row[name] != value]
    if differences and kind.about["hardware"] != (here := describe_hardware()):
        differences.append(f"it ran on {kind.about['hardware']}, now on {here}")
    return Repetition(row["run"], md5, scores["miou"], differences)


def record_repetition(kind: str, row: Row, folder: Path) -> None:
    """Note in repeated.csv that a run was repeated here and was identical."""
    path = folder / REPEATED
    rows = read_table(path, REPEATED_COLUMNS, "restore it") if path.is_file() else []
    values = kind, row["run"], row["commit"], row["model_md5"], describe_hardware()
    rows = [other for other in rows if other["run"] != row["run"]]
    write_table(path, [*rows, dict(zip(REPEATED_COLUMNS, values, strict=True))])


def find_run(command: str, name: str, root: Path) -> StudyRun:
    """Find a run of a study by its name and the command that ran the study. Raises InputError: it has no such run."""
    words = shlex.split(command)[3:]
    sets = [value for option, value in zip(words[1::2], words[2::2], strict=True) if option == "--set"]
    study = read_study(words[0], root, tuple(sets), words[-1] if words[-2] == "--as" else None)
    for cell in study.cells:
        for trial in [*list_listed_trials(study.card), None]:
            for seed in study.list_seeds(cell):
                if (run := study.build_run(cell, trial, seed)).name == name:
                    return run
    raise InputError(f"studies/{words[0]}.yaml has no run {name} at that commit")
