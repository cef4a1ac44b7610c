"""Searches of a study as a reader asks for them: what was tried and chosen, and whether the order hangs on it."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import mean

from losslab.experiments.finished_runs import RunOutputs
from losslab.formats import format_list, format_plural, format_score
from losslab.study.plan import Search, Study, StudyRun
from losslab.study.results import read_scores
from losslab.study.spec import StudySpec, ValueRange
from losslab.study.tuning import RANDOM_TRIALS, describe_search, describe_setting

EDGE = 0.05
"""Share of a range at each of its ends in which a chosen value makes one wish for a wider range."""


@dataclass(frozen=True, kw_only=True)
class TriedSetting:
    """One trial of a search."""

    label: str
    values: Mapping[str, str]
    """Key → value, as YAML writes it."""
    short_score: float | None
    """Val mIoU of the run that was cut short; None where the study prunes nothing, or the run failed."""
    score: float | None
    """Val mIoU of the run in full; None where there was none, or it failed."""
    has_failed: bool
    is_chosen: bool

    @property
    def setting(self) -> str:
        """The values in words, as in `TuningReport.shared`."""
        return describe_setting(self.values)

    @property
    def first_score(self) -> float | None:
        """Score of its first run, the one that all trials have; None if it failed."""
        return self.short_score if self.short_score is not None else self.score


@dataclass(frozen=True, kw_only=True)
class CellSearch:
    """One search of a cell that has ended."""

    cell: str
    number: int
    """1 in the first search of the cell, 2 in the second."""
    seeds: Sequence[int]
    """Seeds that use the values it chose; its own trials have the first."""
    trials: Sequence[TriedSetting]

    @property
    def chosen(self) -> TriedSetting:
        return next(trial for trial in self.trials if trial.is_chosen)


@dataclass(frozen=True, kw_only=True)
class TuningReport:
    """All searches of a study that have ended."""

    keys: Sequence[str]
    about: str
    """How values were searched, in words."""
    shared: str
    """The setting that all cells have tried."""
    repeats: int
    searches: Sequence[CellSearch]
    sentences: Sequence[str]
    """What the searches say: whether the order of the cells hangs on them, and what the intervals count."""


def report_tuning(
    study: Study, searches: Sequence[Search], done: Mapping[StudyRun, RunOutputs], failed: Collection[StudyRun]
) -> TuningReport | None:
    """Report the searches of a study that have ended; None if it tunes nothing, or none has."""
    shared = study.shared_trial
    if shared is None:
        return None
    numbers: dict[str, int] = {}
    ended = []
    for search in searches:
        cell = " + ".join(label for _, label in search.cell.labels)
        numbers[cell] = numbers.get(cell, 0) + 1
        if search.chosen is not None:
            trials = tuple(_list_trials(search, done, failed))
            ended.append(CellSearch(cell=cell, number=numbers[cell], seeds=search.seeds, trials=trials))
    if not ended:
        return None
    repeats = max(numbers.values())
    return TuningReport(
        keys=list(study.card.tuned),
        about=_describe(study.card),
        shared=shared.setting,
        repeats=repeats,
        searches=ended,
        sentences=[
            *_compare_orders(ended, shared.values, study.card),
            *_find_edges(ended, study.card),
            _explain_variance(repeats, len(study.card.seeds)),
        ],
    )


def _describe(card: StudySpec) -> str:
    seeds = f"seed {card.seeds[0]}"
    if card.search is None:
        (key,) = card.tuned
        return f"Every value of {key} was run in each cell with {seeds}; the one with the best mIoU on val was chosen."
    if card.search.repeats > 1:
        seeds = f"seeds {', '.join(map(str, card.seeds[: card.search.repeats]))}"
    learned = f" to number {RANDOM_TRIALS}, then by Optuna's TPE sampler" if card.search.budget > RANDOM_TRIALS else ""
    return (
        f"{describe_search(card.search)}, with {seeds}: the first with a setting that all cells share, the next at random"
        f"{learned}. The one with the best mIoU on val was chosen."
    )


def _list_trials(
    search: Search, done: Mapping[StudyRun, RunOutputs], failed: Collection[StudyRun]
) -> Iterator[TriedSetting]:
    def find_score(run: StudyRun | None) -> float | None:
        return None if run is None or run not in done else read_scores(done[run])["val"]["miou"]

    runs = [(run, run.tuned) for batch in search.batches for run in batch if run.tuned is not None]
    short = {trial.label: run for run, trial in runs if trial.epochs is not None}
    full = {trial.label: run for run, trial in runs if trial.epochs is None}
    for label, trial in {trial.label: trial for _, trial in runs}.items():
        yield TriedSetting(
            label=label,
            values=trial.values,
            short_score=find_score(short.get(label)),
            score=find_score(full.get(label)),
            has_failed=any(stage[label] in failed for stage in (short, full) if label in stage),
            is_chosen=search.chosen is not None and search.chosen.label == label,
        )


def _compare_orders(searches: Sequence[CellSearch], shared: Mapping[str, str], card: StudySpec) -> Iterator[str]:
    """Say whether the cells would be in another order at the one setting that all of them have tried.

    Scores are those of the trials' first runs, which are of equal length; a mean over the searches of a cell.
    """
    cells = list(dict.fromkeys(search.cell for search in searches))
    if len(cells) < 2:
        return
    own, common = dict[str, float](), dict[str, float]()
    for cell in cells:
        tried = [search.trials for search in searches if search.cell == cell]
        own[cell] = mean(max(_get_score(trial) for trial in trials) for trials in tried)
        common[cell] = mean(max(_get_score(trial) for trial in trials if trial.values == shared) for trials in tried)
    setting = describe_setting(shared)
    prune = card.search.prune if card.search is not None else None
    measure = f"val mIoU after {format_plural(prune.epochs, 'epoch')}" if prune is not None else "val mIoU"
    swapped = [
        (one, other)
        for one, other in combinations(cells, 2)
        if (own[one] - own[other]) * (common[one] - common[other]) < 0
    ]
    orders = f"{measure} of each cell's own best: {_write_order(own)}; at {setting} for all: {_write_order(common)}"
    if swapped:
        pairs = format_list([f"{one} and {other}" for one, other in swapped], 3)
        yield f"The order hangs on tuning: at {setting} for all cells, {pairs} would swap. By the {orders}."
    else:
        yield f"Tuning swaps no two cells. By the {orders}."
    yield (
        "These are single runs on val, and a best is the best of several: they show what tuning does to the order, and "
        "prove no difference. The verdict is on test, over seeds."
    )


def _get_score(trial: TriedSetting) -> float:
    return -math.inf if trial.first_score is None else trial.first_score


def _write_order(scores: Mapping[str, float]) -> str:
    ranked = sorted(scores, key=lambda cell: -scores[cell])
    return ", ".join(
        f"{cell} {format_score(scores[cell]) if math.isfinite(scores[cell]) else '(failed)'}" for cell in ranked
    )


def _find_edges(searches: Sequence[CellSearch], card: StudySpec) -> Iterator[str]:
    """Name the chosen values that lie at an end of their range."""
    for key, domain in card.tuned.items():
        if not isinstance(domain, ValueRange):
            continue
        scale = math.log if domain.log else float
        low, high = scale(domain.low), scale(domain.high)
        places = [(search.cell, (scale(float(search.chosen.values[key])) - low) / (high - low)) for search in searches]
        if at_edge := dict.fromkeys(cell for cell, place in places if not EDGE <= place <= 1 - EDGE):
            yield (
                f"The chosen {key} of {format_list(list(at_edge))} lies at an end of its range, {domain.low:g} to "
                f"{domain.high:g}: a wider one may hold a better value."
            )


def _explain_variance(repeats: int, seeds: int) -> str:
    if repeats == 1:
        return (
            "Each cell was searched once, so the intervals do not count that another search might choose other values "
            "(tune.repeats)."
        )
    searched = f"Each cell was searched {repeats} times, with other proposals and training seeds"
    if repeats == seeds:
        return (
            f"{searched}: once for each seed, so the spread over seeds and every interval count the variance of tuning."
        )
    return (
        f"{searched}; its seeds are shared out over the searches. The intervals count the variance of tuning in part, as "
        "runs of one search share its values; with as many searches as seeds they count it wholly."
    )
