"""figures/examples.png: a few test images in one picture, for MLflow and `dvc plots show`."""

from pathlib import Path

import numpy as np
from PIL import Image

from losslab.io.files import atomic_write
from losslab.reporting.run.inputs import ReportInputs
from losslab.reporting.run.sections.gallery import ERROR_COLOUR, choose_rows, find_errors

MAX_EXAMPLES, SIDE_PX, GAP_PX = 8, 160, 4
"""Examples on the sheet, the longer side of each picture, and the space between pictures."""


def draw_contact_sheet(outs: ReportInputs, path: Path) -> None:
    """Draw image, truth, prediction and errors of each example, two examples a row; write nothing without examples."""
    rows = [row for part in choose_rows(outs.examples, MAX_EXAMPLES).values() for row in part]
    if not rows:
        return
    strips = [_draw_strip(outs, row["file"]) for row in rows]
    width, height = max(strip.width for strip in strips), max(strip.height for strip in strips)
    lines = -(-len(strips) // 2)
    sheet = Image.new("RGB", (2 * width + 5 * GAP_PX, lines * (height + GAP_PX) + GAP_PX), "white")
    for index, strip in enumerate(strips):
        sheet.paste(strip, (GAP_PX + index % 2 * (width + 3 * GAP_PX), GAP_PX + index // 2 * (height + GAP_PX)))
    with atomic_write(path) as partial:
        sheet.save(partial, format="png")


def _draw_strip(outs: ReportInputs, file: str) -> Image.Image:
    image, truth, prediction = (
        _read_thumbnail(outs.predictions / f"{file}.{kind}.png") for kind in ("image", "truth", "prediction")
    )
    pixels = np.asarray(image.convert("RGB"))
    pale = (128 + pixels.mean(axis=2, keepdims=True) / 2).astype(np.uint8).repeat(3, axis=2)
    pale[find_errors(np.asarray(truth), np.asarray(prediction), outs.model["ignore_index"])] = ERROR_COLOUR
    strip = Image.new("RGB", (4 * image.width + 3 * GAP_PX, image.height), "white")
    for index, part in enumerate((image, truth, prediction, Image.fromarray(pale))):
        strip.paste(part.convert("RGB"), (index * (image.width + GAP_PX), 0))
    return strip


def _read_thumbnail(path: Path) -> Image.Image:
    with Image.open(path) as image:
        scale = SIDE_PX / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        return image.resize(size, Image.Resampling.LANCZOS if image.mode == "RGB" else Image.Resampling.NEAREST)
