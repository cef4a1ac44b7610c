"""A figure of all losses on all kinds of data: means with their intervals."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.odyssey.tables import Kind, get_number
from losslab.io.files import atomic_write

COLUMNS = 4
LEADING, OTHER = "#00796b", "#9e9e9e"


def draw_intervals(kinds: Sequence[Kind], order: Sequence[str], path: Path) -> None:
    """Draw the mean IoU of each loss with its interval, a panel for each kind of data; the same bytes each time.

    `order` are the losses from top to bottom. Those that are not shown to be worse have the colour.
    """
    columns = min(COLUMNS, len(kinds))
    rows = math.ceil(len(kinds) / columns)
    with rc_context(
        {"svg.hashsalt": "losslab", "svg.fonttype": "none", "font.size": 8, "font.sans-serif": ["DejaVu Sans"]}
    ):
        figure = Figure(figsize=(1.6 + 2.1 * columns, 0.6 + (0.17 * len(order) + 0.6) * rows), layout="constrained")
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flat
        for kind, panel in zip(kinds, panels, strict=False):
            _draw_kind(kind, order, panel)
            panel.set_title(kind.title)
            panel.set_yticks(range(len(order)), order)
            panel.set_ylim(len(order) - 0.5, -0.5)
            panel.tick_params(left=False)
            panel.spines[["top", "right"]].set_visible(False)
        for panel in list(panels):
            panel.set_visible(False)
        figure.supxlabel("mean IoU on test, with its 95 % interval", fontsize=8)
        with atomic_write(path) as partial:
            figure.savefig(partial, format="svg", metadata={"Date": None})


def _draw_kind(kind: Kind, order: Sequence[str], panel: Axes) -> None:
    """Draw the means and intervals of one kind of data, all of a colour as one line with gaps, to keep the file small."""
    standings = kind.list_standings("miou")
    leading = kind.list_leading()
    for colour, is_leading in ((OTHER, False), (LEADING, True)):
        rows = [(order.index(row["loss"]), row) for row in standings if (row["loss"] in leading) is is_leading]
        ends = [end for _, row in rows for end in (get_number(row, "low"), get_number(row, "high"), math.nan)]
        panel.plot(ends, [place for place, _ in rows for _ in range(3)], color=colour, solid_capstyle="butt")
        panel.plot(
            [get_number(row, "mean") for _, row in rows], [place for place, _ in rows], "o", color=colour, ms=3.5
        )
    sides, places = [*panel.get_xlim(), math.nan] * len(order), [place for place in range(len(order)) for _ in range(3)]
    panel.plot(sides, places, color="#e0e0e0", linewidth=0.5, zorder=0, scalex=False)
