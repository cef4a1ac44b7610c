"""From the runs of several cells to a comparison: who is best, by how much, and whether that is real."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from losslab.comparison.breakdowns import break_down_by_class, break_down_by_strata
from losslab.comparison.cost import NetCost
from losslab.comparison.evidence import RunEvidence, check_judgeable, compute_score, group_test_sets
from losslab.comparison.gallery import choose_gallery
from losslab.comparison.metrics import list_metrics
from losslab.comparison.result import (
    Breakdown,
    ComparedCell,
    ComparedMetric,
    ComparedRun,
    Comparison,
    FactorResult,
    FriedmanRanks,
)
from losslab.comparison.statistics import Blocks, compute_variance_floor, rank_cells
from losslab.comparison.summary import find_warnings, write_factor_headline, write_headline
from losslab.comparison.table import ScoreTable
from losslab.comparison.verdicts import Verdict, judge_all, write_sentence
from losslab.errors import InputError
from losslab.io.files import JsonObject
from losslab.study.spec import PublishedNumbers

LEAST_BLOCKS, LEAST_RANKED = 5, 3
"""Test sets and cells from which on ranks are compared."""


@dataclass(frozen=True)
class ComparisonSpec:
    """What is to be compared, and how it is called."""

    name: str
    title: str
    question: str
    metric: str
    axes: Mapping[str, Sequence[str]]
    """Axis → labels, in the order to show them."""
    published: PublishedNumbers | None = None
    warnings: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


def compare_runs(
    runs: Sequence[RunEvidence], asked: ComparisonSpec, cost_of: Callable[[JsonObject], NetCost]
) -> Comparison:
    """Compare runs by one metric.

    Args:
        runs: those of a cell differ in their seed alone.
        cost_of: from the content of a model.json.

    Raises:
        InputError: no runs, no such metric, other test sets.
    """
    if not runs:
        raise InputError(f"{asked.name}: no run is done yet: losslab study run {asked.name}")
    runs, doubled = _distinct(runs)
    sets = group_test_sets(runs, asked.axes)
    several = list(sets) != [""]
    block_axis = next((axis for axis, labels in asked.axes.items() if several and set(sets) <= set(labels)), None)
    table = ScoreTable(sets, block_axis, {axis: labels for axis, labels in asked.axes.items() if axis != block_axis})
    if not table.cells:
        raise InputError(f"{asked.name}: no cell has runs on all test sets yet: losslab study status {asked.name}")
    metric = _metric(asked.metric, sets, "--metric")
    like = (
        _metric(asked.published.ours, sets, "published.ours:")
        if asked.published is not None and asked.published.ours
        else None
    )
    verdicts = _verdicts(table, metric)
    verdict = verdicts.get("")
    order = [standing.name for standing in verdict.standings] if verdict is not None else _by_mean(table, metric)
    factors = [_factor(table, axis, found) for axis, found in verdicts.items() if axis]
    first, alone = runs[0], len(sets) == 1
    ordered = {name: table.cells[name] for name in order}
    return Comparison(
        name=asked.name,
        title=asked.title,
        question=asked.question,
        metric=metric,
        dataset=", ".join(dict.fromkeys(str(run.params["dataset"]) for run in runs)),
        images=sum(len(part[0].images) for part in sets.values()),
        classes=first.classes,
        palette=[(colour[0], colour[1], colour[2]) for colour in first.model["palette"]],
        ignore_index=first.model["ignore_index"],
        axes=_present(table),
        cells=[_cell(table, name, metric, like, cost_of) for name in order],
        verdict=verdict,
        headline=" ".join(
            [write_headline(verdict, metric, order, table), *(write_factor_headline(factor) for factor in factors)]
        ),
        sentences=[write_sentence(pair) for pair in verdict.pairs] if verdict is not None else [],
        factors=factors,
        ranks=_ranks(table, metric) if verdict is not None else None,
        breakdowns=_breakdowns(table, ordered, metric) if alone and len(order) > 1 else [],
        gallery=choose_gallery(ordered) if alone else [],
        published=asked.published,
        published_metric=like,
        warnings=[*asked.warnings, *doubled, *find_warnings(table, metric)],
        facts=dict(asked.facts),
    )


def _distinct(runs: Sequence[RunEvidence]) -> tuple[list[RunEvidence], list[str]]:
    """Without those whose model another has too: they would count one training twice."""
    kept: dict[tuple[str, str], RunEvidence] = {}
    told = []
    for run in runs:
        same = kept.setdefault((run.cell, run.model_md5), run)
        if same is not run:
            told.append(f"{run.name} is the same model as {same.name} and counts once.")
    seeds = Counter((run.cell, run.seed) for run in kept.values())
    told += [
        f"{count} runs of {cell} have seed {seed}, but other weights: other code or hardware. They count as seeds of their own."
        for (cell, seed), count in seeds.items()
        if count > 1
    ]
    return list(kept.values()), told


def _metric(key: str, sets: Mapping[str, Sequence[RunEvidence]], where: str) -> ComparedMetric:
    runs = [run for part in sets.values() for run in part]
    known = list_metrics(runs[0].metrics, runs[0].classes)
    if key not in known:
        raise InputError(f"{where} {key}: must be one of {', '.join(known)}")
    for run in runs:
        if key not in list_metrics(run.metrics, run.classes):
            raise InputError(f"cannot be compared: {run.name} has no {key}, {runs[0].name} has")
    found = known[key]
    for part in sets.values():
        found = check_judgeable(found, part)
    return found


def _subjects(table: ScoreTable, metric: str, cells: Sequence[str]) -> dict[str, dict[str, Blocks]]:
    """What is told apart: "" → cells, and each axis → its labels."""
    found = {"": {cell: table.blocks([cell], metric) for cell in cells}}
    if len(table.axes) > 1:
        for axis, labels in table.factors().items():
            found[axis] = {label: table.blocks(averaged, metric) for label, averaged in labels.items()}
    return found


def _verdicts(table: ScoreTable, metric: ComparedMetric) -> dict[str, Verdict]:
    """Of cells, and of each axis, told together; none where nothing can be judged."""
    if not metric.has_images or len(table.cells) < 2:
        return {}
    subjects = _subjects(table, metric.key, list(table.cells))
    usual = compute_variance_floor(scores for blocks in subjects[""].values() for cells in blocks for scores in cells)
    return judge_all(subjects, metric.higher_is_better, usual, metric.point)


def _by_mean(table: ScoreTable, metric: ComparedMetric) -> list[str]:
    means = {name: np.mean([table.score(run, metric) for run in runs]) for name, runs in table.cells.items()}
    return sorted(means, key=lambda name: (-means[name] if metric.higher_is_better else means[name], name))


def _breakdowns(
    table: ScoreTable, cells: Mapping[str, Sequence[RunEvidence]], metric: ComparedMetric
) -> list[Breakdown]:
    return [
        break_down_by_class(cells, metric, lambda key: _subjects(table, key, list(cells))),
        *break_down_by_strata(cells),
    ]


def _factor(table: ScoreTable, axis: str, verdict: Verdict) -> FactorResult:
    averaged = [cell for cells in table.factors()[axis].values() for cell in cells]
    others = {name: {table.labels(cell)[name] for cell in averaged} for name in table.axes if name != axis}
    over = " x ".join(f"{name} ({', '.join(sorted(labels))})" for name, labels in others.items())
    return FactorResult(axis, over, verdict, [write_sentence(pair) for pair in verdict.pairs])


def _cell(
    table: ScoreTable,
    name: str,
    metric: ComparedMetric,
    like: ComparedMetric | None,
    cost_of: Callable[[JsonObject], NetCost],
) -> ComparedCell:
    runs = sorted(table.cells[name], key=lambda run: run.seed)
    cost = cost_of(runs[0].model)
    compared = [
        ComparedRun(
            run.name,
            run.seed,
            table.score(run, metric),
            run.history,
            compute_score(run, like) if like is not None else None,
            run.train_seconds,
            run.mlflow_run,
        )
        for run in runs
    ]
    return ComparedCell(name, table.labels(name), compared, cost.parameters, cost.gflops, cost.image_ms)


def _present(table: ScoreTable) -> dict[str, list[str]]:
    return {
        axis: [label for label in labels if any(table.labels(cell)[axis] == label for cell in table.cells)]
        for axis, labels in table.axes.items()
    }


def _ranks(table: ScoreTable, metric: ComparedMetric) -> FriedmanRanks | None:
    names = list(table.cells)
    if len(table.sets) < LEAST_BLOCKS or len(names) < LEAST_RANKED:
        return None
    sign = 1 if metric.higher_is_better else -1
    means = [[sign * np.nanmean(table.matrix(cell, label, metric.key)) for cell in names] for label in table.sets]
    found = rank_cells(np.array(means))
    return FriedmanRanks(names, found.mean_ranks, found.p, found.critical_difference, list(table.sets))
