"""How the scores of the test images spread."""

import statistics

from losslab.formats import format_plural, format_score
from losslab.reporting.components.axes import Axis
from losslab.reporting.components.charts import Chart, ChartMark, ChartSeries
from losslab.reporting.run.outs import ReportInputs

BINS = 20


def build_histogram(outs: ReportInputs) -> Chart | None:
    """A histogram of the test images' own mIoU; None where no image has one."""
    scores = outs.image_scores("test")
    if not scores:
        return None
    counts = [0.0] * BINS
    for one in scores:
        counts[min(int(one * BINS), BINS - 1)] += 1
    median = statistics.median(scores)
    low = sum(one < 0.5 for one in scores)
    below = format_plural(low, "image scores", "images score") if low else "none scores"
    return Chart(
        "chart-images",
        "Test images by their mIoU",
        f"Half of the test images score above {format_score(median)}; {below} below 0.5.",
        Axis("mIoU of the image (0 to 1)", 0.0, 1.0),
        Axis("number of images", 0.0, max(counts) * 1.08, whole=True),
        [ChartSeries("test images", [(index + 0.5) / BINS for index in range(BINS)], counts, 0, kind="bars")],
        [ChartMark(median, "median")],
        at=[f"{index / BINS:.2f}–{(index + 1) / BINS:.2f}" for index in range(BINS)],
    )
