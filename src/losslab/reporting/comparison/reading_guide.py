"""Guide to the numbers for readers who know segmentation better than statistics, and reasons why nothing is judged."""

from losslab.comparison.result import Comparison
from losslab.comparison.sentences import describe_margin
from losslab.formats import format_count


def explain_no_verdict(comparison: Comparison) -> str | None:
    """Explain why there is no verdict; None where there is one."""
    if comparison.verdict is not None:
        return None
    if len(comparison.cells) < 2:
        return "Nothing is judged: there is only one cell, so nothing to compare it with."
    why = "the scores of single images are not known"
    if not comparison.metric.has_images:
        why = f"{comparison.metric.why_not}, so it is not known how much another test set would change it"
    return f"Nothing is judged: {why}. The order below is that of the means alone."


def build_reading_guide(comparison: Comparison) -> list[str]:
    metric = comparison.metric
    direction = "higher" if metric.higher_is_better else "lower"
    ours = f"{metric.title}: {metric.about.rstrip('.')}; {direction} is better. The ± is the standard deviation over seeds."
    if comparison.verdict is None:
        return [
            ours,
            "The spread over seeds shows how much another training run changes a number, but not how much other test images would. "
            "A difference within either is no difference yet.",
        ]
    margin = describe_margin(comparison.verdict.pairs[0])
    fewest = min(standing.seeds for standing in comparison.verdict.standings)
    grouped = (
        f"Images of one group, such as a patient or a video, are not independent: the {comparison.test_set} count as "
        f"{comparison.units} independent units, and groups are what is compared."
    )
    return [
        ours,
        f"All cells are scored on the same {format_count(comparison.images)} test images, so images are compared one by one "
        "(paired). Seeds are not paired: another loss or net is another training run, even with the same seed.",
        *([grouped] if comparison.units != comparison.images else []),
        "A 95 % interval therefore counts both what other seeds and what other test images would change, and once what both do "
        "together (a mixed model). Where it includes zero, the two cannot be told apart. As the variance of a few seeds is itself "
        "uncertain, it uses Satterthwaite's degrees of freedom, assumes that no cell's runs vary less than half as much as the "
        "median cell's, and is as much wider as simulated studies with so few seeds and cells need.",
        "Among many pairs some differ by chance. Intervals of differences and p-values are therefore adjusted for all pairs that "
        "are judged together (Bonferroni): in at least 95 of 100 studies all intervals of differences hold, and so do all claims. "
        "An interval excludes zero exactly where p is below 0.05. The interval of a cell's mean is for that mean alone.",
        f"“Equivalent within {margin}” is a claim of its own: two one-sided tests, at the same level, show that the difference is "
        f"less than {margin} either way. Two can be both: really different, and by less than {margin}.",
        "“Cannot be told apart” does not mean equal: more seeds or more test images may show a difference later. "
        + (
            "Whoever adds seeds one by one and looks again each time makes a false claim several times as often, unless each look "
            "is stricter: `losslab study run --until-decided` does so, else decide on their number first."
            if comparison.verdict.pairs[0].looks.is_one_look
            else "Seeds were added until all was decided: each look is so strict that all looks together hold as often as one."
        ),
        "With one seed nothing can be said about a loss or a net: such differences hold for these very nets, and another seed "
        "may reverse them."
        if fewest < 2
        else "All of this holds for this dataset, these settings and this number of epochs; another dataset is another study.",
    ]
