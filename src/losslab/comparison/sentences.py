"""Sentences on a pair of cells: which is better, by how much, on what evidence, and what would show a difference."""

from losslab.comparison.statistics import ALPHA
from losslab.comparison.verdicts import MIN_SEEDS, MIN_UNITS, JudgedPair
from losslab.formats import format_p_statement, format_plural

LOOK_ONCE = "add them with `losslab study run --until-decided`, as looking again after each raises false claims"


def write_sentence(pair: JudgedPair) -> str:
    """Write in one sentence what may be said of two cells, or labels of an axis.

    >>> from losslab.comparison.statistics import Estimate, VariancePart, VarianceParts
    >>> runs, images = (VariancePart(1e-5, 3),) * 2, (VariancePart(1e-3, 60),)
    >>> estimate = Estimate(0.021, 0.008, 0.033, 0.004, VarianceParts(runs, images))
    >>> write_sentence(JudgedPair(better="dice", worse="bce", gap=0.021, estimate=estimate))
    'dice beats bce by 2.1 points (95 % CI 0.8 to 3.3, p = 0.004; 3 seeds, 60 test images).'
    """
    gap = f"{pair.gap / pair.point:.1f} {_name_unit(pair)}s"
    estimate = pair.estimate or pair.images_only
    if estimate is None or pair.p is None:
        return f"{pair.better} and {pair.worse} cannot be compared: there is only one {pair.unit}."
    interval = f"95 % CI {estimate.low / pair.point:.1f} to {estimate.high / pair.point:.1f}"
    if pair.estimate is None:
        differ = "differ" if pair.p < ALPHA and pair.units >= MIN_UNITS else "cannot be told apart"
        return (
            f"{pair.better} is {gap} better than {pair.worse} with one seed: these two nets {differ} on such images "
            f"({interval}; {format_plural(pair.units, pair.unit)}); one seed cannot tell whether another would reverse the order."
        )
    if not pair.may_be_claimed:
        seeds, units = format_plural(pair.seeds, "seed"), format_plural(pair.units, pair.unit)
        few, other, needed = (seeds, units, MIN_SEEDS) if pair.seeds < MIN_SEEDS else (units, seeds, MIN_UNITS)
        return (
            f"{pair.better} is {gap} better than {pair.worse} with {few} ({interval}; {other}): too few to claim a "
            f"difference, which takes {needed}."
        )
    tested = f"{interval}, p {format_p_statement(pair.p)}"
    evidence = f"{tested}; {pair.basis}"
    if pair.is_real:
        within = f", which is less than {describe_margin(pair)}" if pair.is_equivalent else ""
        return f"{pair.better} beats {pair.worse} by {gap} ({evidence}){within}."
    if pair.is_equivalent:
        return (
            f"{pair.better} and {pair.worse} are equivalent within {describe_margin(pair)}: {gap} apart ({evidence})."
        )
    basis = pair.basis.replace(", ", " and ")
    return f"{pair.better} and {pair.worse} cannot be told apart with {basis} ({gap}, {tested}); {write_outlook(pair)}."


def write_outlook(pair: JudgedPair) -> str:
    """Write what would show a difference of two cells that cannot be told apart, as the end of a sentence."""
    return "; ".join(list_needs(pair))


def list_needs(pair: JudgedPair) -> list[str]:
    """List how many more seeds, and how many test images, would show a difference of a point, as clauses."""
    fewest, most = pair.seeds_to_see_a_point
    difference = f"difference of 1 {_name_unit(pair)}"
    if most is not None and most <= pair.seeds:
        return [f"a true {difference} would probably have been seen"]
    if fewest is None:
        seeds = f"with so few {pair.unit}s, no number of seeds would show a {difference}"
    else:
        more = _count_more_seeds(pair.seeds, fewest, most)
        seeds = f"{more} per cell would be needed to see a {difference} ({LOOK_ONCE})"
    units, now = pair.units_to_see_a_point, format_plural(pair.seeds, "seed")
    if units is None:
        return [seeds, f"with {now}, more {pair.unit}s alone would hardly show it"]
    return [seeds, f"with {now}, about {format_plural(units, pair.unit)} would show it"][: 1 + (units > pair.units)]


def describe_margin(pair: JudgedPair) -> str:
    """Describe the difference below which two are called equivalent: `1 point`."""
    size = (pair.margin or 0.0) / pair.point
    return f"{size:g} {_name_unit(pair)}{'' if size == 1 else 's'}"


def _count_more_seeds(seeds: int, fewest: int, most: int | None) -> str:
    low, high = fewest - seeds, None if most is None else most - seeds
    if high is None:
        more = f"at least {max(low, 1)}"
    else:
        more = f"up to {high}" if low <= 0 else f"about {high}" if low == high else f"about {low} to {high}"
    return f"{more} more {'seed' if more.split()[-1] == '1' else 'seeds'}"


def _name_unit(pair: JudgedPair) -> str:
    return "pixel" if pair.point == 1 else "point"
