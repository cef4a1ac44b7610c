"""reports/losses.html: a card for each loss with its formula, cost and behaviour on small scenes."""

import inspect
import io
import os
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from latex2mathml.converter import convert
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from PIL import Image

from losslab.formats import format_plural
from losslab.io.files import write_text
from losslab.losses import build_loss
from losslab.losses.registry import LossKind, LossSpec, find_loss
from losslab.reporting.components.figures import BLUE, GREEN, GREY, ORANGE, label_axes, new_figure
from losslab.reporting.components.pictures import encode_image, encode_uri
from losslab.reporting.components.rendering import render_template
from losslab.reporting.losses.probes import PROBABILITIES, STEP_SHAPE, SURE, LossProbes, draw_shapes, probe_loss

TITLES: dict[LossKind, str] = {
    "pixel": "Pixel by pixel",
    "region": "Regions and their overlap",
    "boundary": "Borders and distances",
    "structure": "Structure and topology",
    "regulariser": "Regularisers",
    "plug-in": "Your own",
}
RIGHT, MISSED, INVENTED = (0, 114, 178), (230, 159, 0), (213, 94, 0)
"""Colours of the pictures of shapes: true positives, false negatives, false positives."""


@dataclass(frozen=True, kw_only=True)
class LossCard:
    spec: LossSpec
    formula: Markup
    detail: Markup
    probes: LossProbes
    figures: dict[str, str]
    added: dict[str, float]
    """Shape → loss above that of the exact shape."""


def write_loss_cards(path: Path, hardware: str, names: Iterable[str]) -> None:
    """Probe each named loss and write the page; `names` is iterated once, so it may show progress."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1  # before the losses are a load themselves
    cards = [_build_card(find_loss(name)) for name in names]
    times = {card.spec.name: card.probes.cost.milliseconds for card in cards}
    page = render_template(
        "losses/page.html.j2",
        groups={
            title: of_kind
            for kind, title in TITLES.items()
            if (of_kind := [card for card in cards if card.spec.kind == kind])
        },
        base=times.get("cross_entropy"),
        shapes=_draw_pictures(),
        legend={"correct": RIGHT, "missed": MISSED, "invented": INVENTED},
        sure=SURE,
        step="×".join(map(str, STEP_SHAPE)),
        hardware=hardware,
        busy=f"{load:.1f} on {format_plural(cores, 'core')}" if load > cores else None,
        python=platform.python_version(),
        shade=_compute_shade,
    )
    write_text(path, page)


def _build_card(spec: LossSpec) -> LossCard:
    probes = probe_loss(spec.name)
    exact = probes.shapes["exact"]
    return LossCard(
        spec=spec,
        formula=_render_formula(spec.formula),
        detail=_render_detail(spec),
        probes=probes,
        figures=_draw_figures(probes),
        added={name: value - exact for name, value in probes.shapes.items() if name != "exact"},
    )


def _render_formula(latex: str) -> Markup:
    """Render MathML, with names of several letters upright."""
    return Markup(convert(re.sub(r"\b(TP|TN|FP|FN|CE|Dgm)\b", r"\\mathrm{\1}", latex), display="block"))


def _render_detail(spec: LossSpec) -> Markup:
    """Render the docstring of the loss as paragraphs, with names in code."""
    text = (inspect.getdoc(type(build_loss(spec.name, 1).losses[spec.name])) or "").partition("\n\nExample:")[0]
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    coded = [re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(part))) for part in paragraphs]
    return Markup("".join(f"<p>{part}</p>" for part in coded))


def _compute_shade(card: LossCard, shape: str) -> str:
    """Compute the shade of a cell in percent: the added loss as a share of the largest in its row."""
    largest = max(abs(value) for value in card.added.values())
    share = card.added[shape] / largest if largest > 1e-9 else 0.0
    return f"{100 * max(share, 0):.0f}"


def _draw_figures(probes: LossProbes) -> dict[str, str]:
    with matplotlib.rc_context(matplotlib.rcParamsDefault | {"svg.hashsalt": "losslab", "svg.fonttype": "none"}):
        return {"curves": _draw_curves(probes), "masks": _draw_masks(probes), "shapes": _draw_shapes(probes)}


def _draw_curves(probes: LossProbes) -> str:
    figure = new_figure(4.4, 4.6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    for curve, colour, label in (
        (probes.on_truth, BLUE, "y = 1: the disc gets p"),
        (probes.on_background, ORANGE, "y = 0: the rest gets p"),
    ):
        upper.plot(PROBABILITIES, curve.loss, color=colour, label=label)
        lower.plot(PROBABILITIES, curve.push, color=colour)
    lower.axhline(0, color=GREY, linewidth=0.6)
    upper.legend(frameon=False, fontsize=8)
    label_axes(upper, "Loss", "", "")
    label_axes(lower, "Push on the logits (-gradient, summed)", "p", "")
    return _encode_svg(figure)


def _draw_masks(probes: LossProbes) -> str:
    figure = new_figure(4.4, 2.6)
    axes = figure.subplots()
    for (name, values), colour in zip(probes.masks.items(), (BLUE, ORANGE, GREEN), strict=True):
        axes.plot(PROBABILITIES, values, color=colour, label=name)
    axes.legend(frameon=False, fontsize=8)
    label_axes(axes, "Loss where all pixels get p", "p", "")
    return _encode_svg(figure)


def _draw_shapes(probes: LossProbes) -> str:
    figure = new_figure(4.4, 2.0)
    axes = figure.subplots()
    values = list(probes.shapes.values())
    bars = axes.barh(list(probes.shapes), values, color=[GREY, BLUE, BLUE, BLUE])
    axes.bar_label(bars, [f"{value:.3g}" for value in values], padding=3, fontsize=8)
    axes.axvline(0, color=GREY, linewidth=0.6)
    axes.invert_yaxis()
    low, high = min([*values, 0.0]), max([*values, 1e-9])
    axes.set_xlim(low - 0.18 * (high - low) * (low < 0), high + 0.18 * (high - low))
    label_axes(axes, "Loss of a confident prediction", "", "")
    return _encode_svg(figure)


def _encode_svg(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return encode_uri(buffer.getvalue(), "svg+xml")


def _draw_pictures() -> dict[str, tuple[str, int]]:
    """Draw shape → a picture of its correct, missed and invented pixels, and the number of wrong ones."""
    scenes = draw_shapes()
    exact = scenes["exact"]
    return {name: (_draw_picture(exact, mask), int((exact != mask).sum())) for name, mask in scenes.items()}


def _draw_picture(exact: npt.NDArray[np.bool_], mask: npt.NDArray[np.bool_]) -> str:
    pixels = np.full((*exact.shape, 3), 245, np.uint8)
    pixels[exact & mask], pixels[exact & ~mask], pixels[~exact & mask] = RIGHT, MISSED, INVENTED
    return encode_image(Image.fromarray(pixels[16:48]), "png")
