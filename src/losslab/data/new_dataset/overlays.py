"""A sheet of images with their masks drawn over them, to look at before training."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from losslab.cards import IGNORE_INDEX, NO_CLASS, Card
from losslab.data.images.class_masks import ClassMasks, build_label_reader
from losslab.data.images.decode import DecodedImage, Pixels, UnusableFileError, Values
from losslab.data.images.labels import LabelMapping, MappedWindows
from losslab.data.images.shrinking import shrink_windows
from losslab.data.images.windows import open_image, open_mask
from losslab.data.readers import read_layout
from losslab.io.files import atomic_write
from losslab.io.windows import ArrayWindows, PixelWindows
from losslab.label_sets import combine_labels, list_picture_labels
from losslab.plugins import Sample

MAX_IMAGES, COLUMNS, SIDE_PX, GAP_PX, LINE_PX = 24, 6, 220, 6, 16
"""Images on the sheet and in a row, the longer side of each, the space between them, and the height of a line of text."""
TINT = 0.45
"""Weight of a class's colour in the picture; contours have it in full."""
VOID_COLOUR = (255, 255, 255)
PLAIN = "background"
"""Name of the class that is not tinted, if it is the first."""


def draw_overlays(card: Card, own: Path, sheet: Path) -> int:
    """Draw up to 24 images, spread over all, with contours and colours of their classes, and a legend; return how many.

    The background is not tinted. Images that cannot be read are left out; nothing is written
    without any.
    """
    samples = read_layout(card, own).samples
    chosen = [
        samples[place] for place in np.linspace(0, len(samples) - 1, min(MAX_IMAGES, len(samples))).round().astype(int)
    ]
    reader = build_label_reader(card)
    tiles = [(sample, tile) for sample in chosen if (tile := _draw_tile(card, reader, sample)) is not None]
    if not tiles:
        return 0
    columns = min(COLUMNS, len(tiles))
    legend = [*zip(*list_picture_labels(_describe(card)), strict=True)] + [("void", VOID_COLOUR)] * bool(card.void)
    width = columns * (SIDE_PX + GAP_PX) + GAP_PX
    places = _place_legend([name for name, _ in legend], width)
    top = places[-1][1] + LINE_PX + GAP_PX
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(tile.height for _, tile in row) + LINE_PX + GAP_PX for row in rows]
    canvas = Image.new("RGB", (width, top + sum(heights)), "white")
    draw = ImageDraw.Draw(canvas)
    for (name, colour), (left, line) in zip(legend, places, strict=True):
        draw.rectangle((left, line + 2, left + 11, line + 13), fill=tuple(colour), outline="black")
        draw.text((left + 16, line + 2), name, fill="black")
    for row, height in zip(rows, heights, strict=True):
        for column, (sample, tile) in enumerate(row):
            left = GAP_PX + column * (SIDE_PX + GAP_PX)
            canvas.paste(tile, (left, top))
            draw.text((left, top + tile.height + 1), _shorten(sample.name, draw), fill="black")
        top += height
    with atomic_write(sheet) as partial:
        canvas.save(partial, format="png")
    return len(tiles)


def _draw_tile(card: Card, reader: LabelMapping | ClassMasks, sample: Sample) -> Image.Image | None:
    try:
        with open_image(sample.image, card.format) as image, _open_labels(reader, sample) as mask:
            height, width, orientation = mask.height, mask.width, image.orientation
            is_turned = (image.height, image.width) != (height, width)
            pixels = shrink_windows(image, SIDE_PX, cv2.INTER_AREA)
            labels = shrink_windows(mask, SIDE_PX, cv2.INTER_NEAREST_EXACT)
            if is_turned and (orientation < 5 or (image.width, image.height) != (height, width)):
                return None
    except UnusableFileError:
        return None
    scale = SIDE_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    pixels = DecodedImage(pixels, orientation).turn().pixels if is_turned else pixels
    picture = cv2.resize(_draw_picture(card, pixels), size, interpolation=cv2.INTER_NEAREST)
    labels = np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    names, picture_colours = list_picture_labels(_describe(card))
    labels = combine_labels(labels) if card.is_overlapping else labels
    palette = np.full((IGNORE_INDEX + 1, 3), VOID_COLOUR, np.float32)
    palette[: len(names)] = picture_colours
    colours, around = palette[labels], np.ones((3, 3), np.uint8)
    edge = cv2.dilate(labels, around) != cv2.erode(labels, around)
    is_plain = (labels == 0) & (names[0] in (PLAIN, NO_CLASS))
    weight = np.where(is_plain, 0.0, np.where(edge, 1.0, TINT))[..., None]
    return Image.fromarray((picture * (1 - weight) + colours * weight + 0.5).astype(np.uint8))


@contextmanager
def _open_labels(reader: LabelMapping | ClassMasks, sample: Sample) -> Iterator[PixelWindows]:
    """Open the labels of a sample, of a large file by windows."""
    if isinstance(reader, ClassMasks) or sample.mask.is_dir():
        yield ArrayWindows(reader.read(sample))
        return
    with open_mask(sample.mask, reader.in_colours) as mask:
        yield MappedWindows(mask, reader)


def _describe(card: Card) -> dict[str, object]:
    classes = {"classes": [each.name for each in card.classes], "palette": [each.color for each in card.classes]}
    return classes | {"labels": card.labels}


def _draw_picture(card: Card, pixels: Values) -> Pixels:
    """Return the bands that pictures show, stretched to what this image holds unless they are of 8 bits."""
    shown = pixels[..., card.format.shown]
    if shown.dtype == np.uint8:
        return np.asarray(shown)
    low, high = np.nanmin(shown, axis=(0, 1)), np.nanmax(shown, axis=(0, 1))
    scaled = (shown - low.astype(np.float64)) / np.maximum(high.astype(np.float64) - low, 1e-9)
    return np.asarray(np.nan_to_num(scaled * 255).astype(np.uint8))


def _place_legend(names: Sequence[str], width: int) -> list[tuple[int, int]]:
    """Return the upper left corner of each entry of the legend, in as many lines as it takes."""
    places, left, top = list[tuple[int, int]](), GAP_PX, GAP_PX
    font = ImageDraw.Draw(Image.new("L", (1, 1)))
    for name in names:
        length = int(font.textlength(name)) + 32
        if left > GAP_PX and left + length > width:
            left, top = GAP_PX, top + LINE_PX
        places.append((left, top))
        left += length
    return places


def _shorten(name: str, draw: ImageDraw.ImageDraw) -> str:
    """Cut the beginning of a name that is wider than a picture."""
    name = name.encode("ascii", "replace").decode()
    while draw.textlength(name) > SIDE_PX:
        name = f"..{name[3:]}"
    return name
