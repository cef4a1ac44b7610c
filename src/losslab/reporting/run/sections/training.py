"""Curves over the epochs: losses, IoU on the validation images, learning rate, weights of ramped terms."""

import math
from collections.abc import Sequence

from losslab.formats import format_brief, format_score
from losslab.reporting.components.axes import Axis, build_axis
from losslab.reporting.components.charts import Chart, ChartMark, ChartSeries
from losslab.reporting.run.outs import ReportInputs, read_column

MOST_CLASSES = 20
"""Lines of classes in one chart."""


def build_curves(outs: ReportInputs) -> list[Chart]:
    found = [_losses(outs), _ious(outs)]
    if terms := _named(outs, "train_loss_"):
        found.append(_terms(outs, terms))
    found.append(_rates(outs))
    if weights := _named(outs, "weight_"):
        found.append(_weights(outs, weights))
    return found


def _losses(outs: ReportInputs) -> Chart:
    train, val = read_column(outs.history, "train_loss"), read_column(outs.history, "val_loss")
    series = [_series(outs, "train", train, 0), _series(outs, "val", val, 1)]
    reading = (
        f"At the end {format_brief(train[-1])} on the training images, {format_brief(val[-1])} on the validation images"
    )
    if len(train) > 1:
        lowest = min(range(len(val)), key=lambda index: math.inf if math.isnan(val[index]) else val[index])
        reading += f"; val is lowest in epoch {outs.history[lowest]['epoch']}"
    return _chart(outs, "loss", "Loss", f"{reading}.", build_axis("loss", train + val), series)


def _ious(outs: ReportInputs) -> Chart:
    mean = read_column(outs.history, "val_miou")
    classes = [name for name in outs.weakest(MOST_CLASSES) if f"val_iou_{name}" in outs.history[0]]
    series = [_series(outs, "mean", mean, 0, heavy=True)]
    series += [
        _series(outs, name, read_column(outs.history, f"val_iou_{name}"), style)
        for style, name in enumerate(classes, start=1)
    ]
    kept = outs.history[outs.kept]["epoch"]
    reading = (
        f"The weights of epoch {kept} were kept: val mIoU {format_score(mean[outs.kept])} is the best of {len(mean)}."
    )
    if len(classes) < len(outs.classes):
        reading += f" Shown are {len(classes)} of {len(outs.classes)} classes, those weakest on test."
    return _chart(outs, "iou", "IoU on the validation images", reading, Axis("IoU (0 to 1)", 0.0, 1.0), series)


def _terms(outs: ReportInputs, terms: list[str]) -> Chart:
    series = []
    for style, term in enumerate(terms):
        series.append(_series(outs, f"{term}, train", read_column(outs.history, f"train_loss_{term}"), style))
        if f"val_loss_{term}" in outs.history[0]:
            series.append(
                _series(outs, f"{term}, val", read_column(outs.history, f"val_loss_{term}"), style, dashed=True)
            )
    values = [value for one in series for value in one.ys]
    reading = (
        "Each term of the loss before its weight; terms have different units, so compare a line with its own past."
    )
    return _chart(outs, "terms", "Terms of the loss", reading, build_axis("loss", values), series)


def _rates(outs: ReportInputs) -> Chart:
    names = {"lr": "decoder" if "lr_encoder" in outs.history[0] else "all weights", "lr_encoder": "encoder"}
    series = [
        _series(outs, told, read_column(outs.history, name), style)
        for style, (name, told) in enumerate(names.items())
        if name in outs.history[0]
    ]
    rates = list(series[0].ys)
    reading = f"From {format_brief(rates[0])} in the first epoch to {format_brief(rates[-1])} in the last."
    if len(set(rates)) == 1:
        reading = f"{format_brief(rates[0])} in every epoch."
    values = [value for one in series for value in one.ys]
    return _chart(outs, "lr", "Learning rate", reading, build_axis("rate", values, from_zero=True), series)


def _weights(outs: ReportInputs, terms: list[str]) -> Chart:
    series = [
        _series(outs, term, read_column(outs.history, f"weight_{term}"), style) for style, term in enumerate(terms)
    ]
    values = [value for one in series for value in one.ys]
    reading = (
        "What each term counts for in the loss: while a weight changes, losses of different epochs do not compare."
    )
    return _chart(
        outs, "weights", "Weights of ramped terms", reading, build_axis("weight", values, from_zero=True), series
    )


def _named(outs: ReportInputs, prefix: str) -> list[str]:
    return [name.removeprefix(prefix) for name in outs.history[0] if name.startswith(prefix)]


def _series(
    outs: ReportInputs, name: str, ys: Sequence[float], style: int, dashed: bool = False, heavy: bool = False
) -> ChartSeries:
    return ChartSeries(name, read_column(outs.history, "epoch"), ys, style, dashed, heavy)


def _chart(outs: ReportInputs, name: str, title: str, reading: str, y: Axis, series: list[ChartSeries]) -> Chart:
    epochs = read_column(outs.history, "epoch")
    x = Axis("epoch", epochs[0] - 0.5, epochs[-1] + 0.5, whole=True)
    if len(epochs) > 1:
        x = Axis("epoch", epochs[0], epochs[-1], whole=True)
    marks = [ChartMark(epochs[outs.kept], "kept")] if name in ("loss", "iou") else []
    return Chart(f"chart-{name}", title, reading, x, y, series, marks)
