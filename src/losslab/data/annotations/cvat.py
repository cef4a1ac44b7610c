"""CVAT for images 1.1: one XML file."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from losslab.data.annotations.model import (
    VOID_LABELS,
    AnnotatedImage,
    Annotations,
    LabelledShape,
    Shape,
    name_place,
    normalize_slashes,
    parse_points,
)
from losslab.data.annotations.paths import find_split
from losslab.data.annotations.shapes import Ellipse, Polygons, RunLengths, measure_turn
from losslab.errors import InputError

FORM = "CVAT"
Attributes = dict[str, str]


def read_cvat(files: Sequence[Path]) -> Annotations:
    """Read images from XML files. Shapes lie in the order of their z_order, and of the file where that is the same."""
    images: list[AnnotatedImage] = []
    labels: list[str] = []
    left_out = Counter[str]()
    for path in files:
        try:
            root = ElementTree.parse(path).getroot()
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            raise InputError(f"{path}: not valid XML: {error}") from None
        if root.tag != "annotations":
            raise InputError(f"{path}: holds <{root.tag}>, not the <annotations> of CVAT for images 1.1")
        if root.find("track") is not None:
            raise InputError(f"{path}: holds tracks of a video; export it from CVAT as `CVAT for images 1.1`")
        for label in root.iterfind("meta//label/name"):
            labels.append((label.text or "").strip())
        images += [_read_image(path, image, left_out) for image in root.iterfind("image")]
    used = sorted({shape.label for image in images for shape in image.shapes if shape.label is not None})
    labels = list(dict.fromkeys([*labels, *used]))
    return Annotations(
        kind="cvat", images=images, labels=labels, void=frozenset(VOID_LABELS) & frozenset(labels), left_out=left_out
    )


def _read_image(path: Path, image: ElementTree.Element, left_out: Counter[str]) -> AnnotatedImage:
    name = image.get("name", "")
    place = f"{path}, image {name or image.get('id')}"
    shapes: list[tuple[int, LabelledShape]] = []
    with name_place(place, FORM):
        for each in image:
            parse = PARSERS.get(each.tag)
            if parse is not None:
                shape = LabelledShape(each.attrib["label"], parse(dict(each.attrib)))
                shapes.append((int(each.get("z_order", "0")), shape))
            elif each.tag != "tag":
                left_out[f"shapes without an area ({each.tag})"] += 1
        return AnnotatedImage(
            names=[normalize_slashes(image.attrib["name"])],
            place=place,
            size=(int(image.attrib["width"]), int(image.attrib["height"])),
            shapes=[shape for _, shape in sorted(shapes, key=lambda each: each[0])],
            split=find_split(image.get("subset") or ""),
        )


def _parse_polygon(attributes: Attributes) -> Shape:
    return Polygons([parse_points([pair.split(",") for pair in attributes["points"].split(";")])])


def _parse_box(attributes: Attributes) -> Shape:
    left, top, right, bottom = (float(attributes[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
    corners = parse_points([left, top, right, top, right, bottom, left, bottom])
    if turn := float(attributes.get("rotation", 0)):
        sine, cosine = measure_turn(turn)
        centre = np.array([(left + right) / 2, (top + bottom) / 2])
        corners = (corners - centre) @ np.array([[cosine, sine], [-sine, cosine]]) + centre
    return Polygons([corners])


def _parse_ellipse(attributes: Attributes) -> Shape:
    x, y, radius_x, radius_y = (float(attributes[key]) for key in ("cx", "cy", "rx", "ry"))
    return Ellipse(x, y, radius_x, radius_y, float(attributes.get("rotation", 0)))


def _parse_mask(attributes: Attributes) -> Shape:
    left, top, width, height = (int(attributes[key]) for key in ("left", "top", "width", "height"))
    counts = [int(count) for count in attributes["rle"].split(",")]
    shape = RunLengths(counts, height, width, top, left, by_rows=True)
    shape.check()
    return shape


PARSERS: dict[str, Callable[[Attributes], Shape]] = {
    "polygon": _parse_polygon,
    "box": _parse_box,
    "ellipse": _parse_ellipse,
    "mask": _parse_mask,
}
