"""Tables of the searches by which each cell's values were chosen, with a strip of what each search saw."""

import math
from dataclasses import dataclass

from losslab.comparison.tuning import CellSearch, TriedSetting, TuningReport
from losslab.formats import format_score
from losslab.reporting.comparison.dot_strip import DotStrip
from losslab.reporting.components.axes import Axis


@dataclass(frozen=True)
class SearchTables:
    """Tables of all searches, as text: a row for each, and a row for each trial."""

    headings: list[str]
    rows: list[list[str]]
    strips: list[DotStrip]
    """Trials of each row on one scale; the tick is the chosen one."""
    trial_headings: list[str]
    trials: list[list[str]]
    names: int
    """Columns at the left that hold names and not numbers."""


def build_search_tables(tuning: TuningReport) -> SearchTables:
    """Build a row for each search, and for each trial, of which `chosen` marks one in each search."""
    repeated = ["search"] if tuning.repeats > 1 else []
    is_pruned = any(trial.short_score is not None for search in tuning.searches for trial in search.trials)
    first = "val mIoU, cut short" if is_pruned else "val mIoU"
    return SearchTables(
        headings=[
            "cell",
            *repeated,
            "seeds",
            *tuning.keys,
            "val mIoU",
            "shared" + (", cut short" if is_pruned else ""),
        ],
        rows=[
            [
                *_name(search, tuning),
                ", ".join(map(str, search.seeds)),
                *(search.chosen.values[key] for key in tuning.keys),
                format_score(search.chosen.score),
                format_score(_find_shared(search, tuning)),
            ]
            for search in tuning.searches
        ],
        strips=_build_strips(tuning),
        trial_headings=["cell", *repeated, "trial", *tuning.keys, *([first] if is_pruned else []), "val mIoU", ""],
        trials=[
            [
                *_name(search, tuning),
                trial.label,
                *(trial.values[key] for key in tuning.keys),
                *([format_score(trial.short_score)] if is_pruned else []),
                format_score(trial.score),
                "chosen" if trial.is_chosen else "failed" if trial.has_failed else "",
            ]
            for search in tuning.searches
            for trial in search.trials
        ],
        names=1 + len(repeated),
    )


def _name(search: CellSearch, tuning: TuningReport) -> list[str]:
    return [search.cell, *([str(search.number)] if tuning.repeats > 1 else [])]


def _find_shared(search: CellSearch, tuning: TuningReport) -> float | None:
    return next((trial.first_score for trial in search.trials if trial.setting == tuning.shared), None)


def _build_strips(tuning: TuningReport) -> list[DotStrip]:
    """Place the first score of each trial: those of a search are of equal length."""
    every = [_get_score(trial) for search in tuning.searches for trial in search.trials]
    known = [score for score in every if math.isfinite(score)] or [0.0, 1.0]
    room = 0.03 * (max(known) - min(known)) or 0.05
    axis = Axis("", min(known) - room, max(known) + room)

    def place(trial: TriedSetting) -> float:
        return round(axis.place(_get_score(trial), 4.0, 96.0), 2)

    return [
        DotStrip(
            [place(trial) for trial in search.trials if math.isfinite(_get_score(trial))], place(search.chosen), None
        )
        for search in tuning.searches
    ]


def _get_score(trial: TriedSetting) -> float:
    return math.nan if trial.first_score is None else trial.first_score
