"""The advice in words: why each loss, and what there is to doubt."""

from losslab.advice.choice import BASELINE, Advice, Aspect, ChosenLoss, LeanedKind
from losslab.data.measures import DatasetMeasures
from losslab.formats import format_list, format_percent

COMPARED = ("cross_entropy", BASELINE)
"""Losses that a loss is compared with in words, where the present one has no rows."""
ASPECTS_SHOWN = 2


def explain_kind(kind: LeanedKind, measured: DatasetMeasures) -> str:
    """Say how much the advice leans on a kind of data, in what it is nearer than others, and in what it differs most."""
    alike, unlike = kind.alike[:ASPECTS_SHOWN], _find_most_unlike(kind, measured)
    likeness = format_list([_compare(aspect, kind, measured) for aspect in alike])
    said = f"{kind.results.kind}, {format_percent(kind.weight)} %: because of {likeness}"
    is_level = unlike.measure_distance(measured, kind.results.measures) < 0.01
    return said if unlike in alike or is_level else f"{said}, despite {_compare(unlike, kind, measured)}"


def explain_loss(chosen: ChosenLoss, advice: Advice, present: str) -> str:
    """Say how a loss did on the kinds of data that the advice leans on; `present` is the loss that is used now."""
    parts = []
    for kind in advice.leading_kinds:
        gaps = kind.results.gaps
        best = min(gaps, key=lambda loss: gaps[loss])
        other = next((loss for loss in (present, *COMPARED) if loss in gaps and loss not in (chosen.loss, best)), None)
        gap = f"the best of {len(gaps)}" if best == chosen.loss else f"{gaps[chosen.loss]:.1f} below the best ({best})"
        against = "" if other is None else f", {write_difference(gaps[other] - gaps[chosen.loss])} {other}"
        parts.append(f"on {kind.results.kind} {gap}{against}")
    return "; ".join(parts)


def write_difference(points: float) -> str:
    """Write a difference in points, above or below.

    >>> write_difference(2.13), write_difference(-0.5), write_difference(0.01)
    ('2.1 above', '0.5 below', 'level with')
    """
    if f"{abs(points):.1f}" == "0.0":
        return "level with"
    return f"{abs(points):.1f} {'above' if points > 0 else 'below'}"


def _find_most_unlike(kind: LeanedKind, measured: DatasetMeasures) -> Aspect:
    return max(kind.alike, key=lambda aspect: aspect.measure_distance(measured, kind.results.measures))


def _compare(aspect: Aspect, kind: LeanedKind, measured: DatasetMeasures) -> str:
    theirs, yours = (aspect.show(aspect.read(each)) for each in (kind.results.measures, measured))
    return f"{aspect.name} ({theirs}; yours {yours})"


def list_doubts(advice: Advice, measured: DatasetMeasures, overlapping: bool) -> list[str]:
    """List what makes the advice doubtful, a sentence each."""
    nearest, doubts = advice.kinds[0], []
    if len(advice.kinds) == 1:
        doubts.append(
            f"There are rows of one kind of data alone, {nearest.results.kind}: the measures choose nothing yet."
        )
    elif advice.is_far:
        unlike = _compare(_find_most_unlike(nearest, measured), nearest, measured)
        doubts.append(
            f"No kind of data is much like this one: the nearest, {nearest.results.kind}, differs most in {unlike}."
        )
    if overlapping:
        doubts.append("No kind of data has overlapping classes: the losses left were compared on others.")
    expected = [round(loss.expected, 1) for loss in advice.losses]
    if expected[0] > min(expected):
        doubts.append(f"{advice.losses[0].loss} comes first: it is not shown that another is better.")
    spread = max(expected) - min(expected)
    if len(advice.losses) > 1 and advice.noise and spread < 2 * advice.noise:
        doubts.append(
            f"They differ by {spread:.1f} points, which seeds alone can make (standard error {advice.noise:.1f}): their "
            "order says nothing."
        )
    if advice.left_out:
        doubts.append(
            f"Left out, as the dataset refuses them or they lack runs: {format_list(advice.left_out, max_shown=8)}."
        )
    return doubts
