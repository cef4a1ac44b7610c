"""LabelMe: one JSON file for each image."""

import base64
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from losslab.data.annotations.model import (
    VOID_LABELS,
    AnnotatedImage,
    Annotations,
    LabelledShape,
    Shape,
    list_objects,
    name_place,
    normalize_slashes,
    parse_label,
    parse_points,
    require_object,
)
from losslab.data.annotations.shapes import EncodedBitmap, PillowShape
from losslab.io.files import read_json

FORM = "LabelMe"


def read_labelme(files: Sequence[Path], folder: Path) -> Annotations:
    """Read the JSON files of a folder. Shapes lie in the order of the file, the last on top; groups mean nothing here."""
    left_out = Counter[str]()
    images = [_read_file(path, folder, left_out) for path in files]
    labels = sorted({shape.label for image in images for shape in image.shapes if shape.label is not None})
    void = frozenset(VOID_LABELS) & frozenset(labels)
    return Annotations(kind="labelme", images=images, labels=labels, void=void, left_out=left_out)


def _read_file(path: Path, folder: Path, left_out: Counter[str]) -> AnnotatedImage:
    with name_place(path, FORM):
        content = require_object(read_json(path))
        beside = path.relative_to(folder)
        named = normalize_slashes(str(content.get("imagePath") or ""))
        size = content.get("imageWidth"), content.get("imageHeight")
        shapes = []
        for number, each in enumerate(list_objects(content, "shapes"), start=1):
            with name_place(f"{path}, shape {number}", FORM):
                shape = _parse_shape(each)
                if shape is None:
                    left_out[f"shapes without an area ({each['shape_type']})"] += 1
                else:
                    shapes.append(LabelledShape(parse_label(each["label"]), shape))
        return AnnotatedImage(
            names=[
                *([(beside.parent / named.split("/")[-1]).as_posix(), named] if named else []),
                beside.with_suffix("").as_posix(),
            ],
            place=str(path),
            size=(int(size[0]), int(size[1])) if size[0] and size[1] else None,
            shapes=shapes,
        )


def _parse_shape(each: dict[str, Any]) -> Shape | None:
    kind, points = each.get("shape_type") or "polygon", parse_points(each["points"])
    if kind in ("polygon", "oriented_rectangle"):
        return PillowShape("polygon", points)
    if kind in ("rectangle", "circle", "mask") and len(points) != 2:
        raise ValueError(f"a {kind} of {len(points)} points, not two")
    if kind == "rectangle":
        return PillowShape("rectangle", np.array([points.min(axis=0), points.max(axis=0)]))
    if kind == "circle":
        radius = math.sqrt(((points[0] - points[1]) ** 2).sum())
        return PillowShape("ellipse", np.array([points[0] - radius, points[0] + radius]))
    if kind == "mask":
        left, top = points[0].astype(int).tolist()
        shape = EncodedBitmap(base64.b64decode(each["mask"], validate=True), top, left)
        shape.check()
        return shape
    if kind in ("point", "points", "line", "linestrip"):
        return None
    raise ValueError(f"no shape_type is called {kind!r}")
