"""Records of finished runs, by any of their names: a DVC experiment, a commit, an MLflow run, or the workspace."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property
from glob import has_magic
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from losslab import tracking
from losslab.errors import InputError
from losslab.experiments.clone import METRICS
from losslab.experiments.dvc_cache import DvcCache
from losslab.experiments.finished_runs import (
    DESCRIPTION,
    WORKSPACE,
    RunOutputs,
    UnfinishedRun,
    list_experiments,
    read_run_at,
    read_workspace_run,
)
from losslab.formats import format_plural
from losslab.io.files import read_json
from losslab.io.git import find_commit, find_head, run_git
from losslab.io.yaml import read_yaml
from losslab.tracking import TrackedRun
from losslab.tracking.store import LOCK, RECORD_FILES, describe_store

PREDICTIONS = "reports/predictions"
RUN_ID = re.compile("[0-9a-f]{6,32}")
MAX_NAMES_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Everything that is kept of a finished run, in the workspace, an experiment or MLflow."""

    name: str
    """Name of the DVC experiment, else of the MLflow run, else the name that was looked up."""
    experiment: str | None
    """Name of the DVC experiment; None if it is not in this repository."""
    mlflow_run: str | None
    baseline: str | None
    """The commit that the run began on."""
    revision: str | None
    """The commit with the run's code: the experiment's, which has uncommitted changes too, else the baseline."""
    dataset: str
    params: dict[str, Any]
    lock: dict[str, Any] | None
    """The content of dvc.lock, without the report stage of another run."""
    model_md5: str
    train_seconds: float | None
    threads: int | None
    """Number of threads of the training; None, as the hardware, if MLflow does not know it."""
    hardware: str | None
    root: Path = field(repr=False)
    source: RunOutputs | TrackedRun = field(repr=False)

    @property
    def md5s(self) -> dict[str, str]:
        """Path → md5 of all outs in dvc.lock."""
        stages = (self.lock or {}).get("stages", {}).values()
        return {out["path"]: out["md5"] for stage in stages for out in stage.get("outs", [])}

    def read_metrics(self) -> str:
        """Return the text of metrics.json. Raises InputError if it is lost."""
        if isinstance(self.source, RunOutputs):
            return self.source.read_metrics()
        with TemporaryDirectory() as name:
            tracking.download_outs(self.source, Path(name), self.root, METRICS)
            return (Path(name) / METRICS).read_text(encoding="utf-8")

    @contextmanager
    def files(self) -> Iterator[Path]:
        """Yield a folder, for reading only, with params.yaml, dvc.lock, models/model.json and the tables in reports/.

        It has reports/predictions/ too if DVC's cache or remote does. Raises InputError if the others are lost.
        """
        source, md5 = self.source, self.md5s.get(PREDICTIONS)
        with TemporaryDirectory() as name:
            if isinstance(source, TrackedRun):
                tracking.download_outs(source, Path(name), self.root)
            with nullcontext(Path(name)) if isinstance(source, TrackedRun) else source.files(RECORD_FILES) as folder:
                if md5 is not None and folder != self.root:  # the workspace has its own
                    DvcCache(self.root).link(md5, folder / PREDICTIONS)
                yield folder


def find_record(text: str, root: Path) -> RunRecord:
    """Find a run by its name.

    A name is a DVC experiment on any commit, its commit or another one with a dvc.lock, the id of an MLflow run or the
    beginning of one, or `workspace`. Raises InputError if it is unknown or ambiguous, or the run did not end.
    """
    return RunFinder(root).find(text)


class RunFinder:
    """The runs of a repository and of its MLflow store, listed once, when they are needed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, text: str) -> RunRecord:
        if text == WORKSPACE:
            return self._build_finished(read_workspace_run(self.root), find_head(self.root), WORKSPACE)
        named = [entry for entry in self.experiments if entry[0] == text]
        if len(named) > 1:
            commits = ", ".join(f"{revision[:10]} (on commit {baseline[:7]})" for _, baseline, revision in named)
            raise InputError(f"{len(named)} DVC experiments are called {text!r}; give the commit of one: {commits}")
        if named:
            return self._build_experiment(*named[0])
        tracked = [run for run in self._tracked if run.run_id.startswith(text)] if RUN_ID.fullmatch(text) else []
        revision = find_commit(self.root, text)
        matches = [run.run_id for run in tracked] + ([f"commit {revision}"] if revision is not None else [])
        if len(matches) > 1:
            raise InputError(f"{text!r} is ambiguous: it may be {', '.join(matches)}; give more characters")
        if tracked:
            return self._build_tracked(tracked[0])
        if revision is not None:
            return self._build_commit(revision, text)
        raise self._build_error(text)

    def expand(self, texts: Iterable[str]) -> list[str]:
        """Return names of runs, with the experiments that match it in the place of each pattern, such as `fold-*`.

        Raises InputError if none matches.
        """
        names = list[str]()
        for text in texts:
            if not has_magic(text):
                names.append(text)
            elif matching := sorted({name for name, *_ in self.experiments if fnmatchcase(name, text)}):
                names += matching
            else:
                raise self._build_error(text)
        return list(dict.fromkeys(names))

    def build_record(self, outs: RunOutputs) -> RunRecord:
        """Build the record of a run whose outs are known."""
        return self._build_finished(outs, outs.baseline or find_head(self.root), outs.experiment or WORKSPACE)

    @cached_property
    def experiments(self) -> list[tuple[str, str, str]]:
        return list_experiments(self.root)

    @cached_property
    def _tracked(self) -> list[TrackedRun]:
        return tracking.list_tracked_runs(self.root)

    @cached_property
    def _known(self) -> list[TrackedRun]:
        """The runs in MLflow; none if it cannot be used, where it is not essential."""
        try:
            return self._tracked
        except InputError:
            return []

    def _build_experiment(self, name: str, baseline: str, revision: str, run: TrackedRun | None = None) -> RunRecord:
        return self._build_finished(read_run_at(self.root, name, baseline, revision), baseline, name, run)

    def _build_commit(self, revision: str, text: str) -> RunRecord:
        for entry in self.experiments:
            if entry[2] == revision:
                return self._build_experiment(*entry)
        return self._build_finished(read_run_at(self.root, None, revision, revision), revision, text)

    def _build_finished(
        self, outs: RunOutputs | UnfinishedRun, baseline: str, name: str, run: TrackedRun | None = None
    ) -> RunRecord:
        if isinstance(outs, UnfinishedRun):
            raise InputError(f"{name}: {outs.reason}")
        same = [each for each in self._known if each.model_md5 == outs.model_md5]
        run = run or next((each for each in same if _is_same_run(each, outs)), None)
        return RunRecord(
            name=name,
            experiment=outs.experiment,
            mlflow_run=run.run_id if run is not None else None,
            baseline=baseline,
            revision=outs.revision or baseline,
            dataset=outs.dataset,
            params=dict(outs.params),
            lock=dict(outs.lock),
            model_md5=outs.model_md5,
            **_describe_training(run, same),
            root=self.root,
            source=outs,
        )

    def _build_tracked(self, run: TrackedRun) -> RunRecord:
        for entry in self.experiments:
            if entry[0] == run.experiment:
                outs = read_run_at(self.root, *entry)
                if isinstance(outs, RunOutputs) and _is_same_run(run, outs):
                    return self._build_experiment(*entry, run)
        with TemporaryDirectory() as name:
            folder = Path(name)
            for path in ("params.yaml", LOCK, DESCRIPTION):
                tracking.download_outs(run, folder, self.root, path)
            params, lock = read_yaml(folder / "params.yaml"), read_yaml(folder / LOCK)
            dataset = read_json(folder / DESCRIPTION)["run"]["dataset"]
        return RunRecord(
            name=run.name,
            experiment=None,
            mlflow_run=run.run_id,
            baseline=run.baseline,
            revision=run.baseline,
            dataset=dataset,
            params=params,
            lock=_drop_foreign_report(lock, run.report_md5),
            model_md5=run.model_md5,
            **_describe_training(run, [each for each in self._known if each.model_md5 == run.model_md5]),
            root=self.root,
            source=run,
        )

    def _build_error(self, text: str) -> InputError:
        ids = [run.run_id for run in self._known]
        names = sorted({entry[0] for entry in self.experiments})
        close = get_close_matches(text, [*names, *ids], MAX_NAMES_SHOWN, 0.5)
        shown = close or names[:MAX_NAMES_SHOWN]
        hint = f" (available: {', '.join(shown)})" if shown else ""
        remedy, remotes = "", run_git(self.root, "remote").split()
        if re.fullmatch("[0-9a-f]{4,40}", text):
            if run_git(self.root, "rev-parse", "--is-shallow-repository").strip() == "true":
                remedy = "; this clone is shallow: git fetch --unshallow brings older commits"
        elif remotes and not close:
            remedy = f"; git clone takes no experiments along: dvc exp pull {remotes[0]} {text} brings one"
        return InputError(
            f"no such run: {text}{hint}; looked among {format_plural(len(names), 'DVC experiment')}, the commits, and "
            f"{format_plural(len(ids), 'trained run')} in {describe_store()}{remedy}"
        )


def _is_same_run(run: TrackedRun, outs: RunOutputs) -> bool:
    """Return whether an MLflow run has these outs; the same model scored another way is another run."""
    return (run.model_md5, run.report_md5, run.experiment) == (outs.model_md5, outs.report_md5, outs.experiment)


def _describe_training(run: TrackedRun | None, same: Sequence[TrackedRun]) -> dict[str, Any]:
    """Return seconds, threads and hardware of a training: of the run in `same` where DVC took it from its cache."""
    trained = (each for each in [run, *same] if each is not None and each.train_seconds is not None)
    first = next(trained, None)
    return {name: getattr(first, name, None) for name in ("train_seconds", "threads", "hardware")}


def _drop_foreign_report(lock: Mapping[str, Any], report_md5: str | None) -> dict[str, Any]:
    """Return a dvc.lock that the report stage uploaded, without that stage's entry if it is from the run before."""
    stages = dict(lock["stages"])
    outs = {out["path"]: out.get("md5") for out in stages.get("report", {}).get("outs", [])}
    if outs.get("reports/report.html") != report_md5:
        stages.pop("report", None)
    return {**lock, "stages": stages}
