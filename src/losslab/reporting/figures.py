"""The figures of one run, as PNG files that depend on nothing but their input."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from losslab.files import whole

# Okabe and Ito's colours, told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#666666"
Table = Sequence[Mapping[str, str]]


def draw_all(history: Table, confusion: Table, per_class: Table, per_image: Table, folder: Path) -> None:
    """Write curves.png, confusion.png, iou_by_class.png and iou_by_image.png, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context(matplotlib.rcParamsDefault):
        draw_curves(history, folder / "curves.png")
        draw_confusion(confusion, folder / "confusion.png")
        draw_iou_by_class(per_class, folder / "iou_by_class.png")
        draw_iou_by_image(per_image, folder / "iou_by_image.png")


def draw_curves(history: Table, path: Path) -> None:
    """Loss and val mIoU over epochs."""
    figure = new_figure(9.0, 3.4)
    left, right = figure.subplots(1, 2)
    epochs = [int(row["epoch"]) for row in history]
    for column, colour, label in (("train_loss", BLUE, "train"), ("val_loss", ORANGE, "val")):
        left.plot(epochs, _column(history, column), color=colour, marker="o", markersize=3, label=label)
    losses = np.array([_column(history, "train_loss"), _column(history, "val_loss")])
    if np.nanmin(losses) > 0 and np.nanmax(losses) > 20 * np.nanmin(losses):
        left.set_yscale("log")  # one early outlier would flatten the rest
    left.legend(frameon=False)
    label_axes(left, "Loss", "epoch", "loss")
    miou = _column(history, "val_miou")
    right.plot(epochs, miou, color=BLUE, marker="o", markersize=3, label="mean")
    for column in history[0]:
        if column.startswith("val_iou_") and len(history[0]) < 20:
            right.plot(epochs, _column(history, column), color=GREY, linewidth=0.8, alpha=0.8)
            right.annotate(
                column.removeprefix("val_iou_"), (epochs[-1], _column(history, column)[-1]), fontsize=7, color=GREY
            )
    best = int(np.nanargmax(miou))
    right.plot(epochs[best], miou[best], "o", color=ORANGE, markersize=7, label=f"kept: epoch {epochs[best]}")
    right.set_ylim(0, 1)
    right.legend(frameon=False, loc="lower right")
    label_axes(right, "IoU on the validation images", "epoch", "IoU")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(0.5, len(epochs) + 0.5)
    _save(figure, path)


def draw_confusion(confusion: Table, path: Path) -> None:
    """The test images' confusion matrix, each row divided by the true pixels of its class."""
    names = [row["truth"] for row in confusion]
    counts = np.array([[float(row[name]) for name in names] for row in confusion])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(3.6, 0.55 * len(names) + 2)
    figure = new_figure(side, side)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(shares.shape):
        colour = "white" if shares[row, column] > 0.55 else "black"
        axes.text(column, row, f"{100 * shares[row, column]:.1f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    label_axes(axes, "Confusion, % of true pixels (test)", "predicted", "truth")
    axes.grid(visible=False)
    _save(figure, path)


def draw_iou_by_class(per_class: Table, path: Path) -> None:
    """IoU of each class on val and test."""
    names = list(dict.fromkeys(row["class"] for row in per_class))
    figure = new_figure(6.0, max(2.0, 0.45 * len(names) + 1.1))
    axes = figure.subplots()
    for offset, split, colour in ((-0.19, "val", GREEN), (0.19, "test", BLUE)):
        scores = [float(row["iou"] or "nan") for row in per_class if row["split"] == split]
        bars = axes.barh(np.arange(len(names)) + offset, scores, height=0.36, color=colour, label=split)
        axes.bar_label(bars, [f"{score:.3f}" for score in scores], padding=3, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=2)
    label_axes(axes, "IoU by class", "IoU", "")
    _save(figure, path)


def draw_iou_by_image(per_image: Table, path: Path) -> None:
    """How the test images' mIoU spreads."""
    scores = [float(row["iou"] or "nan") for row in per_image if row["split"] == "test"]
    figure = new_figure(6.0, 2.8)
    axes = figure.subplots()
    axes.hist(scores, bins=np.linspace(0, 1, 41).tolist(), color=BLUE)
    axes.axvline(float(np.nanmedian(scores)), color=ORANGE, label=f"median {np.nanmedian(scores):.3f}")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    label_axes(axes, "Test images by their mIoU", "mIoU of the image", "images")
    _save(figure, path)


def new_figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    figure.patch.set_facecolor("white")
    return figure


def label_axes(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)


def _column(table: Table, name: str) -> list[float]:
    return [float(row[name] or "nan") for row in table]


def _save(figure: Figure, path: Path) -> None:
    with whole(path) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None})
