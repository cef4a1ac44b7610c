"""What the advice is worth: points lost by it on each kind of data, when it has seen the other kinds alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from losslab.advice.choice import BASELINE, advise
from losslab.advice.results import KindResults, read_results
from losslab.errors import InputError
from losslab.formats import format_list, format_plural

MIN_KINDS = 3


@dataclass(frozen=True, kw_only=True)
class Regret:
    """Points of mIoU that each way to choose a loss loses against the best loss of a kind in hindsight, mean over nets and seeds.

    The best in hindsight is the best by chance too: with much noise, all of them lose more than they would on new seeds.
    """

    kind: str
    """The kind that the advice has not seen."""
    advised: tuple[str, ...]
    """The three losses, the first advice first."""
    first: float
    """Points lost by the first of them."""
    best_of_three: float
    """Points lost by the best of them: a study of the three finds it."""
    baseline: float
    """Points lost by always dice+cross_entropy."""
    favourite: str
    """The loss that is the best on average of the other kinds, whatever their measures."""
    average: float
    """Points lost by that one."""
    best: str
    noise: float
    """Standard error, in points, that seeds give to a difference between two losses; NaN where nothing tells."""

    @property
    def is_better(self) -> bool:
        """Whether the first advice loses less than the baseline."""
        return self.first < self.baseline


def measure_regret(folder: Path) -> list[Regret]:
    """Leave out each kind of data in turn, advise from the others, and measure what that loses; a row for each kind.

    Args:
        folder: results/odyssey.

    Raises:
        InputError: there are no rows, or less than three kinds of data: regret cannot be measured yet.
    """
    kinds = read_results(folder)
    if len(kinds) < MIN_KINDS:
        raise InputError(
            f"{folder}: rows of {len(kinds)} of at least {MIN_KINDS} kinds of data: what advice loses cannot be measured yet"
        )
    if lacking := [kind.kind for kind in kinds if BASELINE not in kind.gaps]:
        raise InputError(
            f"{folder}/{lacking[0]}.runs.csv: no runs of {BASELINE} on every net, against which advice is measured"
        )
    return [_leave_out(kind, [other for other in kinds if other is not kind]) for kind in kinds]


def summarise_regret(rows: Sequence[Regret]) -> str:
    """Say in words what advice loses, and where it is no better than the baseline."""
    first, three, baseline, average = (
        float(np.mean([getattr(row, name) for row in rows]))
        for name in ("first", "best_of_three", "baseline", "average")
    )
    better, same = sum(row.is_better for row in rows), sum(row.advised[0] == BASELINE for row in rows)
    worse = [row.kind for row in rows if row.advised[0] != BASELINE and not row.is_better]
    where = f" ({', '.join(worse)})" if worse else ""
    noise = np.array([row.noise for row in rows])
    counts = {BASELINE: same, "a better loss": better, f"one that is no better{where}": len(worse)}
    shown = [f"{name} on {count}" for name, count in counts.items() if count]
    first_advice = f"{BASELINE} on all of them" if same == len(rows) else format_list(shown)
    sentences = [
        f"Left-out kinds: the first advice loses {first:.1f} points of mIoU, the best of its three {three:.1f}, always "
        f"{BASELINE} {baseline:.1f}, the favourite of the other kinds {average:.1f}.",
        f"Of {format_plural(len(rows), 'kind')} of data, the first advice is {first_advice}.",
    ]
    if np.isfinite(noise).all():
        moved = np.sqrt(np.mean(noise**2))
        sentences.append(
            f"Seeds alone move the difference between two typical losses by about {moved:.1f} points (root mean square)."
        )
    verdicts = [
        (first >= baseline, f"always {BASELINE}"),
        (first >= average, "the favourite"),
    ]
    if beaten := [name for holds, name in verdicts if holds]:
        sentences.append(f"So the first advice is no better than {' or '.join(beaten)}: let the study decide.")
    return " ".join(sentences)


def _leave_out(kind: KindResults, others: Sequence[KindResults]) -> Regret:
    advice = advise(kind.measures, others, fits=lambda loss: loss in kind.gaps)
    advised = tuple(chosen.loss for chosen in advice.losses)
    known = [loss for loss in kind.gaps if all(loss in other.gaps for other in others)]
    favourite = min(known, key=lambda loss: float(np.mean([other.gaps[loss] for other in others])))
    return Regret(
        kind=kind.kind,
        advised=advised,
        first=kind.gaps[advised[0]],
        best_of_three=min(kind.gaps[loss] for loss in advised),
        baseline=kind.gaps[BASELINE],
        favourite=favourite,
        average=kind.gaps[favourite],
        best=min(kind.gaps, key=lambda loss: kind.gaps[loss]),
        noise=kind.noise,
    )
