"""The histogram of the test images' scores."""

import statistics

from losslab.formats import format_plural, format_score
from losslab.reporting.components.axes import Axis
from losslab.reporting.components.charts import Chart, ChartSeries
from losslab.reporting.run.inputs import ReportInputs

BINS = 20


def build_histogram(outs: ReportInputs) -> Chart | None:
    """Build a histogram of the mIoU of each test image; None if no image has one."""
    scores = outs.read_image_scores("test")
    if not scores:
        return None
    counts = [0.0] * BINS
    for one in scores:
        counts[min(int(one * BINS), BINS - 1)] += 1
    median = statistics.median(scores)
    low = sum(one < 0.5 for one in scores)
    below = format_plural(low, "image scores", "images score") if low else "none scores"
    middles = [(index + 0.5) / BINS for index in range(BINS)]
    return Chart(
        id="chart-images",
        title="Test images by their mIoU",
        reading=f"Half of the test images score above {format_score(median)}; {below} below 0.5.",
        x=Axis("mIoU of the image (0 to 1)", 0.0, 1.0),
        y=Axis("number of images", 0.0, max(counts) * 1.08, integer=True),
        series=[ChartSeries(name="test images", xs=middles, ys=counts, kind="bars")],
        marks=[(median, "median")],
        at=[f"{index / BINS:.2f}–{(index + 1) / BINS:.2f}" for index in range(BINS)],
    )
