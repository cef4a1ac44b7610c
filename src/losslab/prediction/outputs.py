"""What is written of an image: its mask, a picture of it, and probabilities."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from losslab.data.images.decode import Pixels
from losslab.io.files import atomic_write
from losslab.prediction.inputs import MARK
from losslab.prediction.label_map import Labels

Palette = Sequence[Sequence[int]]
BACKGROUND = "background"
"""A class of this name is not tinted in overlays."""
QUALITY = 90
"""Of JPEG."""
LONGEST = 65500
"""Pixels of a JPEG's side, in libjpeg."""
ROWS = 512
"""That are tinted at once."""


def save_mask(labels: Labels, palette: Palette, path: Path) -> None:
    """Labels uint8 `[H, W]` as palette PNG: the value of a pixel is its label, its colour that of the class."""
    image = Image.fromarray(labels)
    colours = [channel for colour in palette for channel in colour]
    image.putpalette(colours + [0] * (768 - len(colours)))
    told = PngInfo()
    told.add_text("Software", MARK)
    with atomic_write(path) as partial:
        image.save(partial, format="PNG", pnginfo=told)


def save_overlay(image: Pixels, labels: Labels, palette: Palette, tinted: Sequence[bool], path: Path) -> None:
    """Image RGB `[H, W, 3]`, half covered with the colours of the classes that are `tinted`, fully where a class ends, as
    JPEG.

    Raises:
        OSError: too large for a JPEG, or not to be written.
    """
    if max(labels.shape) > LONGEST:
        raise OSError(f"a JPEG has at most {LONGEST} pixels a side")
    pixels = draw_overlay(image, labels, palette, tinted)
    with atomic_write(path) as partial:
        Image.fromarray(pixels).save(partial, format="JPEG", quality=QUALITY)


def draw_overlay(image: Pixels, labels: Labels, palette: Palette, tinted: Sequence[bool]) -> Pixels:
    """As `save_overlay` writes it, `[H, W, 3]`."""
    thickness = max(round(max(labels.shape) / 500), 1)
    square = np.ones((2 * thickness + 1, 2 * thickness + 1), np.uint8)
    contour = cv2.dilate(labels, square) != cv2.erode(labels, square)
    colours, shown = np.asarray(palette, np.uint16), np.empty_like(image)
    half, full = (np.asarray(tinted) * np.uint16(share) for share in (128, 255))
    for top in range(0, len(image), ROWS):  # a few at a time, for they take ten times the memory of labels
        rows = slice(top, top + ROWS)
        cover = np.where(contour[rows], full[labels[rows]], half[labels[rows]])[..., None]
        shown[rows] = (image[rows] * (255 - cover) + colours[labels[rows]] * cover + 127) // 255
    return shown


def choose_tinted_classes(classes: Sequence[str], num_classes: int) -> list[bool]:
    """Which classes overlays show: not the background, which is the first of a binary net, or has that name."""
    return [name.lower() != BACKGROUND and not (num_classes == 1 and label == 0) for label, name in enumerate(classes)]


class ProbabilityFile:
    """A .npy of float16 `[C, H, W]`, filled some rows at a time, none of which stays in memory."""

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self.shape, self.file = shape, path.open("wb")
        header = {"descr": "<f2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self.file, header)
        self.start = self.file.tell()

    def write(self, top: int, probabilities: npt.NDArray[np.float32]) -> None:
        """Rows from `top` on, `[C, rows, W]`."""
        _, height, width = self.shape
        for label, rows in enumerate(np.ascontiguousarray(probabilities, "<f2")):
            self.file.seek(self.start + (label * height + top) * width * 2, os.SEEK_SET)
            self.file.write(rows.data)


@contextmanager
def open_probability_file(path: Path, shape: tuple[int, int, int]) -> Iterator[ProbabilityFile]:
    """`path` is there when all went well."""
    with atomic_write(path) as partial:
        probabilities = ProbabilityFile(partial, shape)
        with probabilities.file:
            yield probabilities
