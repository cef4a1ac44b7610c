"""A comparison in words: what to take home, and what to know before."""

import math
from collections.abc import Sequence

import numpy as np

from losslab.comparison.evidence import RunEvidence
from losslab.comparison.result import ComparedMetric, FactorResult
from losslab.comparison.table import ScoreTable
from losslab.comparison.verdicts import Standing, Verdict, write_sentence


def write_headline(verdict: Verdict | None, metric: ComparedMetric, order: Sequence[str], table: ScoreTable) -> str:
    if verdict is None:
        best = np.mean([table.score(run, metric) for run in table.cells[order[0]]])
        why = "there is one cell alone" if len(order) < 2 else metric.why_not
        return f"{order[0]} has the best {metric.title} ({_number(float(best), metric)}); nothing is judged, as {why}."
    leader = verdict.standings[0]
    if not any(pair.may_be_claimed for pair in verdict.pairs):
        seeds = f"{leader.seeds} seed{'s' if leader.seeds > 1 else ''}"
        told = f"{leader.name} has the best {metric.title} ({_told(leader, metric)})"
        return f"{told}, but with {seeds} no difference can be claimed: it takes 3."
    if verdict.is_decided:
        pair = verdict.pairs[0]
        return f"{leader.name} is best: {metric.title} {_told(leader, metric)}. {write_sentence(pair)}"
    others = len(verdict.best) - 1
    rest = len(verdict.standings) - len(verdict.best)
    told = verdict.best[1] if others == 1 else f"{others} others"
    worse = f"; {rest} {'is' if rest == 1 else 'are'} worse" if rest else ""
    first = f"{leader.name} has the best mean ({metric.title} {_told(leader, metric)})"
    return f"No cell is best: {first}, and {told} cannot be told from it{worse}."


def write_factor_headline(factor: FactorResult) -> str:
    first = factor.verdict.pairs[0]
    return f"Averaged over {factor.over}: {write_sentence(first)}"


def _told(standing: Standing, metric: ComparedMetric) -> str:
    return _number(standing.mean, metric) + (f" ± {_number(standing.sd, metric)}" if standing.sd is not None else "")


def _number(value: float, metric: ComparedMetric) -> str:
    return f"{value:.{2 if metric.unit == 'pixels' else 3}f}"


def find_warnings(table: ScoreTable, metric: ComparedMetric) -> list[str]:
    runs = [run for of_cell in table.cells.values() for run in of_cell]
    fewest = min(len(table.runs_of(cell, label)) for cell in table.cells for label in table.sets)
    found = []
    if fewest < 3 and len(table.cells) > 1:
        net = (
            "One seed in a cell: what is said of it is of this very net"
            if fewest == 1
            else "Two seeds in a cell: too few"
        )
        found.append(
            f"{net}, not of its loss or architecture. How much another seed would change is not known; verdicts take 3."
        )
    rising = sum(_best_last(run) for run in runs)
    if rising > len(runs) / 2:
        found.append(
            f"{rising} of {len(runs)} runs were best in their last epoch: longer training may change the order."
        )
    if metric.has_images:
        for label in table.sets:
            known = table.known(label, metric.key)
            if not known.all():
                of = f" of {label}" if label else ""
                found.append(
                    f"{metric.title} is compared on the {known.sum()} of {len(known)} test images{of} that have it in every run."
                )
    left = {table.name(run) for part in table.sets.values() for run in part} - set(table.cells)
    if left:
        found.append(f"Left out, as they are not on all test sets: {', '.join(sorted(left))}.")
    return found


def _best_last(run: RunEvidence) -> bool:
    scores = [float(row["val_miou"] or "nan") for row in run.history]
    known = [-math.inf if math.isnan(score) else score for score in scores]
    return len(known) > 1 and max(range(len(known)), key=known.__getitem__) == len(known) - 1
