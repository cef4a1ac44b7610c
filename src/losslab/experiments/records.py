"""A run by what its user calls it: a DVC experiment, a commit, an MLflow run, or the workspace."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from losslab import tracking
from losslab.errors import InputError
from losslab.experiments.dvc_cache import DvcCache
from losslab.experiments.outs import (
    DESCRIPTION,
    WORKSPACE,
    RunOutputs,
    UnfinishedRun,
    list_experiments,
    read_run_at,
    read_workspace_run,
)
from losslab.io.files import read_json
from losslab.io.git import find_commit, find_head
from losslab.io.yaml import read_yaml
from losslab.tracking import TrackedRun
from losslab.tracking.store import KEPT, LOCK, describe_store

PREDICTIONS = "reports/predictions"
RUN_ID = re.compile("[0-9a-f]{6,32}")
NEAR = 5
"""Names that an error gives, at most."""


@dataclass(frozen=True)
class RunRecord:
    """All that is kept of a finished run, wherever it lies."""

    name: str
    """Of the DVC experiment, else of the MLflow run, else as it was asked for."""
    experiment: str | None
    """Of DVC, where it is in this repository."""
    mlflow_run: str | None
    baseline: str | None
    """The commit that it was begun on."""
    revision: str | None
    """The commit with its code: of the experiment, which holds what was not committed too, else the baseline."""
    dataset: str
    params: dict[str, Any]
    """As in params.yaml."""
    lock: dict[str, Any] | None
    """The content of dvc.lock; of an MLflow run without its report stage where that is of another run."""
    model_md5: str
    train_seconds: float | None
    threads: int | None
    """That computed when it was trained, as far as MLflow knows; so the hardware."""
    hardware: str | None
    root: Path = field(repr=False)
    source: RunOutputs | TrackedRun = field(repr=False)

    @property
    def md5s(self) -> dict[str, str]:
        """Path → md5 of all outs in dvc.lock."""
        stages = (self.lock or {}).get("stages", {}).values()
        return {out["path"]: out["md5"] for stage in stages for out in stage.get("outs", [])}

    @contextmanager
    def files(self) -> Iterator[Path]:
        """A folder, for reading alone, with params.yaml, dvc.lock, models/model.json and the tables in reports/, and with
        reports/predictions/ where DVC's cache or remote has it.

        Raises:
            InputError: they are nowhere any more.
        """
        if isinstance(self.source, RunOutputs) and self.source.revision is None:
            yield self.root
            return
        with TemporaryDirectory() as name:
            folder = Path(name)
            if isinstance(self.source, RunOutputs):
                with self.source.files(KEPT) as found:
                    yield self._with_predictions(found)
            else:
                tracking.download_outs(self.source, folder, self.root)
                yield self._with_predictions(folder)

    def _with_predictions(self, folder: Path) -> Path:
        if (md5 := self.md5s.get(PREDICTIONS)) is not None:
            DvcCache(self.root).link(md5, folder / PREDICTIONS)
        return folder


def find_record(text: str, root: Path) -> RunRecord:
    """The run of this name: a DVC experiment of whatever commit, its commit or another with a dvc.lock, an MLflow run's id
    or the beginning of one, or `workspace`.

    Raises:
        InputError: unknown, ambiguous, not run to its end, or no DVC repository.
    """
    return RecordFinder(root).record(text)


class RecordFinder:
    """The runs of a repository and of its MLflow store, listed when they are first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def record(self, text: str) -> RunRecord:
        """See `find_record`."""
        if text == WORKSPACE:
            return self._of_outs(read_workspace_run(self.root), find_head(self.root), WORKSPACE)
        named = [entry for entry in self.experiments if entry[0] == text]
        if len(named) > 1:
            told = ", ".join(f"{revision[:10]} (on commit {baseline[:7]})" for _, baseline, revision in named)
            raise InputError(f"{len(named)} DVC experiments are called {text!r}; give the commit of one: {told}")
        if named:
            return self._of_experiment(*named[0])
        tracked = [run for run in self._tracked if run.run_id.startswith(text)] if RUN_ID.fullmatch(text) else []
        revision = find_commit(self.root, text)
        if len(tracked) + (revision is not None) > 1:
            told = ", ".join([run.run_id for run in tracked] + ([f"commit {revision}"] if revision is not None else []))
            raise InputError(f"{text!r} is the beginning of several: {told}; give more of it")
        if tracked:
            return self._of_tracked(tracked[0])
        if revision is not None:
            return self._of_commit(revision, text)
        raise self._unknown(text)

    def of_outs(self, outs: RunOutputs) -> RunRecord:
        """The record of an experiment whose outs are known."""
        return self._of_outs(outs, outs.baseline or find_head(self.root), outs.experiment or WORKSPACE)

    @cached_property
    def experiments(self) -> list[tuple[str, str, str]]:
        """Name, baseline and commit of all DVC experiments."""
        return list_experiments(self.root)

    @cached_property
    def _tracked(self) -> list[TrackedRun]:
        return tracking.list_tracked_runs(self.root)

    @cached_property
    def _known(self) -> list[TrackedRun]:
        """What MLflow has, for what can be told without it."""
        try:
            return self._tracked
        except InputError:
            return []

    def _of_experiment(self, name: str, baseline: str, revision: str, run: TrackedRun | None = None) -> RunRecord:
        return self._of_outs(read_run_at(self.root, name, baseline, revision), baseline, name, run)

    def _of_commit(self, revision: str, text: str) -> RunRecord:
        for entry in self.experiments:
            if entry[2] == revision:
                return self._of_experiment(*entry)
        return self._of_outs(read_run_at(self.root, None, revision, revision), revision, text)

    def _of_outs(
        self, outs: RunOutputs | UnfinishedRun, baseline: str, name: str, run: TrackedRun | None = None
    ) -> RunRecord:
        if isinstance(outs, UnfinishedRun):
            raise InputError(f"{name}: {outs.reason}")
        same = [each for each in self._known if each.model_md5 == outs.model_md5]
        run = run or next((each for each in same if _is_of(each, outs)), None)
        return RunRecord(
            name,
            outs.experiment,
            run.run_id if run is not None else None,
            baseline,
            outs.revision or baseline,
            outs.dataset,
            dict(outs.params),
            dict(outs.lock),
            outs.model_md5,
            *_about_training(run, same),
            self.root,
            outs,
        )

    def _of_tracked(self, run: TrackedRun) -> RunRecord:
        for entry in self.experiments:
            if entry[0] == run.experiment:
                outs = read_run_at(self.root, *entry)
                if isinstance(outs, RunOutputs) and _is_of(run, outs):
                    return self._of_experiment(*entry, run)
        with TemporaryDirectory() as name:
            folder = Path(name)
            for path in ("params.yaml", LOCK, DESCRIPTION):
                tracking.download_outs(run, folder, self.root, path)
            params, lock = read_yaml(folder / "params.yaml"), read_yaml(folder / LOCK)
            dataset = read_json(folder / DESCRIPTION)["run"]["dataset"]
        return RunRecord(
            run.name,
            None,
            run.run_id,
            run.baseline,
            run.baseline,
            dataset,
            params,
            _with_own_report(lock, run.report_md5),
            run.model_md5,
            *_about_training(run, [each for each in self._known if each.model_md5 == run.model_md5]),
            self.root,
            run,
        )

    def _unknown(self, text: str) -> InputError:
        ids = [run.run_id for run in self._known]
        names = sorted({entry[0] for entry in self.experiments})
        near = get_close_matches(text, [*names, *ids], NEAR, 0.5) or names[:NEAR]
        hint = f"; there are {', '.join(near)}" if near else ""
        return InputError(
            f"no run {text!r}: none of {len(names)} DVC experiments has this name, no commit either, and none of "
            f"{len(ids)} trained runs in {describe_store()} has an id that begins so{hint}"
        )


def _is_of(run: TrackedRun, outs: RunOutputs) -> bool:
    """Whether an MLflow run is that of these outs; the same model scored another way is another run."""
    return (run.model_md5, run.report_md5, run.experiment) == (outs.model_md5, outs.report_md5, outs.experiment)


def _about_training(run: TrackedRun | None, same: Sequence[TrackedRun]) -> tuple[float | None, int | None, str | None]:
    """Seconds, threads and hardware of a training: of this run, or where DVC took it from its cache, of the run with the
    same weights that was trained.
    """
    trained = [each for each in ([run] if run is not None else []) + [*same] if each.train_seconds is not None]
    if not trained:
        return None, None, None
    return trained[0].train_seconds, trained[0].threads, trained[0].hardware


def _with_own_report(lock: Mapping[str, Any], report_md5: str | None) -> dict[str, Any]:
    """A dvc.lock as the report stage uploads it, without the entry of that stage where it is of the run before."""
    stages = dict(lock["stages"])
    outs = {out["path"]: out.get("md5") for out in stages.get("report", {}).get("outs", [])}
    if outs.get("reports/report.html") != report_md5:
        stages.pop("report", None)
    return {**lock, "stages": stages}
