"""Matplotlib figures with a common look, and files whose bytes depend on the input alone."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from losslab.io.files import atomic_write

# Okabe and Ito's colours, which colour-blind readers can distinguish too.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#666666"


def new_figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    figure.patch.set_facecolor("white")
    return figure


def label_axes(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)


def save_figure(figure: Figure, path: Path) -> None:
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None})
