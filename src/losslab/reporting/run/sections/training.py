"""The section on training: losses, val IoU, learning rate and the weights of ramped terms, epoch by epoch."""

import math

from losslab.formats import format_brief, format_plural, format_score
from losslab.reporting.components.axes import Axis, build_axis, build_epoch_axis
from losslab.reporting.components.charts import Chart, ChartSeries
from losslab.reporting.run.inputs import ReportInputs, read_column

MAX_CLASSES_SHOWN = 20
"""Classes with a line in a chart."""


def build_curves(outs: ReportInputs) -> list[Chart]:
    charts = [_draw_losses(outs), _draw_ious(outs)]
    if terms := _list_suffixes(outs, "train_loss_"):
        charts.append(_draw_terms(outs, terms))
    charts.append(_draw_rates(outs))
    if weights := _list_suffixes(outs, "weight_"):
        charts.append(_draw_weights(outs, weights))
    return charts


def _draw_losses(outs: ReportInputs) -> Chart:
    series = [_build_series(outs, "train", "train_loss", 0), _build_series(outs, "val", "val_loss", 1)]
    train, val = series[0].ys, series[1].ys
    reading = f"Final loss: {format_brief(train[-1])} on training images, {format_brief(val[-1])} on validation images."
    if len(train) > 1:
        lowest = min(range(len(val)), key=lambda index: math.inf if math.isnan(val[index]) else val[index])
        reading += f" Val loss is lowest in epoch {outs.history[lowest]['epoch']}."
    return _build_chart(outs, "loss", "Loss", reading, build_axis("loss", [*train, *val]), series)


def _draw_ious(outs: ReportInputs) -> Chart:
    classes = [name for name in outs.find_weakest(MAX_CLASSES_SHOWN) if f"val_iou_{name}" in outs.history[0]]
    series = [_build_series(outs, "mean", "val_miou", 0, heavy=True)]
    series += [_build_series(outs, name, f"val_iou_{name}", style) for style, name in enumerate(classes, start=1)]
    kept, best = outs.history[outs.kept]["epoch"], format_score(series[0].ys[outs.kept])
    reading = (
        f"Best of {format_plural(len(outs.history), 'epoch')}: epoch {kept}, val mIoU {best}. Its weights were kept."
    )
    if len(classes) < len(outs.classes):
        reading += f" The chart shows the {len(classes)} of {len(outs.classes)} classes that are weakest on test."
    return _build_chart(outs, "iou", "IoU on the validation images", reading, Axis("IoU (0 to 1)", 0.0, 1.0), series)


def _draw_terms(outs: ReportInputs, terms: list[str]) -> Chart:
    series = []
    for style, term in enumerate(terms):
        series.append(_build_series(outs, f"{term}, train", f"train_loss_{term}", style))
        if f"val_loss_{term}" in outs.history[0]:
            series.append(_build_series(outs, f"{term}, val", f"val_loss_{term}", style, dashed=True))
    values = [value for one in series for value in one.ys]
    reading = "Each term of the loss before its weight. Terms have different units: compare a line only with itself."
    return _build_chart(outs, "terms", "Terms of the loss", reading, build_axis("loss", values), series)


def _draw_rates(outs: ReportInputs) -> Chart:
    names = {"lr": "decoder" if "lr_encoder" in outs.history[0] else "all weights", "lr_encoder": "encoder"}
    series = [
        _build_series(outs, title, column, style)
        for style, (column, title) in enumerate(names.items())
        if column in outs.history[0]
    ]
    rates = list(series[0].ys)
    reading = f"{format_brief(rates[0])} in the first epoch, {format_brief(rates[-1])} in the last."
    if len(set(rates)) == 1:
        reading = f"{format_brief(rates[0])} in every epoch."
    values = [value for one in series for value in one.ys]
    return _build_chart(outs, "lr", "Learning rate", reading, build_axis("rate", values, from_zero=True), series)


def _draw_weights(outs: ReportInputs, terms: list[str]) -> Chart:
    series = [_build_series(outs, term, f"weight_{term}", style) for style, term in enumerate(terms)]
    values = [value for one in series for value in one.ys]
    axis = build_axis("weight", values, from_zero=True)
    reading = (
        "The weight of each term in the loss. While a weight changes, losses of different epochs are not comparable."
    )
    return _build_chart(outs, "weights", "Weights of ramped terms", reading, axis, series)


def _list_suffixes(outs: ReportInputs, prefix: str) -> list[str]:
    return [name.removeprefix(prefix) for name in outs.history[0] if name.startswith(prefix)]


def _build_series(
    outs: ReportInputs, name: str, column: str, style: int, dashed: bool = False, heavy: bool = False
) -> ChartSeries:
    xs, ys = read_column(outs.history, "epoch"), read_column(outs.history, column)
    return ChartSeries(name=name, xs=xs, ys=ys, style=style, dashed=dashed, heavy=heavy)


def _build_chart(outs: ReportInputs, name: str, title: str, reading: str, y: Axis, series: list[ChartSeries]) -> Chart:
    epochs = read_column(outs.history, "epoch")
    x, marks = build_epoch_axis(epochs), [(epochs[outs.kept], "kept")] if name in ("loss", "iou") else []
    return Chart(id=f"chart-{name}", title=title, reading=reading, x=x, y=y, series=series, marks=marks)
