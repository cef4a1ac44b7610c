"""What a loss gains over cross entropy in one respect: borders, a rare class, small objects, calibration."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median, variance

from scipy import special

from benchmarks.odyssey.tables import REFERENCE, Kind, get_number
from losslab.comparison.statistics import ALPHA, MEDIAN_SHARE
from losslab.comparison.verdicts import MIN_SEEDS

POINT = 0.01


@dataclass(frozen=True)
class Respect:
    """One respect in which losses may differ."""

    title: str
    column: str
    """Column of runs.csv, or metric of verdicts.csv; `rare` stands for the IoU of the rarest class."""
    about: str
    is_judged: bool
    """Whether test images are known one by one, so that losslab has judged all pairs; else seeds alone tell."""
    lower_is_better: bool = False


RECALL = (
    "Share found of the pixels of objects of 0.1 to 1 % of an image; a loss that calls too much an object finds them too, "
    "so read it beside the mean IoU"
)
RESPECTS = (
    Respect("Borders", "boundary_iou", "Boundary IoU", is_judged=True),
    Respect(
        "Thin and rare classes", "rare", "IoU of the rarest class, if it has less than a tenth of the pixels", True
    ),
    Respect("Small objects", "recall_small", RECALL, is_judged=False),
    Respect(
        "Calibration",
        "ece",
        "Expected calibration error (ECE), of which a point less is a gain of 1",
        is_judged=False,
        lower_is_better=True,
    ),
)


@dataclass(frozen=True)
class Gain:
    """What a loss gains over cross entropy, in points; above zero is better."""

    points: float
    is_real: bool


def find_gains(kind: Kind, respect: Respect) -> dict[str, Gain]:
    """Find the gains of all losses that can be held against cross entropy in a respect; empty where the data have none."""
    if not respect.is_judged:
        return compare_seeds(kind, respect.column, -1 if respect.lower_is_better else 1)
    metric = kind.rare_metric if respect.column == "rare" else respect.column
    standings = {row["loss"]: row for row in kind.list_standings(metric)} if metric and kind.is_judged else {}
    return {
        loss: Gain(get_number(row, "gain") / POINT, row["gain_real"] == "yes")
        for loss, row in standings.items()
        if row["gain"]
    }


def compare_seeds(kind: Kind, column: str, sign: int) -> dict[str, Gain]:
    """Compare each loss with cross entropy by its runs on these very test images: Welch's test, averaged over nets.

    A net's few runs are not taken to vary less than half the median of all cells, and the level is shared by all losses. A
    loss that lacks seeds or numbers on some net is left out.
    """
    cells: dict[tuple[str, str], list[float]] = {}
    for row in kind.chosen:
        cells.setdefault((row["loss"], row["net"]), []).append(get_number(row, column))
    nets = sorted({net for _, net in cells})
    known = [variance(runs) for runs in cells.values() if len(runs) > 1 and not any(map(math.isnan, runs))]
    if not known or not _has_all(cells, REFERENCE, nets):
        return {}
    floor = MEDIAN_SHARE * median(known)
    losses = [loss for loss in kind.losses if loss != REFERENCE and _has_all(cells, loss, nets)]
    gains = {}
    for loss in losses:
        both = [cells[name, net] for name in (loss, REFERENCE) for net in nets]
        gained = mean(mean(cells[loss, net]) - mean(cells[REFERENCE, net]) for net in nets)
        parts = [max(variance(each), floor) / len(each) / len(nets) ** 2 for each in both]
        degrees = sum(parts) ** 2 / max(sum(p**2 / (len(e) - 1) for p, e in zip(parts, both, strict=True)), 1e-30)
        limit = float(special.stdtrit(max(degrees, 1.0), 1 - ALPHA / len(losses) / 2)) * math.sqrt(sum(parts))
        gains[loss] = Gain(sign * gained / POINT, abs(gained) > limit)
    return gains


def _has_all(cells: Mapping[tuple[str, str], Sequence[float]], loss: str, nets: Sequence[str]) -> bool:
    runs = [cells.get((loss, net), []) for net in nets]
    return all(len(each) >= MIN_SEEDS and not any(map(math.isnan, each)) for each in runs)
