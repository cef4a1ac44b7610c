"""A figure of all losses on all kinds of data: means with their intervals."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks.odyssey.tables import Kind, get_number
from losslab.io.files import atomic_write

COLUMNS = 4
LEADING, OTHER = "#00796b", "#9e9e9e"


def draw_intervals(kinds: Sequence[Kind], order: Sequence[str], path: Path) -> None:
    """Draw the mean IoU of each loss with its interval, a panel for each kind of data; the same bytes each time.

    `order` are the losses from top to bottom. Those that lead have the colour.
    """
    columns = min(COLUMNS, len(kinds))
    rows = math.ceil(len(kinds) / columns)
    places = {loss: place for place, loss in enumerate(order)}
    with rc_context({"svg.hashsalt": "losslab", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(1.6 + 2.1 * columns, 0.6 + (0.17 * len(order) + 0.6) * rows), layout="constrained")
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flat
        for kind, panel in zip(kinds, panels, strict=False):
            for row in kind.list_standings("miou"):
                colour, place = LEADING if row["leading"] == "yes" else OTHER, places[row["loss"]]
                mean, low, high = (get_number(row, name) for name in ("mean", "low", "high"))
                if not math.isnan(low):
                    panel.plot([low, high], [place, place], color=colour, linewidth=1.5, solid_capstyle="butt")
                panel.plot([mean], [place], "o", color=colour, markersize=3.5)
            panel.set_title(kind.title)
            panel.set_yticks(range(len(order)), order)
            panel.set_ylim(len(order) - 0.5, -0.5)
            panel.grid(axis="y", color="#e0e0e0", linewidth=0.5)
            panel.spines[["top", "right"]].set_visible(False)
        for panel in list(panels):
            panel.set_visible(False)
        figure.supxlabel("mean IoU on test, with its 95 % interval", fontsize=8)
        with atomic_write(path) as partial:
            figure.savefig(partial, format="svg", metadata={"Date": None})
