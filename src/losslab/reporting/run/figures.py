"""The figures of one run, as PNG files that depend on the input alone."""

import math
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ticker import MaxNLocator, NullFormatter

from losslab.reporting.components.figures import BLUE, GREEN, GREY, ORANGE, label_axes, new_figure, save_figure
from losslab.reporting.run.inputs import ReportInputs, Table, read_column, select_split

MAX_CLASSES_NUMBERED = 20
"""Classes of a matrix with numbers in its cells; the cells of a larger one are too small, and slow to draw."""


def draw_figures(outs: ReportInputs, folder: Path) -> None:
    """Write curves.png, confusion.png, iou_by_class.png, iou_by_image.png and reliability.png, whatever matplotlibrc says."""
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, "text.parse_math": False}):  # names are no formulas
        draw_curves(outs, folder / "curves.png")
        if not outs.has_overlapping_classes:
            draw_confusion(select_split(outs.confusion, "test"), folder / "confusion.png")
        draw_iou_by_class(outs.per_class, folder / "iou_by_class.png")
        draw_iou_by_image(outs.read_image_scores("test"), folder / "iou_by_image.png")
        draw_reliability(outs.calibration, folder / "reliability.png")


def draw_curves(outs: ReportInputs, path: Path) -> None:
    """Draw loss and val mIoU over the epochs."""
    history, best = outs.history, outs.kept
    figure = new_figure(9.0, 3.4)
    left, right = figure.subplots(1, 2)
    epochs = [int(row["epoch"]) for row in history]
    for name, colour, label in (("train_loss", BLUE, "train"), ("val_loss", ORANGE, "val")):
        left.plot(epochs, read_column(history, name), color=colour, marker="o", markersize=3, label=label)
    losses = np.array([read_column(history, "train_loss"), read_column(history, "val_loss")])
    if np.nanmin(losses) > 0 and np.nanmax(losses) > 20 * np.nanmin(losses):
        left.set_yscale("log")  # one early outlier would flatten the rest
        left.yaxis.set_major_formatter("{x:g}")  # the default writes TeX, and text here is text
        left.yaxis.set_minor_formatter(NullFormatter())
    left.legend(frameon=False)
    label_axes(left, "Loss", "epoch", "loss")
    miou = read_column(history, "val_miou")
    right.plot(epochs, miou, color=BLUE, marker="o", markersize=3, label="mean")
    for name in history[0]:
        if name.startswith("val_iou_") and len(history[0]) < 20:
            scores = read_column(history, name)
            right.plot(epochs, scores, color=GREY, linewidth=0.8, alpha=0.8)
            if not math.isnan(scores[-1]):
                right.annotate(name.removeprefix("val_iou_"), (epochs[-1], scores[-1]), fontsize=7, color=GREY)
    right.plot(epochs[best], miou[best], "o", color=ORANGE, markersize=7, label=f"kept: epoch {epochs[best]}")
    right.set_ylim(0, 1)
    right.legend(frameon=False, loc="lower right")
    label_axes(right, "IoU on the validation images", "epoch", "IoU")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(0.5, len(epochs) + 0.5)
    save_figure(figure, path)


def draw_confusion(confusion: Table, path: Path) -> None:
    """Draw the test images' confusion matrix, each row divided by the true pixels of its class."""
    names = [row["truth"] for row in confusion]
    counts = np.array([[float(row[name]) for name in names] for row in confusion])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(3.6, 0.55 * len(names) + 2), 14.0)
    figure = new_figure(side, side)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= MAX_CLASSES_NUMBERED:
        for i, j in np.ndindex(shares.shape):
            colour = "white" if shares[i, j] > 0.55 else "black"
            number = axes.text(j, i, f"{100 * shares[i, j]:.1f}", ha="center", va="center", fontsize=8, color=colour)
            number.set_in_layout(False)  # it lies within the axes; measuring each takes long
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    label_axes(axes, "Confusion, % of true pixels (test)", "predicted", "truth")
    axes.grid(visible=False)
    save_figure(figure, path)


def draw_iou_by_class(per_class: Table, path: Path) -> None:
    """Draw the IoU of each class on val and test."""
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
    save_figure(figure, path)


def draw_iou_by_image(scores: list[float], path: Path) -> None:
    """Draw a histogram of the test images' mIoU."""
    figure = new_figure(6.0, 2.8)
    axes = figure.subplots()
    axes.hist(scores, bins=np.linspace(0, 1, 41).tolist(), color=BLUE)
    if scores:
        axes.axvline(float(np.median(scores)), color=ORANGE, label=f"median {np.median(scores):.3f}")
        axes.legend(frameon=False)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    label_axes(axes, "Test images by their mIoU", "mIoU of the image", "images")
    save_figure(figure, path)


def draw_reliability(calibration: Table, path: Path) -> None:
    """Draw accuracy against confidence on val and test."""
    figure = new_figure(3.8, 3.6)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--", label="as it says")
    for split, colour in (("val", GREEN), ("test", BLUE)):
        rows = select_split(calibration, split)
        confidence, accuracy = read_column(rows, "confidence"), read_column(rows, "accuracy")
        axes.plot(confidence, accuracy, color=colour, marker="o", markersize=3, label=split)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.legend(frameon=False)
    label_axes(axes, "Reliability", "mean confidence of the bin", "accuracy of its pixels")
    save_figure(figure, path)
