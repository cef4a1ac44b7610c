"""Three losses to try first: those that did best on the kinds of data whose measures are nearest."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from losslab.advice.results import KindResults
from losslab.data.measures import DatasetMeasures
from losslab.errors import InputError
from losslab.formats import format_brief, format_percent, format_score
from losslab.losses.expression import parse_expression
from losslab.losses.registry import find_loss

BASELINE = "dice+cross_entropy"
"""The usual choice, which comes first unless another loss is shown to be better."""
NUMBER_OF_LOSSES = 3
MIN_DISTANCE = 0.1
"""Distances below this are alike: a dataset that is one of the kinds still hears of the others."""
MIN_WEIGHT = 0.15
"""Weight from which on a kind of data is named as one that was leaned on."""


@dataclass(frozen=True)
class Aspect:
    """Something that losses are sensitive to, as it is compared between data."""

    name: str
    read: Callable[[DatasetMeasures], float]
    show: Callable[[float], str]
    is_share: bool = False
    """Whether differences count as they are, 1 at most; of other aspects a factor of ten counts 1."""

    def measure_distance(self, one: DatasetMeasures, other: DatasetMeasures) -> float:
        first, second = self.read(one), self.read(other)
        return abs(first - second) if self.is_share else abs(math.log10(first / second))


def _percent(share: float) -> str:
    return f"{format_percent(share)} %"


ASPECTS = [
    Aspect("number of classes", lambda measured: measured.classes, format_brief),
    Aspect("share of the rarest class", lambda measured: measured.rarest_share, _percent),
    Aspect("images without foreground", lambda measured: measured.empty_share, _percent, is_share=True),
    Aspect("objects in an image", lambda measured: measured.objects_per_image, lambda number: format_score(number, 1)),
    Aspect(
        "size of an object", lambda measured: measured.object_share, lambda share: f"{_percent(share)} of the image"
    ),
    Aspect("foreground in small objects", lambda measured: measured.small_share, _percent, is_share=True),
    Aspect(
        "width of objects",
        lambda measured: measured.width_px / measured.side_px,
        lambda share: f"{_percent(share)} of the side",
    ),
]


@dataclass(frozen=True)
class LeanedKind:
    """A kind of data, by how much the advice leans on it."""

    results: KindResults
    distance: float
    """Root mean square of its distances to the dataset over ASPECTS."""
    weight: float
    """Share of 1 in all kinds."""
    alike: tuple[Aspect, ...]
    """Aspects by how much nearer this kind is than kinds are on average: what sets it apart comes first."""


@dataclass(frozen=True)
class ChosenLoss:
    loss: str
    expected: float
    """Points of mIoU below the best loss: the weighted mean over the kinds of data."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    losses: tuple[ChosenLoss, ...]
    """Three, or as many as there are, in the order in which to try them."""
    kinds: tuple[LeanedKind, ...]
    """All kinds of data, the most alike first."""
    noise: float
    """Standard error, in points, that seeds give to the difference between two expected values; 0 where nothing tells."""
    left_out: tuple[str, ...]
    """Losses that lack runs on some kind of data, or that the dataset refuses."""

    @property
    def leading_kinds(self) -> tuple[LeanedKind, ...]:
        """The kinds of data that the advice leans on most, the most alike first."""
        return tuple(kind for place, kind in enumerate(self.kinds) if not place or kind.weight >= MIN_WEIGHT)

    @property
    def is_far(self) -> bool:
        """Whether the nearest kind of data is further away than any of the kinds is from the one nearest to it."""
        measures = [kind.results.measures for kind in self.kinds]
        nearest = [
            min((measure_distance(one, other) for other in measures if other is not one), default=math.inf)
            for one in measures
        ]
        return self.kinds[0].distance > max(nearest)


def advise(
    measured: DatasetMeasures, kinds: Sequence[KindResults], fits: Callable[[str], bool] = lambda loss: True
) -> Advice:
    """Choose three losses, by the weighted mean over kinds of data of the points below the best loss.

    A kind that is as near as the nearest has the weight exp(-1/2), one that is d times as far exp(-d²/2), before they are
    scaled to a sum of 1. The first is dice+cross_entropy, unless the best is expected to be better by more than twice the
    standard error of their difference. Of losses that seeds cannot tell apart, one of another sort than those chosen is taken.

    Args:
        measured: the dataset's measures.
        kinds: see `read_results`; at least one.
        fits: whether the dataset can take a loss.

    Raises:
        InputError: no loss that fits has runs on all kinds.
    """
    leaned = weigh_kinds(measured, kinds)
    names = list(dict.fromkeys(loss for kind in kinds for loss in kind.scores))
    usable = [loss for loss in names if all(loss in kind.gaps for kind in kinds) and fits(loss)]
    if not usable:
        raise InputError("advise: no loss that this dataset takes has runs on every kind of data of the odyssey")
    noise = math.sqrt(sum((each.weight * each.results.noise) ** 2 for each in leaned if each.results.noise >= 0))
    expected = {loss: sum(each.weight * each.results.gaps[loss] for each in leaned) for loss in usable}
    ranked = sorted(usable, key=lambda loss: round(expected[loss], 9))
    chosen = [_find_first(ranked, leaned, noise)]
    ranked.remove(chosen[0])
    while ranked and len(chosen) < NUMBER_OF_LOSSES:
        sorts = [find_sorts(loss) for loss in chosen]
        nearly = [loss for loss in ranked if expected[loss] - expected[ranked[0]] <= noise]
        chosen.append(next((loss for loss in nearly if find_sorts(loss) not in sorts), ranked[0]))
        ranked.remove(chosen[-1])
    return Advice(
        losses=tuple(
            ChosenLoss(loss, expected[loss]) for loss in [chosen[0], *sorted(chosen[1:], key=expected.__getitem__)]
        ),
        kinds=tuple(leaned),
        noise=noise,
        left_out=tuple(loss for loss in names if loss not in usable),
    )


def _find_first(ranked: Sequence[str], leaned: Sequence[LeanedKind], noise: float) -> str:
    """Find the loss to try first: the best that is shown to be better than the baseline, else that, if it is there."""
    weights = np.array([each.weight for each in leaned])
    for loss in ranked if BASELINE in ranked else []:
        leads = np.array([each.results.gaps[BASELINE] - each.results.gaps[loss] for each in leaned])
        lead = float(weights @ leads)
        if lead > 2 * math.hypot(noise, *(weights * (leads - lead))):  # what seeds, and other kinds of data, can change
            return loss
    return BASELINE if BASELINE in ranked else ranked[0]


def weigh_kinds(measured: DatasetMeasures, kinds: Sequence[KindResults]) -> list[LeanedKind]:
    """Weigh kinds of data by how near their measures are, the nearest first."""
    distances = [max(measure_distance(measured, kind.measures), MIN_DISTANCE) for kind in kinds]
    raw = [math.exp(-((distance / min(distances)) ** 2) / 2) for distance in distances]
    average = {
        aspect.name: sum(aspect.measure_distance(measured, kind.measures) for kind in kinds) / len(kinds)
        for aspect in ASPECTS
    }
    leaned = []
    for kind, distance, weight in zip(kinds, distances, raw, strict=True):
        apart = {
            aspect.name: aspect.measure_distance(measured, kind.measures) - average[aspect.name] for aspect in ASPECTS
        }
        alike = sorted(
            ASPECTS, key=lambda aspect: (apart[aspect.name], aspect.measure_distance(measured, kind.measures))
        )
        leaned.append(LeanedKind(kind, distance, weight / sum(raw), tuple(alike)))
    return sorted(leaned, key=lambda kind: kind.distance)


def measure_distance(one: DatasetMeasures, other: DatasetMeasures) -> float:
    """Measure how unlike two datasets are: the root mean square over ASPECTS of factors of ten, or of differences of shares."""
    return math.sqrt(sum(aspect.measure_distance(one, other) ** 2 for aspect in ASPECTS) / len(ASPECTS))


def find_sorts(loss: str) -> frozenset[str]:
    """Return the sorts of loss in an expression.

    >>> sorted(find_sorts("dice+0.01:0.1*boundary"))
    ['boundary', 'region']
    """
    return frozenset(find_loss(term.name).kind for term in parse_expression(loss))
