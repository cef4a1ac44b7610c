"""Comparison in words: headlines to take home, and warnings to read before."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from losslab.comparison.evidence import RunEvidence
from losslab.comparison.result import Breakdown, ComparedMetric, FactorResult
from losslab.comparison.score_table import ScoreTable
from losslab.comparison.sentences import describe_margin, list_needs, write_sentence
from losslab.comparison.verdicts import MIN_SEEDS, MIN_UNITS, Verdict
from losslab.formats import format_list, format_mean_sd, format_plural, format_score

OUTLYING_POINTS, OUTLYING_RANGES = 5, 5
"""A run is outlying that is farther from all others of its cell than so many points, and than their range so many times."""


MAX_NAMES = 3
"""Names of cells that a line of the headline lists; more are counted."""


def write_headline(
    verdict: Verdict | None,
    metric: ComparedMetric,
    order: Sequence[str],
    table: ScoreTable,
    factors: Sequence[FactorResult] = (),
    breakdowns: Sequence[Breakdown] = (),
) -> list[str]:
    """Write what to take home about the cells in one to three lines; verdict None: nothing is judged.

    They say who is best, which label of each axis is best on average, and in which class a difference shows most.
    `order` are the cells, the best first.
    """
    if verdict is None:
        best = float(np.mean([table.compute_score(run, metric) for run in table.cells[order[0]]]))
        why = "there is only one cell" if len(order) < 2 else metric.why_not
        return [
            f"{order[0]} has the best {metric.title} ({format_score(best, metric.digits)}); no verdict, because {why}."
        ]
    leader = verdict.standings[0]
    score = f"{metric.title} {format_mean_sd(leader.mean, leader.sd, metric.digits)}"
    if not any(pair.may_be_claimed for pair in verdict.pairs):
        number, what, least = leader.seeds, "seed", MIN_SEEDS
        if number >= MIN_SEEDS:
            number, what, least = table.units, verdict.pairs[0].unit, MIN_UNITS
        return [
            f"{leader.name} has the best mean ({score}), but with {format_plural(number, what)} no difference can be "
            f"claimed: that takes {least}."
        ]
    if verdict.is_decided:
        sentence = write_sentence(verdict.pairs[0]).removeprefix(f"{leader.name} ")
        lines = [f"{leader.name} is best: {score}; it {sentence}"]
    else:
        lines = [_write_tie(verdict, score)]
    if factors:
        lines.append(_write_factors(factors, metric))
    clearest = next((breakdown.clearest for breakdown in breakdowns if breakdown.clearest is not None), None)
    if clearest is not None and not clearest.startswith(f"Clearest in {metric.title}:"):
        lines.append(clearest)
    return lines


def write_changes(verdict: Verdict | None, table: ScoreTable) -> list[str]:
    """Write what would change the verdict, a line each: seeds, test images, longer training."""
    changes, pairs = [], verdict.pairs if verdict is not None else []
    if pairs and not any(pair.may_be_claimed for pair in pairs):
        seeds, units = max(pair.seeds for pair in pairs), max(pair.units for pair in pairs)
        if seeds < MIN_SEEDS:
            changes.append(f"More seeds: a verdict takes {MIN_SEEDS} per cell, not {seeds}.")
        if units < MIN_UNITS:
            changes.append(f"More {pairs[0].unit}s: a verdict takes {MIN_UNITS}, not {units}.")
    elif pairs:
        undecided = [pair for pair in pairs if not pair.is_decided]
        if undecided:
            first, (need, *rest) = undecided[0], list_needs(undecided[0])
            where = f"Between {first.better} and {first.worse}"
            if len(undecided) > 1:
                where += f", one of {len(undecided)} open pairs of {len(pairs)}"
            changes += [f"{where}: {need}.", *(f"{each[0].upper()}{each[1:]}." for each in rest)]
        else:
            changes.append("No pair is open: more seeds or test images would narrow the intervals.")
    rising, runs = _count_rising(table)
    if rising:
        were = "was" if rising == 1 else "were"
        changes.append(f"Longer training: {rising} of {format_plural(runs, 'run')} {were} best in the last epoch.")
    return changes


def _count_rising(table: ScoreTable) -> tuple[int, int]:
    """Count the runs whose last epoch was their best, and all runs that have epochs, which ensembles do not."""
    runs = [run for run in itertools.chain.from_iterable(table.cells.values()) if run.history]
    return sum(map(_is_best_last, runs)), len(runs)


def _write_tie(verdict: Verdict, score: str) -> str:
    number, every = len(verdict.best), len(verdict.standings)
    equal = {pair.worse: pair for pair in verdict.pairs if pair.better == verdict.best[0] and pair.is_equivalent}
    same = [name for name in verdict.best[1:] if name in equal]
    of_many = f"The {number} cells" if number == every else f"{number} of {every} cells"
    names = _join_names(verdict.best) if number <= MAX_NAMES else of_many
    worse = every - number
    others = f"; {worse} {'other is' if worse == 1 else 'others are'} worse" if worse else ""
    best = f"(best mean: {verdict.best[0]}, {score}; {verdict.pairs[0].basis})"
    if not same:
        return f"{names} cannot be told apart {best}{others}."
    within = f"equivalent within {describe_margin(equal[same[0]])}"
    between = [pair for pair in verdict.pairs if {pair.better, pair.worse} <= set(verdict.best)]
    if all(pair.is_equivalent for pair in between):
        return f"{names} are {within} {best}{others}."
    shown = format_list(same, MAX_NAMES)
    verb = "is" if len(same) == 1 else "are"
    return f"{names} cannot be told apart {best}{others}; {shown} {verb} {within} of the best."


def _write_factors(factors: Sequence[FactorResult], metric: ComparedMetric) -> str:
    """Write in one sentence which label of each axis is best on average."""
    if not any(factor.verdict.is_decided for factor in factors):
        return f"On average no {' and no '.join(factor.axis for factor in factors)} is best."
    parts = []
    for axis, verdict in ((factor.axis, factor.verdict) for factor in factors):
        first = verdict.pairs[0]
        gap = f"{first.gap / metric.point:.1f} {metric.unit} over {first.worse}"
        if first.estimate is not None:
            gap += f", 95 % CI {first.estimate.low / metric.point:.1f} to {first.estimate.high / metric.point:.1f}"
        parts.append(f"the best {axis} is {first.better} ({gap})" if verdict.is_decided else f"no {axis} is best")
    return f"On average {_join_names(parts)}."


def _join_names(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def find_warnings(table: ScoreTable, metric: ComparedMetric) -> list[str]:
    """Find what a reader must know before the numbers, a sentence for each."""
    fewest = min(len(table.list_runs(cell, label)) for cell in table.cells for label in table.sets)
    warnings = []
    if fewest < MIN_SEEDS and len(table.cells) > 1:
        warnings.append(
            f"A cell has only {format_plural(fewest, 'seed')}: what is said of it holds for "
            f"{'this very net' if fewest == 1 else 'these very nets'}, not for its loss or architecture. "
            f"How much another seed would change is not known; verdicts take {MIN_SEEDS}."
        )
    if table.units < MIN_UNITS and len(table.cells) > 1:
        noun = table.describe_units().noun
        number = format_plural(table.units, noun) + (" (groups differ in size)" if "effective" in noun else "")
        warnings.append(f"There {'is' if table.units == 1 else 'are'} only {number}: verdicts take {MIN_UNITS}.")
    warnings += _find_outlying_runs(table, metric)
    rising, runs = _count_rising(table)
    if rising > runs / 2:
        warnings.append(f"{rising} of {runs} runs were best in their last epoch: longer training may change the order.")
    if metric.has_images:
        for label in table.sets:
            scored = table.find_scored_images(label, metric.key)
            if not scored.all():
                images = f"test images of {label}" if label else "test images"
                warnings.append(
                    f"{metric.title} is compared on the {scored.sum()} of {len(scored)} {images} that have it in every run."
                )
    left = {table.name_cell(run) for part in table.sets.values() for run in part} - set(table.cells)
    if left:
        warnings.append(f"Left out, because they lack a run on at least one test set: {', '.join(sorted(left))}.")
    return warnings


def _find_outlying_runs(table: ScoreTable, metric: ComparedMetric) -> list[str]:
    """Find runs far from all others of their cell, as those are that collapsed in training; a sentence for each."""
    sentences = []
    for cell, label in itertools.product(table.cells, table.sets):
        scored = [(table.compute_score(run, metric), run.name) for run in table.list_runs(cell, label)]
        scores = sorted(score for score, _ in scored if not math.isnan(score))
        if len(scores) < MIN_SEEDS:
            continue
        for outlying, rest in ((scores[0], scores[1:]), (scores[-1], scores[:-1])):
            gap = min(abs(outlying - rest[0]), abs(outlying - rest[-1]))
            if gap > max(OUTLYING_RANGES * (rest[-1] - rest[0]), OUTLYING_POINTS * metric.point):
                name = next(name for score, name in scored if score == outlying)
                ends = " to ".join(dict.fromkeys(format_score(score, metric.digits) for score in (rest[0], rest[-1])))
                sentences.append(
                    f"{name} has {metric.title} {format_score(outlying, metric.digits)}, the other runs of {cell} {ends}: "
                    "look at its training. If runs of this cell collapse now and then, its intervals hold less often than in 95 "
                    "of 100 studies."
                )
    return sentences


def _is_best_last(run: RunEvidence) -> bool:
    scores = [float(row["val_miou"] or "nan") for row in run.history]
    known = [-math.inf if math.isnan(score) else score for score in scores]
    return len(known) > 1 and max(range(len(known)), key=known.__getitem__) == len(known) - 1
