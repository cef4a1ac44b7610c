"""Selection of the runs to compare, those of a study or any that are named, and of the params that tell them apart."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from losslab.comparison.compare import ComparisonSpec
from losslab.comparison.ensembles import AXIS, identify_model, label_ensembles, sum_training_seconds
from losslab.comparison.evidence import RunEvidence, read_evidence
from losslab.comparison.looks import ONE_LOOK, LookPlan
from losslab.comparison.tuning import report_tuning
from losslab.comparison.verdicts import MIN_SEEDS
from losslab.errors import InputError
from losslab.experiments.ensembles import get_ensemble
from losslab.experiments.finished_runs import RunOutputs
from losslab.experiments.run_finder import RunFinder, RunRecord
from losslab.formats import format_plural
from losslab.io.files import JsonObject, flatten
from losslab.params import RECORDING
from losslab.study import spec as cards
from losslab.study.look_record import LookRecord, add_known_seeds
from losslab.study.plan import Study, StudyRun, plan_final_runs, read_study
from losslab.study.results import follow_searches, read_progress
from losslab.study.state import list_states

IRRELEVANT_PARAMS = (
    *("seed", "download", "report", "prepare.audit", "train.workers", RECORDING),
    *("evaluate.batch_size", "evaluate.predictions", "evaluate.metrics", "evaluate.ensemble"),
)
"""Params that change no score, the seed, and what has an axis of another name."""
SHOWN_PARAMS = (
    *("dataset", "loss", "arch", "encoder", "encoder_weights", "prepare.size", "prepare.fit", "prepare.limit"),
    *("train.epochs", "train.batch_size", "train.lr", "train.optimizer", "train.schedule", "train.augmentation"),
    *("evaluate.resolution", "evaluate.tta"),
)
"""Params that a reader asks for, shown where all runs share them."""


@dataclass(frozen=True)
class RunSelection:
    """Runs to compare, and what is asked of them."""

    spec: ComparisonSpec
    records: Sequence[tuple[RunRecord, Mapping[str, str]]]
    """Runs with the labels of their cells."""

    @contextmanager
    def open_evidence(self) -> Iterator[list[RunEvidence]]:
        """Open the runs' tables and pictures, which stay as long as this context."""
        known = {record.model_md5: record.train_seconds for record, _ in self.records}
        with ExitStack() as stack:
            yield [
                read_evidence(
                    stack.enter_context(record.files()),
                    name=record.name,
                    labels=labels,
                    params=record.params,
                    model_md5=identify_model(record),
                    train_seconds=sum_training_seconds(record, known),
                    mlflow_run=record.mlflow_run,
                )
                for record, labels in self.records
            ]


def select_study(study: Study, metric: str, root: Path) -> RunSelection:
    """Select the finished runs of a study; InputError: no run has finished."""
    study, record = add_known_seeds(study, root)
    finder = RunFinder(root)
    _, ended, failed = read_progress(study, root)
    searches = follow_searches(study, ended, failed)
    done = {run: ended[run] for run in plan_final_runs(study, searches) if run in ended}
    if not done:
        raise InputError(f"{study.key}: no run has finished yet: run `losslab study run {study.name}`")
    records = [(finder.build_record(outs), dict(run.cell.labels)) for run, outs in done.items()]
    card = study.card
    look_plan = _find_look_plan(study, record)
    unrecorded = _warn_about_unrecorded_looks(study, look_plan) if record is None and study.extra_seeds else ()
    spec = ComparisonSpec(
        name=study.key,
        title=card.title,
        question=card.question,
        metric=metric,
        axes={axis: list(labels) for axis, labels in card.axes.items()},
        published=card.published,
        warnings=(*_warn_about_missing_runs(study, done, failed), *unrecorded),
        facts=tuple(_list_facts([each for each, _ in records])),
        look_plan=look_plan,
        points=record.plan.points if record is not None else 1.0,
        looks=tuple(record.looks) if record is not None else (),
        tuning=report_tuning(study, searches, ended, failed),
    )
    return RunSelection(spec, records)


def select_runs(names: Sequence[str | RunRecord], metric: str, root: Path, name: str | None = None) -> RunSelection:
    """Select runs by name; cells are told apart by the params that differ, but for the seed.

    Args:
        names: DVC experiments or patterns of their names, MLflow runs, `workspace`, or records of such; InputError: one
            is unknown, or there is only one.
        metric: key of the metric by which they are compared.
        root: the repository.
        name: name of the comparison; None: one made from those of the runs.
    """
    finder = RunFinder(root)
    chosen = [part for each in names for part in (finder.expand([each]) if isinstance(each, str) else [each])]
    if len(chosen) < 2:
        raise InputError("--runs needs at least two runs")
    records = [finder.find(each) if isinstance(each, str) else each for each in chosen]
    axes = _find_differences(records)
    labels = [{axis: values[place] for axis, values in axes.items()} for place in range(len(records))]
    look_plan, points, warnings = _find_looks_at_runs(records, root)
    warnings = (*warnings, *_warn_about_repeats(records))
    digest = hashlib.sha256("\n".join(sorted(record.name for record in records)).encode()).hexdigest()[:6]
    spec = ComparisonSpec(
        name=name or f"runs.{digest}",
        title=f"{len(records)} runs",
        question=f"They differ in {', '.join(axes) or 'nothing but the seed'}.",
        metric=metric,
        axes={axis: list(dict.fromkeys(values)) for axis, values in axes.items()},
        warnings=warnings,
        look_plan=look_plan,
        points=points,
        facts=tuple(_list_facts(records)),
    )
    return RunSelection(spec, list(zip(records, labels, strict=True)))


def _find_differences(records: Sequence[RunRecord]) -> dict[str, list[str]]:
    """Find the params that differ, and their labels in each run."""
    flat = [_flatten_params(record.params) for record in records]
    for leaves, own in zip(flat, label_ensembles(records), strict=True):
        leaves.update({key: label for key, label in own.items() if key in leaves or key == AXIS})
    keys = [key for key in dict.fromkeys(key for leaves in flat for key in leaves) if not _is_irrelevant(key)]
    table = {key: [cards.format_label(leaves[key]) if key in leaves else "-" for leaves in flat] for key in keys}
    return {key: values for key, values in table.items() if len(set(values)) > 1}


def _flatten_params(params: Mapping[str, Any]) -> dict[str, Any]:
    leaves = {key: value for key, value in flatten(params).items() if value != {}}
    if leaves.get("prepare.split.method") == "crossval":  # folds with the same test images are repeats, as seeds are
        leaves = {key: value for key, value in leaves.items() if key not in ("prepare.split.fold", "prepare.split.val")}
    return {key: " ".join(map(str, value)) if isinstance(value, list) else value for key, value in leaves.items()}


def _is_irrelevant(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in IRRELEVANT_PARAMS)


def _warn_about_repeats(records: Sequence[RunRecord]) -> Iterator[str]:
    """Yield a line for each kind of run that counts as a seed and is none."""
    splits = [record.params["prepare"]["split"] for record in records]
    if len({split["fold"] for split in splits if split["method"] == "crossval"}) > 1:
        yield (
            "Folds of crossval count as seeds: nets of two folds share most of their training images, so what other training "
            "images would change is seen in part."
        )
    if any(get_ensemble(record.params) is not None for record in records):
        yield (
            "An ensemble counts as one seed, however many nets it has: only several ensembles without a common member show how "
            "much such ensembles vary."
        )


def _warn_about_missing_runs(
    study: Study, done: Mapping[StudyRun, RunOutputs], failed: Mapping[StudyRun, JsonObject]
) -> Iterator[str]:
    wanted = sum(len(study.list_seeds(cell)) for cell in study.cells)
    if len(done) < wanted:
        missing = f"{wanted - len(done)} of {wanted} runs {'is' if wanted - len(done) == 1 else 'are'} missing"
        failures = f", {len(failed)} failed" if failed else ""
        yield f"{missing}{failures}: see `losslab study status {study.alias or study.name}`"


def _find_look_plan(study: Study, record: LookRecord | None) -> LookPlan:
    """Find when a study is looked at; without a record of looks, as if after each seed up to the greatest number."""
    if record is not None:
        return LookPlan(record.plan.first, record.plan.last)
    first, last = max(MIN_SEEDS, len(study.card.seeds)), len(study.seeds)
    return LookPlan(first, last) if last > first else ONE_LOOK


def _find_looks_at_runs(records: Sequence[RunRecord], root: Path) -> tuple[LookPlan, float, tuple[str, ...]]:
    """Find when runs were looked at by the studies until decided that they are of; one look, if they are of none.

    Returns it with the points within which two are equivalent, and a line for each such study.
    """
    names = {record.experiment for record in records if record.experiment is not None}
    plans, points, warnings = list[LookPlan](), list[float](), list[str]()
    origins = [(name, (), None) for name in cards.list_studies(root / cards.STUDIES)]
    for name, sets, alias in dict.fromkeys([*(state.read_origin() for state in list_states(root)), *origins]):
        if not any(f"{alias or name}-" in each for each in names):
            continue
        try:
            study, record = add_known_seeds(read_study(name, root, sets, alias), root)
            plan = _find_look_plan(study, record)
            number = 0 if plan.is_one_look else len(names & {run.name for run in read_progress(study, root)[1]})
        except InputError as error:
            warnings.append(f"runs of the study {name}, if there are any, are judged as if looked at once: {error}")
            continue
        if number:
            plans.append(plan)
            points += [record.plan.points] if record is not None else []
            warnings.append(
                f"{number} of {format_plural(len(records), 'run')} {'is' if number == 1 else 'are'} of {study.key}, which is "
                f"looked at after each seed from {plan.first} to {plan.last}: all are judged at the levels of these looks"
            )
    look_plan = LookPlan(min(plan.first for plan in plans), max(plan.last for plan in plans)) if plans else ONE_LOOK
    return look_plan, min(points, default=1.0), tuple(warnings)


def _warn_about_unrecorded_looks(study: Study, plan: LookPlan) -> Iterator[str]:
    yield (
        f"Cells have up to {plan.last} seeds, the study's file {len(study.card.seeds)}, and there is no record of its looks here: "
        f"it is judged as if looked at after each seed from {plan.first} to {plan.last}. If more were planned, claims are too bold."
    )


def _list_facts(records: Sequence[RunRecord]) -> Iterator[tuple[str, str]]:
    shared = [_flatten_params(record.params) for record in records]
    for key in SHOWN_PARAMS:
        values = {cards.format_label(leaves[key]) if key in leaves else "-" for leaves in shared}
        if len(values) == 1:
            yield key, values.pop()
    for title, values in {
        "commits": {record.baseline[:7] for record in records if record.baseline is not None},
        "trained on": {record.hardware for record in records if record.hardware is not None},
    }.items():
        yield title, ", ".join(sorted(values)) or "unknown"
