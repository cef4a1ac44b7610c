"""A study in MLflow: what its parent run says, and which runs are its children."""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from losslab import tracking
from losslab.errors import InputError
from losslab.experiments.finished_runs import RunOutputs
from losslab.study.look_record import add_known_seeds
from losslab.study.plan import Study, StudyRun, plan_final_runs
from losslab.study.results import follow_searches, read_progress
from losslab.study.spec import STUDIES
from losslab.study.state import StudyState
from losslab.tracking import StudyChild, TrackedStudy, TrackingStore

RESERVED_TAGS = ("study", "cell", "seed", "trial")


class StudyRecorder:
    """Keeps a study in MLflow up to date while it runs, beside it, so that a slow server does not delay it.

    Args:
        find_study: returns the study as it is planned now.
        root: the project.
        page: folder where the comparison of the study is, if there is one.
        warn: called with one line if MLflow cannot be used.
    """

    def __init__(self, find_study: Callable[[], Study], root: Path, page: Path, warn: Callable[[str], None]) -> None:
        self.find_study, self.root, self.page, self.warn = find_study, root, page, warn
        self.beside = ThreadPoolExecutor(1)
        self.tasks: list[Future[Any]] = []

    def __enter__(self) -> Self:
        study = self.find_study()
        self.opening = self.beside.submit(lambda: _open(study, tracking.open_store(self.root)))
        return self

    def add(self, run: StudyRun) -> None:
        """Add a run that has just finished."""
        child = _build_child(run, run.tuned is None, None)
        self.tasks.append(self.beside.submit(lambda: self.opening.result().adopt([child])))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Say in MLflow what has come of the study, and wait until that is done."""
        status = "FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED"
        study = self.find_study()
        with self.beside:
            closing = self.beside.submit(lambda: _close(self.opening.result(), study, self.root, self.page, status))
        for task in (self.opening, *self.tasks, closing):
            if isinstance(error := task.exception(), Exception):
                line = str(error) if isinstance(error, InputError) else tracking.describe_failure(error)
                self.warn(f"{line}; run `losslab sync` later to add the study")
                return


def record_study(study: Study, root: Path, page: Path, store: TrackingStore) -> None:
    """Bring a study in MLflow up to date, if it has any run. Raises InputError if the store cannot be used.

    A process that runs the study does so itself when it ends.
    """
    study, _ = add_known_seeds(study, root)
    if read_progress(study, root)[1] and StudyState(root, study.key).find_runner() is None:
        with tracking.store_errors():
            _close(_open(study, store), study, root, page, "FINISHED")


def _open(study: Study, store: TrackingStore) -> TrackedStudy:
    tracked = TrackedStudy(store, study.key, f"{STUDIES}/{study.name}.yaml")
    tracked.open(sorted({study.build_run(cell, None, 0).params["dataset"] for cell in study.cells}))
    return tracked


def _close(tracked: TrackedStudy, study: Study, root: Path, page: Path, status: str) -> None:
    _, done, failed = read_progress(study, root)
    finals = {*plan_final_runs(study, follow_searches(study, done, failed))}
    children = [_build_child(run, run in finals, outs) for run, outs in done.items()]
    verdict, compared = _read_verdict(page)
    note = build_note(study, len(done), verdict, {run.name for run in finals if run in done} == compared)
    tracked.close(children, note, page if verdict else None, status)


def _build_child(run: StudyRun, is_final: bool, outs: RunOutputs | None) -> StudyChild:
    """Build the child of a run. A trial that was not chosen counts as a cell of its own, which no mean of the cell has."""
    cell, trial = " + ".join(label for _, label in run.cell.labels), run.tuned
    axes = {make_tag(axis): label for axis, label in run.cell.labels}
    tags = {**axes, "cell": cell, "seed": str(run.seed)}
    if trial is not None:
        tags |= {"trial": trial.name} | ({} if is_final else {"cell": f"{cell} ({trial.name})"})
    dataset, model_md5 = run.params["dataset"], outs.model_md5 if outs is not None else None
    return StudyChild(dataset=dataset, experiment=run.name, model_md5=model_md5, tags=tags)


def make_tag(axis: str) -> str:
    """Make the name of an axis one of a tag that MLflow takes and losslab does not use.

    >>> make_tag("train.lr"), make_tag("loss/α=1"), make_tag("seed")
    ('train.lr', 'loss_α_1', 'axis seed')
    """
    tag = "".join(sign if sign.isalnum() or sign in "_-. " else "_" for sign in axis).strip(". ")[:200] or "_"
    return f"axis {tag}" if tag in RESERVED_TAGS else tag


def build_note(study: Study, done: int, verdict: list[str], is_current: bool) -> str:
    """Build the description of the parent run: the verdict, then what was asked."""
    first, *more = verdict or [f"{done} of {study.number_of_runs} runs are done."]
    age = "" if is_current or not verdict else "The verdict is on other runs than the study has now."
    how = f"`losslab compare {study.alias or study.name}` compares its cells." if not verdict or age else ""
    runs = f"{done} of {study.number_of_runs} runs. " if verdict else ""
    table = f"Page and tables: artifacts, `{tracking.COMPARISON}`." if verdict else ""
    question = " ".join(study.card.question.split())
    blocks = [
        f"**{first}**",
        *more,
        f"{study.card.title}: {question}",
        " ".join(filter(None, [f"{runs}{table}", age, how])),
    ]
    return "\n\n".join(filter(None, blocks))


def _read_verdict(page: Path) -> tuple[list[str], set[str]]:
    """Read the verdict of a comparison, and the names of the runs it is on; nothing if there is none."""
    try:
        content: Mapping[str, Any] = json.loads((page / "comparison.json").read_text(encoding="utf-8"))
        return list(content["headline"]), {run["name"] for cell in content["cells"] for run in cell["runs"]}
    except (FileNotFoundError, ValueError, KeyError, TypeError, InputError):
        return [], set()
