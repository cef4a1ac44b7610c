"""Which runs are compared, and what tells them apart: those of a study, or any that are named."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from losslab.comparison.compare import ComparisonSpec
from losslab.comparison.evidence import RunEvidence, read_evidence
from losslab.errors import InputError
from losslab.experiments.outs import RunOutputs
from losslab.experiments.records import RecordFinder, RunRecord
from losslab.io.files import flatten
from losslab.study import spec as cards
from losslab.study.plan import Study, StudyRun
from losslab.study.results import choose_tuned_values, find_done_runs, find_finished_runs
from losslab.study.state import StudyState

IRRELEVANT = (
    "seed",
    "download",
    "report",
    "prepare.audit",
    "train.workers",
    "evaluate.batch_size",
    "evaluate.predictions",
)
"""Params that change no score, or that seeds are told apart by."""
SHOWN = (
    *("dataset", "loss", "arch", "encoder", "encoder_weights", "prepare.size", "prepare.fit", "prepare.limit"),
    *("train.epochs", "train.batch_size", "train.lr", "train.optimizer", "train.schedule", "train.augmentation"),
    *("evaluate.resolution", "evaluate.tta"),
)
"""Of what all runs share, what a reader asks for."""


@dataclass(frozen=True)
class RunSelection:
    asked: ComparisonSpec
    records: Sequence[tuple[RunRecord, Mapping[str, str]]]
    """With the labels of their cells."""

    @contextmanager
    def evidence(self) -> Iterator[list[RunEvidence]]:
        """The runs' tables and pictures, which are there as long as this is open."""
        with ExitStack() as stack:
            yield [
                read_evidence(
                    stack.enter_context(record.files()),
                    record.name,
                    labels,
                    record.params,
                    record.model_md5,
                    record.train_seconds,
                    record.mlflow_run,
                )
                for record, labels in self.records
            ]


def select_study(study: Study, metric: str, root: Path) -> RunSelection:
    """The runs of a study that are done.

    Raises:
        InputError: none is.
    """
    finder, done = RecordFinder(root), find_done_runs(study, root)
    if not done:
        raise InputError(f"{study.key}: no run is done yet: losslab study run {study.name}")
    records = [(finder.build_record(outs), dict(run.cell.labels)) for run, outs in done.items()]
    card = study.card
    asked = ComparisonSpec(
        name=study.key,
        title=card.title,
        question=card.question,
        metric=metric,
        axes={axis: list(labels) for axis, labels in card.axes.items()},
        published=card.published,
        warnings=tuple(_missing(study, done, root)),
        facts=(*_facts([record for record, _ in records]), *_tuned(study, root)),
    )
    return RunSelection(asked, records)


def select_runs(names: Sequence[str], metric: str, root: Path, name: str | None = None) -> RunSelection:
    """Runs by name: cells are told apart by the params that differ, but for the seed.

    Args:
        names: DVC experiments, MLflow runs, `workspace`.
        name: of the comparison; None: made of the runs'.

    Raises:
        InputError: an unknown run, or one run alone.
    """
    if len(names) < 2:
        raise InputError("--runs: give two runs at least")
    finder = RecordFinder(root)
    records = [finder.find(text) for text in names]
    axes = _differences([record.params for record in records])
    labels = [{axis: values[place] for axis, values in axes.items()} for place in range(len(records))]
    digest = hashlib.sha256("\n".join(sorted(record.name for record in records)).encode()).hexdigest()[:6]
    told = ", ".join(axes) or "nothing but the seed"
    asked = ComparisonSpec(
        name=name or f"runs.{digest}",
        title=f"{len(records)} runs",
        question=f"They differ in {told}.",
        metric=metric,
        axes={axis: list(dict.fromkeys(values)) for axis, values in axes.items()},
        facts=tuple(_facts(records)),
    )
    return RunSelection(asked, list(zip(records, labels, strict=True)))


def _differences(every: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Param that differs → its label in each run."""
    flat = [_flatten_params(params) for params in every]
    keys = [key for key in dict.fromkeys(key for leaves in flat for key in leaves) if not _irrelevant(key)]
    table = {key: [cards.format_label(leaves[key]) if key in leaves else "-" for leaves in flat] for key in keys}
    return {key: values for key, values in table.items() if len(set(values)) > 1}


def _flatten_params(params: Mapping[str, Any]) -> dict[str, Any]:
    leaves = {key: value for key, value in flatten(params).items() if value != {}}
    return {key: " ".join(map(str, value)) if isinstance(value, list) else value for key, value in leaves.items()}


def _irrelevant(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in IRRELEVANT)


def _missing(study: Study, done: Mapping[StudyRun, RunOutputs], root: Path) -> Iterator[str]:
    wanted = len(study.card.seeds) * len(study.cells)
    if len(done) < wanted:
        failed = StudyState(root, study.key).read_failures(study.every_run)
        told = f", {len(failed)} failed" if failed else ""
        yield f"{wanted - len(done)} of {wanted} runs are not there{told}: losslab study status {study.alias or study.name}"


def _tuned(study: Study, root: Path) -> Iterator[tuple[str, str]]:
    if study.card.tune:
        done, failed = (
            find_finished_runs(study.every_run, root),
            StudyState(root, study.key).read_failures(study.every_run),
        )
        chosen = choose_tuned_values(study, done, failed, root)
        yield (
            f"{', '.join(study.card.tune)}, chosen on val",
            "; ".join(f"{cell}: {value}" for cell, value in chosen.items()),
        )


def _facts(records: Sequence[RunRecord]) -> Iterator[tuple[str, str]]:
    shared = [_flatten_params(record.params) for record in records]
    for key in SHOWN:
        values = {cards.format_label(leaves[key]) if key in leaves else "-" for leaves in shared}
        if len(values) == 1:
            yield key, values.pop()
    for title, found in {
        "commits": {record.baseline[:7] for record in records if record.baseline is not None},
        "trained on": {record.hardware for record in records if record.hardware is not None},
    }.items():
        yield title, ", ".join(sorted(found)) or "not known"
