"""Comparison of the runs of several cells: which is best, by how much, and whether that is real."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from losslab.comparison.breakdowns import break_down_by_class, break_down_by_strata
from losslab.comparison.cost import NetCost, measure_run
from losslab.comparison.ensembles import describe_draw
from losslab.comparison.evidence import RunEvidence, check_judgeable, compute_score, group_test_sets
from losslab.comparison.headlines import find_warnings, write_changes, write_headline
from losslab.comparison.looks import ONE_LOOK, LookPlan
from losslab.comparison.ranks import rank_cells
from losslab.comparison.result import (
    ComparedCell,
    ComparedMetric,
    ComparedRun,
    Comparison,
    FactorResult,
    FriedmanRanks,
    GalleryImage,
    PredictedImage,
)
from losslab.comparison.score_table import ScoreTable
from losslab.comparison.sentences import write_sentence
from losslab.comparison.statistics import Blocks, compute_variance_floor
from losslab.comparison.tuning import TuningReport
from losslab.comparison.verdicts import Verdict, judge_all
from losslab.errors import InputError, suggest_name
from losslab.io.files import JsonObject
from losslab.label_sets import list_picture_labels
from losslab.study.look_record import Look
from losslab.study.spec import PublishedNumbers

MAX_GALLERY_IMAGES = 8
MIN_RANKED_SETS, MIN_RANKED_CELLS = 5, 3
"""Test sets and cells that a comparison of ranks needs."""


@dataclass(frozen=True, kw_only=True)
class ComparisonSpec:
    """What is to be compared, and by which metric."""

    name: str
    title: str
    question: str
    metric: str
    axes: Mapping[str, Sequence[str]]
    """Axis → labels, in the order to show them."""
    published: PublishedNumbers | None = None
    warnings: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    look_plan: LookPlan = ONE_LOOK
    """When the study is looked at, if more than once."""
    points: float = 1.0
    """Points within which two are called equivalent."""
    looks: tuple[Look, ...] = ()
    """What earlier looks saw."""
    tuning: TuningReport | None = None


def compare_runs(
    runs: Sequence[RunEvidence], spec: ComparisonSpec, measure_cost: Callable[[JsonObject], NetCost]
) -> Comparison:
    """Compare runs by one metric; those of a cell differ only in their seed.

    `measure_cost` is called with the content of a model.json.

    Raises:
        InputError: there are no runs, there is no such metric, or test sets differ.
    """
    if not runs:
        raise InputError(f"{spec.name}: no run has finished yet: run `losslab study run {spec.name}`")
    runs, duplicates = drop_duplicates(runs)
    table = build_table(runs, spec.name, spec.axes)
    sets = table.sets
    metric = find_metric(spec.metric, sets, "metric")
    published_metric = None
    if spec.published is not None and spec.published.ours:
        published_metric = find_metric(spec.published.ours, sets, "published.ours:")
    verdicts = judge_table(table, metric, spec.look_plan, spec.points)
    verdict = verdicts.get("")
    order = [standing.name for standing in verdict.standings] if verdict is not None else _sort_by_mean(table, metric)
    factors = [_build_factor(table, axis, by_axis) for axis, by_axis in verdicts.items() if axis]
    model, is_alone = runs[0].model, len(sets) == 1
    ordered = {name: table.cells[name] for name in order}
    breakdowns = []
    if is_alone and len(order) > 1:
        by_class = break_down_by_class(
            ordered,
            metric,
            lambda key: _build_questions(table, key, order),
            table.describe_units(),
            spec.look_plan,
        )
        breakdowns = [by_class, *break_down_by_strata(ordered)]
    return Comparison(
        name=spec.name,
        title=spec.title,
        question=spec.question,
        metric=metric,
        dataset=", ".join(dict.fromkeys(str(run.params["dataset"]) for run in runs)),
        images=sum(len(part[0].images) for part in sets.values()),
        units=sum(len(set(part[0].units)) for part in sets.values()),
        classes=runs[0].classes,
        picture_labels=list(zip(*list_picture_labels(model), strict=True)),
        ignore_index=model["ignore_index"],
        axes={
            axis: [label for label in labels if any(table.get_labels(cell)[axis] == label for cell in table.cells)]
            for axis, labels in table.axes.items()
        },
        cells=[_build_cell(table, name, metric, published_metric, measure_cost) for name in order],
        verdict=verdict,
        headline=write_headline(verdict, metric, order, table, factors, breakdowns),
        changes=write_changes(verdict, table),
        sentences=[write_sentence(pair) for pair in verdict.pairs] if verdict is not None else [],
        factors=factors,
        ranks=_rank_over_sets(table, metric) if verdict is not None else None,
        breakdowns=breakdowns,
        gallery=_choose_gallery(ordered) if is_alone else [],
        published=spec.published,
        published_metric=published_metric,
        tuning=spec.tuning,
        warnings=[*spec.warnings, *duplicates, *find_warnings(table, metric)],
        facts=dict(spec.facts),
        points=spec.points,
        looks=spec.looks,
    )


def build_table(runs: Sequence[RunEvidence], name: str, axes: Mapping[str, Sequence[str]]) -> ScoreTable:
    """Build the table of runs that are compared under this name. Raises InputError if test sets differ, or no cell is whole."""
    sets = group_test_sets(runs, axes)
    is_single = list(sets) == [""]
    block_axis = next((axis for axis, labels in axes.items() if not is_single and set(sets) <= set(labels)), None)
    table = ScoreTable(sets, block_axis, {axis: labels for axis, labels in axes.items() if axis != block_axis})
    if not table.cells:
        raise InputError(f"{name}: no cell has a run on every test set yet: see `losslab study status {name}`")
    return table


def drop_duplicates(runs: Sequence[RunEvidence]) -> tuple[list[RunEvidence], list[str]]:
    """Drop runs whose model another has too, as they would count one training twice; and write what a reader must know."""
    kept: dict[tuple[str, str], RunEvidence] = {}
    warnings = []
    for run in runs:
        same = kept.setdefault((run.cell, run.model_md5), run)
        if same is not run:
            warnings.append(f"{run.name} is the same model as {same.name} and counts once.")
    draws = Counter((run.cell, describe_draw(run.params)) for run in kept.values())
    warnings += [
        f"{count} runs of {cell} have {draw} but different weights, from other code or hardware; they count as separate seeds."
        for (cell, draw), count in draws.items()
        if count > 1
    ]
    return list(kept.values()), warnings


def find_metric(key: str, sets: Mapping[str, Sequence[RunEvidence]], where: str) -> ComparedMetric:
    """Find the metric of a key; InputError, which says `where` the key was given: there is none, or runs differ in it."""
    runs = [run for part in sets.values() for run in part]
    known = runs[0].list_metrics()
    if key not in known:
        raise InputError(f"{where} {key}: must be one of {', '.join(known)}{suggest_name(key, known)}")
    for run in runs:
        if key not in run.list_metrics():
            raise InputError(f"cannot be compared: {runs[0].name} has {key}, {run.name} does not")
        if run.describe_own(key) != runs[0].describe_own(key):
            raise InputError(
                f"cannot be compared: {runs[0].name} and {run.name} have {key} by other code or options; evaluate one again"
            )
    metric = known[key]
    for part in sets.values():
        metric = check_judgeable(metric, part)
    return metric


def _build_questions(table: ScoreTable, metric: str, cells: Sequence[str]) -> dict[str, dict[str, Blocks]]:
    """Build what is judged: "" → cells, and each axis → its labels."""
    questions = {"": {cell: table.stack_blocks([cell], metric) for cell in cells}}
    if len(table.axes) > 1:
        for axis, labels in table.find_factors().items():
            questions[axis] = {label: table.stack_blocks(averaged, metric) for label, averaged in labels.items()}
    return questions


def judge_table(
    table: ScoreTable, metric: ComparedMetric, looks: LookPlan = ONE_LOOK, points: float = 1.0
) -> dict[str, Verdict]:
    """Judge cells, and the labels of each axis, together; nothing where nothing can be judged.

    Args:
        looks: when the study is looked at, if more than once.
        points: points within which two are called equivalent.
    """
    if not metric.has_images or len(table.cells) < 2:
        return {}
    questions = _build_questions(table, metric.key, list(table.cells))
    floor = compute_variance_floor(scores for blocks in questions[""].values() for cells in blocks for scores in cells)
    units, margin = table.describe_units(metric.key), points * metric.point
    return judge_all(questions, metric.higher_is_better, floor, metric.point, units, looks, margin, metric.limits)


def _sort_by_mean(table: ScoreTable, metric: ComparedMetric) -> list[str]:
    means = {name: np.mean([table.compute_score(run, metric) for run in runs]) for name, runs in table.cells.items()}
    return sorted(means, key=lambda name: (-means[name] if metric.higher_is_better else means[name], name))


def _build_factor(table: ScoreTable, axis: str, verdict: Verdict) -> FactorResult:
    averaged = [cell for cells in table.find_factors()[axis].values() for cell in cells]
    others = {name: {table.get_labels(cell)[name] for cell in averaged} for name in table.axes if name != axis}
    over = " x ".join(f"{name} ({', '.join(sorted(labels))})" for name, labels in others.items())
    return FactorResult(axis, over, verdict, [write_sentence(pair) for pair in verdict.pairs])


def _build_cell(
    table: ScoreTable,
    name: str,
    metric: ComparedMetric,
    published_metric: ComparedMetric | None,
    measure_cost: Callable[[JsonObject], NetCost],
) -> ComparedCell:
    runs = sorted(table.cells[name], key=lambda run: run.seed)
    cost = measure_run(runs[0].model, runs[0].evaluation, measure_cost)
    compared = [
        ComparedRun(
            name=run.name,
            seed=run.seed,
            score=table.compute_score(run, metric),
            history=run.history,
            like_published=compute_score(run, published_metric) if published_metric is not None else None,
            train_seconds=run.train_seconds,
            mlflow_run=run.mlflow_run,
        )
        for run in runs
    ]
    return ComparedCell(name=name, labels=table.get_labels(name), runs=compared, **vars(cost))


def _rank_over_sets(table: ScoreTable, metric: ComparedMetric) -> FriedmanRanks | None:
    names = list(table.cells)
    if len(table.sets) < MIN_RANKED_SETS or len(names) < MIN_RANKED_CELLS:
        return None
    sign = 1 if metric.higher_is_better else -1
    means = [[sign * np.nanmean(table.stack_scores(cell, label, metric.key)) for cell in names] for label in table.sets]
    test = rank_cells(np.array(means))
    return FriedmanRanks(names, test.mean_ranks, test.p, test.critical_difference, list(table.sets))


def _choose_gallery(cells: Mapping[str, Sequence[RunEvidence]]) -> list[GalleryImage]:
    """Choose images of which every cell's first run kept a picture, those on which cells differ most first."""
    firsts = {name: min(runs, key=lambda run: run.seed) for name, runs in cells.items()}
    kept = {name: {row["image"]: row for row in run.examples} for name, run in firsts.items()}
    common = set.intersection(*(set(rows) for rows in kept.values()))
    ious = {image: [float(rows[image]["iou"] or "nan") for rows in kept.values()] for image in common}
    gallery = []
    order = sorted(common, key=lambda image: (-float(np.ptp(np.nan_to_num(ious[image]))), image))
    for image in order[:MAX_GALLERY_IMAGES]:
        files = {name: run.predictions / kept[name][image]["file"] for name, run in firsts.items()}
        first = next(iter(files.values()))
        predicted = [
            PredictedImage(name, path.with_name(f"{path.name}.prediction.png"), iou)
            for (name, path), iou in zip(files.items(), ious[image], strict=True)
        ]
        photo, truth = (first.with_name(f"{first.name}.{kind}.png") for kind in ("image", "truth"))
        gallery.append(GalleryImage(image, photo, truth, predicted))
    return gallery
