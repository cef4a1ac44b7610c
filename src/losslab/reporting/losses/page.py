"""reports/losses.html: a card for each loss with its formula, cost and behaviour on small scenes."""

import inspect
import io
import os
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, get_args

import matplotlib
import numpy as np
import numpy.typing as npt
from latex2mathml.converter import convert
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from PIL import Image
from tqdm import tqdm

from losslab.errors import find_exhausted_memory
from losslab.formats import format_plural
from losslab.io.files import make_folder, write_text
from losslab.losses import build_loss
from losslab.losses.registry import LossKind, LossSpec, find_loss
from losslab.losses.traits import SCENES
from losslab.reporting.components.figures import BLUE, GREEN, GREY, ORANGE, label_axes, new_figure
from losslab.reporting.components.pictures import encode_image, encode_uri
from losslab.reporting.components.rendering import render_template
from losslab.reporting.losses.checks.bench import describe_fault, get_code
from losslab.reporting.losses.probes import (
    PROBABILITIES,
    ROUNDS,
    STEP_SHAPE,
    SURE,
    LossProbes,
    StepCost,
    draw_shapes,
    measure_steps,
    probe_loss,
)
from losslab.stage import print_line

Item = TypeVar("Item")

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
    cost: StepCost
    figures: dict[str, str]
    added: dict[str, float]
    """Shape → loss above that of the exact shape."""


def write_loss_cards(path: Path, hardware: str, names: Sequence[str]) -> list[str]:
    """Time and probe each named loss, showing progress, write the page, and return why plug-ins are not on it."""
    make_folder(path.parent)
    load, cores = os.getloadavg()[0], os.cpu_count() or 1  # before the losses are a load themselves
    faults = {name: fault for name in names if (fault := _find_fault(find_loss(name)))}
    names = [name for name in names if name not in faults]
    costs = measure_steps(names, _show_progress(range(ROUNDS), "time", "rounds"))
    cards = [_build_card(find_loss(name), costs[name]) for name in _show_progress(names, "draw", "cards")]
    page = render_template(
        "losses/page.html.j2",
        groups={kind: group for kind in get_args(LossKind) if (group := [c for c in cards if c.spec.kind == kind])},
        titles=TITLES,
        base=costs["cross_entropy"].milliseconds if "cross_entropy" in costs else None,
        shapes=_draw_pictures(),
        legend={"correct": RIGHT, "missed": MISSED, "invented": INVENTED},
        sure=SURE,
        scenes=SCENES,
        rounds=ROUNDS,
        step="×".join(map(str, STEP_SHAPE)),
        hardware=hardware,
        busy=f"{load:.1f} on {format_plural(cores, 'core')}" if load > cores else None,
        python=platform.python_version(),
        shade=_compute_shade,
    )
    write_text(path, page)
    return [f"{name} has no card: {fault} (see losslab losses check {name})" for name, fault in faults.items()]


def _find_fault(spec: LossSpec) -> str | None:
    """Try to draw the card of a plug-in, and say what goes wrong: it must not keep the others from being drawn."""
    if spec.kind != "plug-in":
        return None
    try:
        _build_card(spec, measure_steps([spec.name], range(0))[spec.name])
    except Exception as error:
        if find_exhausted_memory(error):
            raise
        return describe_fault(error)
    return None


def _show_progress(items: Sequence[Item], verb: str, unit: str) -> Iterator[Item]:
    """Yield the items with a bar on a terminal, else with a line after each."""
    with tqdm(items, desc=verb, unit=f" {unit}", disable=None) as bar:
        for number, item in enumerate(bar, 1):
            yield item
            if bar.disable:
                print_line(f"{verb} {number}/{len(items)} {unit}")


def _build_card(spec: LossSpec, cost: StepCost) -> LossCard:
    probes = probe_loss(spec.name)
    exact = probes.shapes["exact"]
    return LossCard(
        spec=spec,
        formula=_render_formula(spec.formula),
        detail=_render_detail(spec),
        probes=probes,
        cost=cost,
        figures=_draw_figures(probes),
        added={name: value - exact for name, value in probes.shapes.items() if name != "exact"},
    )


def _render_formula(latex: str) -> Markup:
    """Render MathML, with names of several letters upright."""
    if not latex:
        return Markup()
    return Markup(convert(re.sub(r"\b(TP|TN|FP|FN|CE|Dgm)\b", r"\\mathrm{\1}", latex), display="block"))


def _render_detail(spec: LossSpec) -> Markup:
    """Render the docstring of the loss as paragraphs, with names in code."""
    text = (inspect.getdoc(get_code(build_loss(spec.name, 1).losses[spec.name])) or "").partition("\n\nExample:")[0]
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    coded = [re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(part))) for part in paragraphs]
    return Markup("".join(f"<p>{part}</p>" for part in coded))


def _compute_shade(card: LossCard, shape: str) -> str:
    """Compute the shade of a cell in percent: the added loss as a share of the largest in its row."""
    largest = max(abs(value) for value in card.added.values())
    share = card.added[shape] / largest if largest > 1e-9 else 0.0
    return f"{100 * max(share, 0):.0f}"


def _draw_figures(probes: LossProbes) -> dict[str, str]:
    with matplotlib.rc_context(
        matplotlib.rcParamsDefault
        | {"svg.hashsalt": "losslab", "svg.fonttype": "none", "axes.titley": 1.0}  # looking for a place is slow
    ):
        return {"curves": _draw_curves(probes), "masks": _draw_masks(probes), "shapes": _draw_shapes(probes)}


def _draw_curves(probes: LossProbes) -> str:
    figure = _new_figure(4.6)
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
    figure = _new_figure(2.6)
    axes = figure.subplots()
    for (name, values), colour in zip(probes.masks.items(), (BLUE, ORANGE, GREEN), strict=True):
        axes.plot(PROBABILITIES, values, color=colour, label=name)
    axes.legend(frameon=False, fontsize=8)
    label_axes(axes, "Loss where all pixels get p", "p", "")
    return _encode_svg(figure)


def _draw_shapes(probes: LossProbes) -> str:
    figure = _new_figure(2.0)
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


def _new_figure(height: float) -> Figure:
    """Make a figure with margins that fit all losses: finding them for each one takes as long as drawing it."""
    figure = new_figure(4.4, height)
    figure.set_layout_engine()
    figure.subplots_adjust(left=0.17, right=0.97, bottom=0.55 / height, top=1 - 0.3 / height, hspace=0.2)
    return figure


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
