"""Studies in MLflow: a parent run says what was asked and what came of it, and the runs of the cells are its children."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from losslab.tracking.description import EXPERIMENT, NOTE
from losslab.tracking.store import (
    MODEL_MD5,
    REPOSITORY,
    TrackingStore,
    build_run_tags,
    build_user_tags,
    read_repository_id,
)

STUDY, PARENT = "losslab.study", "mlflow.parentRunId"
COMPARISON = "comparison"
"""Artifact folder of a parent run with the page and the tables of the comparison."""


@dataclass(frozen=True, kw_only=True)
class StudyChild:
    """A finished run of a study, and the tags that say which."""

    dataset: str
    experiment: str
    model_md5: str | None
    """None stands for the newest run of the experiment."""
    tags: Mapping[str, str]


class TrackedStudy:
    """The parent runs of a study: one for each of its datasets, as MLflow nests runs within one experiment alone.

    Args:
        name: name of the study's state, which tells apart studies of one file with different `--set`.
        source: path of the study's file.
    """

    def __init__(self, store: TrackingStore, name: str, source: str) -> None:
        self.store, self.name, self.source = store, name, source
        self.repository = read_repository_id(store.root)
        self.parents: dict[str, str] = {}
        """Dataset → id of the parent run."""

    def open(self, datasets: Sequence[str]) -> None:
        """Find the parent runs, or make those that are missing, and let them be running."""
        for dataset in datasets:
            if known := self.store.search(dataset, {STUDY: self.name, REPOSITORY: self.repository}):
                self.parents[dataset] = known[0].info.run_id
                self.store.client.update_run(known[0].info.run_id, status="RUNNING")
                continue
            tags = build_user_tags() | {"study": self.name, STUDY: self.name, REPOSITORY: self.repository}
            tags |= {"mlflow.source.name": self.source, "mlflow.source.type": "PROJECT"}
            experiment = self.store.get_experiment(dataset)
            self.parents[dataset] = self.store.client.create_run(experiment, None, tags, self.name).info.run_id

    def adopt(self, children: Sequence[StudyChild]) -> set[str]:
        """Make runs children of this study, and return their ids; those that MLflow lacks are left out."""
        adopted = set()
        for dataset, parent in self.parents.items():
            wanted = {child.experiment: child for child in children if child.dataset == dataset}
            for run in self._list_runs(dataset, sorted(wanted)) if wanted else ():
                child = wanted.get(run.data.tags[EXPERIMENT])
                if child is not None and child.model_md5 in (None, run.data.tags[MODEL_MD5]):
                    del wanted[child.experiment]
                    adopted.add(run.info.run_id)
                    tags = {**child.tags, "study": self.name, PARENT: parent}
                    if not tags.items() <= run.data.tags.items():
                        self.store.client.log_batch(run.info.run_id, tags=build_run_tags(tags))
        return adopted

    def close(self, children: Sequence[StudyChild], note: str, page: Path | None, status: str = "FINISHED") -> None:
        """Let the study have exactly these children, this description and this folder with its comparison, and end."""
        adopted, now = self.adopt(children), int(time.time() * 1000)
        for dataset, parent in self.parents.items():
            for run in self.store.search(dataset, {PARENT: parent}):
                if run.info.run_id not in adopted:  # its params are no longer the study's
                    for key in ("study", "cell", PARENT):
                        if key in run.data.tags:
                            self.store.client.delete_tag(run.info.run_id, key)
            self.store.client.set_tag(parent, NOTE, note)
            if page is not None:
                self.store.client.log_artifacts(parent, str(page), COMPARISON)
            self.store.terminate(self.store.client.get_run(parent), status, now)

    def _list_runs(self, dataset: str, experiments: Sequence[str]) -> list[Any]:
        """List this repository's trained runs of experiments that begin as these sorted ones do, newest first."""
        same = takewhile(lambda pair: pair[0] == pair[1], zip(experiments[0], experiments[-1], strict=False))
        beginning = "".join(sign for sign, _ in same)
        conditions = f"tags.`{MODEL_MD5}` != '' and tags.`{EXPERIMENT}` LIKE '{beginning}%'"
        runs = self.store.search_all([self.store.get_experiment(dataset)], conditions)
        return [run for run in runs if run.data.tags.get(REPOSITORY, self.repository) == self.repository]
