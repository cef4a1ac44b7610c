"""How to read the numbers, for somebody who knows segmentation better than statistics; and why nothing may be judged."""

from losslab.comparison.result import Comparison
from losslab.formats import format_count


def explain_no_verdict(comparison: Comparison) -> str | None:
    """Why there is no verdict; None where there is one."""
    if comparison.verdict is not None:
        return None
    if len(comparison.cells) < 2:
        return "Nothing is judged: there is one cell alone, so nothing to compare it with."
    if not comparison.metric.has_images:
        return (
            f"Nothing is judged: {comparison.metric.why_not}, so nobody knows how much another test set "
            "would change it. The order below is that of the means alone."
        )
    return "Nothing is judged: the scores of single images are not known. The order below is that of the means alone."


def build_reading_guide(comparison: Comparison) -> list[str]:
    metric = comparison.metric
    direction = "higher" if metric.higher_is_better else "lower"
    ours = f"{metric.title}: {metric.about.rstrip('.')}; {direction} is better. The ± is the standard deviation over seeds."
    if comparison.verdict is None:
        return [
            ours,
            "The spread over seeds says how much another training run changes a number, but not how much other test images would: "
            "a difference within either is no difference yet.",
        ]
    fewest = min(standing.seeds for standing in comparison.verdict.standings)
    return [
        ours,
        f"All cells are scored on the same {format_count(comparison.images)} test images, so images are compared one by one "
        "(paired). "
        "Seeds are not paired: another loss or net is another training run, whatever its seed is called.",
        "A 95 % interval therefore counts both what other seeds and what other test images would change; where it holds zero, "
        "the two cannot be told apart. As the variance of few seeds is itself unsure, it uses Satterthwaite's degrees of "
        "freedom, and takes no cell's runs to vary less than the median cell's.",
        "Among many pairs some differ by chance. p-values are raised for their number (Holm), so that the claims of a table are "
        "all true in at least 95 of 100 studies; an interval is that of its pair alone, and may leave out zero where p does not "
        "stay below 0.05.",
        "“Cannot be told apart” does not mean equal: more seeds or more test images may show a difference later.",
        "With one seed nothing can be said of a loss or a net: such differences are of these very nets, and another seed may "
        "turn them round."
        if fewest < 2
        else "All holds for this dataset, these settings and this number of epochs; another dataset is another study.",
    ]
