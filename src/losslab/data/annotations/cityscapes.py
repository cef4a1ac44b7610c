"""Cityscapes: gtFine/SPLIT/CITY/*_labelIds.png, or *_polygons.json where there are none."""

import re
from pathlib import Path

from losslab.cards import RawValue
from losslab.data.annotations.model import (
    AnnotatedImage,
    Annotations,
    LabelledShape,
    LabelMap,
    list_objects,
    name_place,
    parse_label,
    parse_points,
    require_object,
)
from losslab.data.annotations.paths import find_split
from losslab.data.annotations.shapes import PillowShape
from losslab.io.files import read_json

FORM = "Cityscapes"
SUFFIX = re.compile(r"(_gt[A-Z][a-z]+)?_(polygons|labelIds)$")
LABELS = (
    "unlabeled",
    "ego vehicle",
    "rectification border",
    "out of roi",
    "static",
    "dynamic",
    "ground",
    "road",
    "sidewalk",
    "parking",
    "rail track",
    "building",
    "wall",
    "fence",
    "guard rail",
    "bridge",
    "tunnel",
    "pole",
    "polegroup",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "caravan",
    "trailer",
    "train",
    "motorcycle",
    "bicycle",
)
"""The labels in the order of their ids, as cityscapesscripts has them."""
NOT_SCORED = frozenset((*LABELS[:7], *LABELS[9:11], *LABELS[14:17], *LABELS[18:19], *LABELS[29:31]))
"""Labels that the benchmark ignores: void here, unless --classes names them."""
NOT_DRAWN = "license plate"


def read_cityscapes(folder: Path) -> Annotations:
    """Read label ids, or else polygons, which lie in the order of the file, the last on top."""
    images, found = [], set[str]()
    for path in sorted((*folder.rglob("*_labelIds.png"), *folder.rglob("*_polygons.json"))):
        stem = SUFFIX.sub("", path.relative_to(folder).with_suffix("").as_posix())
        if stem in found or path.name.startswith("."):
            continue
        found.add(stem)
        names, split = [f"{stem}_leftImg8bit", stem], find_split(stem.rpartition("/")[0])
        if path.suffix == ".png":
            numbers: dict[RawValue, str | None] = {255: None, **dict(enumerate(LABELS))}
            images.append(AnnotatedImage(names=names, place=str(path), label_map=LabelMap(path, numbers), split=split))
        else:
            shapes, size = _read_polygons(path)
            images.append(AnnotatedImage(names=names, place=str(path), size=size, shapes=shapes, split=split))
    others = {shape.label for image in images for shape in image.shapes if shape.label is not None} - {*LABELS}
    return Annotations(
        kind="cityscapes", images=images, labels=[*LABELS, *sorted(others)], void=NOT_SCORED, is_dense=True
    )


def _read_polygons(path: Path) -> tuple[list[LabelledShape], tuple[int, int]]:
    shapes = []
    with name_place(path, FORM):
        content = require_object(read_json(path))
        for number, each in enumerate(list_objects(content, "objects"), start=1):
            with name_place(f"{path}, object {number}", FORM):
                label = parse_label(each["label"])
                if label not in LABELS and label.removesuffix("group") in LABELS:
                    label = label.removesuffix("group")
                if not each.get("deleted") and label != NOT_DRAWN:
                    shape = PillowShape("polygon", parse_points(each["polygon"]), has_outline=False)
                    shapes.append(LabelledShape(label, shape))
        return shapes, (int(content["imgWidth"]), int(content["imgHeight"]))
