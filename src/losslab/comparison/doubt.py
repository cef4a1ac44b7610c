"""How likely a paper's order of two methods would be another with other test images and other seeds.

A paper scores its methods on the same N test images, with S seeds each, most often one. The difference of two means, D, then
has the variance

    (s_A² + s_B² − 2·r·s_A·s_B) / N + t_A² / S_A + t_B² / S_B

where s is the standard deviation of a method's scores over images, r the correlation of two methods' scores on the same images,
and t the standard deviation of a mean over seeds. Another study as large would see a difference that differs from D by twice
that variance, as both vary. But methods differ little, so D is in part luck: where true differences have the standard deviation
d around zero, the part k = d² / (d² + variance) of D is expected to come again, or 1 − variance / D² where that is more (James
and Stein, Berkeley Symposium 4, 1961), as such a large D shows that these methods differ more. The order is another with the
probability

    T(−k·D / √((1 + k)·variance)).

T is Student's distribution with `TAIL_DEGREES` degrees of freedom and not the normal one, as the spread of these very methods is
not known: some vary over seeds several times as much as others. That the true order is another has the probability
T(−D / √variance), if all true differences are taken to be as likely (a flat prior). What a paper does not state is taken from
`MEASURED`, and d from `TRUE_SDS`. `benchmarks/doubt.py` measures them, and how often such statements are right.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from scipy import special

from losslab.errors import InputError

Metric = Literal["dice", "iou", "seed_score"]
"""Scores of single images whose spread is measured; seed_score is the thresholded IoU of evaluate."""


@dataclass(frozen=True)
class Spread:
    """How far scores spread on data of one kind."""

    image_sd: float
    """Standard deviation of one method's scores over test images."""
    correlation: float
    """Correlation of two methods' scores on the same images."""
    seed_sd: float
    """Standard deviation over seeds of a mean over the test images."""
    true_sd: float = math.inf
    """Standard deviation around zero of true differences between methods; infinite: all are taken to be as likely."""

    @property
    def difference_sd(self) -> float:
        """Standard deviation over images of the difference of two methods."""
        return self.image_sd * math.sqrt(2 * (1 - self.correlation))


MEASURED: Mapping[Metric, Mapping[str, Spread]] = {
    "dice": {
        "lesions": Spread(0.141, 0.46, 0.040),
        "pets": Spread(0.206, 0.48, 0.029),
        "streets": Spread(0.063, 0.57, 0.010),
    },
    "iou": {
        "lesions": Spread(0.159, 0.51, 0.044),
        "pets": Spread(0.208, 0.46, 0.029),
        "streets": Spread(0.062, 0.65, 0.011),
    },
    "seed_score": {
        "lesions": Spread(0.238, 0.56, 0.057),
        "pets": Spread(0.237, 0.35, 0.026),
        "streets": Spread(0.031, 0.31, 0.005),
    },
}
"""Metric → kind of data → what `python -m benchmarks.doubt` measured on the runs of `benchmarks.doubt_runs`, with two small
nets, two losses and 3 or 8 seeds: 400 drawn lesions, 300 photos of Oxford-IIIT Pet, and 59 frames of CamVid in six classes, all
of 64 x 64."""
TRUE_SDS: Mapping[Metric, float] = {"dice": 0.088, "iou": 0.084, "seed_score": 0.068}
"""Metric → standard deviation of true differences between the nets and losses of these runs, over all kinds of data."""
DATASETS = {
    "lesions": ("synthetic_lesions", "ph2"),
    "pets": ("oxford_pet", "oxford_pet_binary"),
    "streets": ("camvid",),
}
TAIL_DEGREES = 3
"""Degrees of freedom: of 2, 3, 4, 6 and infinitely many the fewest with a finite variance; `benchmarks/doubt.py` tries it."""
TYPICAL = "typical"
"""Kind of data that stands for all: the mean of the others' variances and correlations."""
KINDS = (*DATASETS, TYPICAL)


@dataclass(frozen=True, kw_only=True)
class Method:
    """One line of a paper's table, in scores from 0 to 1."""

    name: str
    mean: float
    sd: float | None = None
    """Standard deviation over test images, where it is stated."""
    seed_sd: float | None = None
    """Standard deviation of the mean over seeds, where it is stated."""
    seeds: int = 1


@dataclass(frozen=True, kw_only=True)
class DoubtedPair:
    """Two methods, the one with the better mean first."""

    better: str
    worse: str
    gap: float
    """Difference of their means; never negative."""
    error: float
    """Standard deviation of that difference over other test images and seeds."""
    reversal: float
    """Probability that the order would be another with other test images and other seeds, as many as these."""
    wrong: float
    """Probability that the true order is another, if all true differences are taken to be as likely."""


def find_spread(metric: Metric, kind: str = TYPICAL) -> Spread:
    """Find how far scores spread on data of a kind. Raises InputError if there is no such kind.

    >>> find_spread("dice", "lesions").image_sd > find_spread("dice", "streets").image_sd
    True
    """
    measured = MEASURED[metric]
    if kind not in KINDS:
        raise InputError(f"like {kind}: must be one of {', '.join(KINDS)}")
    spread = average_spreads(list(measured.values())) if kind == TYPICAL else measured[kind]
    return replace(spread, true_sd=TRUE_SDS[metric])


def find_kind(dataset: str) -> str:
    """Find the kind of data that a dataset is of, by its name; `typical` if it is none that losslab knows.

    >>> find_kind("ph2"), find_kind("cells")
    ('lesions', 'typical')
    """
    return next((kind for kind, names in DATASETS.items() if dataset.startswith(names)), TYPICAL)


def average_spreads(spreads: Sequence[Spread]) -> Spread:
    """Average the variances and the correlations of several kinds of data.

    >>> average = average_spreads([Spread(0.1, 0.5, 0.0), Spread(0.1, 0.7, 0.01)])
    >>> print(f"{average.image_sd:.1f} {average.correlation:.1f} {average.seed_sd:.4f}")
    0.1 0.6 0.0071
    """
    return Spread(
        math.sqrt(math.fsum(one.image_sd**2 for one in spreads) / len(spreads)),
        math.fsum(one.correlation for one in spreads) / len(spreads),
        math.sqrt(math.fsum(one.seed_sd**2 for one in spreads) / len(spreads)),
    )


def doubt_pair(one: Method, other: Method, images: int, assumed: Spread) -> DoubtedPair:
    """Compute how likely the order of two methods would be another; `assumed` fills in what they do not state.

    >>> unet, segnet = Method(name="unet", mean=0.86, sd=0.1), Method(name="segnet", mean=0.84, sd=0.1)
    >>> pair = doubt_pair(unet, segnet, images=100, assumed=Spread(0.1, 0.5, 0.01))
    >>> print(f"{pair.reversal:.2f}, {pair.wrong:.2f}")
    0.24, 0.17
    """
    better, worse = (one, other) if one.mean >= other.mean else (other, one)
    gap, (first, second) = better.mean - worse.mean, (assumed.image_sd if m.sd is None else m.sd for m in (one, other))
    of_images = (first**2 + second**2 - 2 * assumed.correlation * first * second) / images
    of_seeds = sum((assumed.seed_sd if m.seed_sd is None else m.seed_sd) ** 2 / m.seeds for m in (one, other))
    error = math.sqrt(max(of_images, 0.0) + of_seeds)
    certain = math.isinf(assumed.true_sd) or error == 0
    kept = 1.0 if certain else assumed.true_sd**2 / (assumed.true_sd**2 + error**2)
    kept = max(kept, 1 - (error / gap) ** 2) if gap > 0 else kept

    def compute_tail(expected: float, deviation: float) -> float:
        if gap == 0:
            return 0.5
        return float(special.stdtr(TAIL_DEGREES, -expected / deviation)) if deviation > 0 else 0.0

    return DoubtedPair(
        better=better.name,
        worse=worse.name,
        gap=gap,
        error=error,
        reversal=compute_tail(kept * gap, math.sqrt(1 + kept) * error),
        wrong=compute_tail(gap, error),
    )


def doubt_table(methods: Sequence[Method], images: int, assumed: Spread) -> list[DoubtedPair]:
    """Doubt the order of every two methods of a table, those of the best first.

    >>> table = [Method(name="a", mean=0.80), Method(name="b", mean=0.84), Method(name="c", mean=0.82)]
    >>> [f"{pair.better}-{pair.worse}" for pair in doubt_table(table, 50, Spread(0.1, 0.5, 0.01))]
    ['b-c', 'b-a', 'c-a']
    """
    order = sorted(methods, key=lambda method: -method.mean)
    return [doubt_pair(one, other, images, assumed) for one, other in itertools.combinations(order, 2)]
