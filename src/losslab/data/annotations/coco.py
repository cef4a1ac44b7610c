"""COCO: instances and stuff (polygons and run lengths), and panoptic (a JSON file beside a folder of PNG files)."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from losslab.cards import RawValue
from losslab.data.annotations.model import (
    AnnotatedImage,
    Annotations,
    LabelledShape,
    LabelMap,
    Shape,
    list_objects,
    name_place,
    normalize_slashes,
    parse_label,
    parse_points,
    require_object,
)
from losslab.data.annotations.paths import SPLITS_BY_FOLDER, find_split
from losslab.data.annotations.shapes import Polygons, RunLengths
from losslab.errors import InputError
from losslab.io.files import read_json

FORM = "COCO"
WITHOUT_OUTLINE = "objects without an outline (boxes)"
UNLABELLED = (0, 0, 0)


def read_coco(files: Sequence[Path]) -> Annotations:
    """Read one JSON file, or one for each split. Crowds are void, and lie below all objects."""
    images: list[AnnotatedImage] = []
    labels: list[str] = []
    left_out = Counter[str]()
    is_dense = False
    for path in files:
        with name_place(path, FORM):
            content = require_object(read_json(path))
            categories = _name_categories(path, content)
            is_panoptic = any("segments_info" in each for each in list_objects(content, "annotations")[:1])
            is_dense |= is_panoptic
            read = _read_panoptic if is_panoptic else _read_instances
            images += read(path, content, categories, left_out)
        labels += [label for label in categories.values() if label not in labels]
    kind = "coco panoptic" if is_dense else "coco"
    return Annotations(kind=kind, images=images, labels=labels, is_dense=is_dense, left_out=left_out)


def _name_categories(path: Path, content: dict[str, Any]) -> dict[int, str]:
    """Return the name of each category, in the order of their ids."""
    categories: dict[int, str] = {}
    for each in sorted(list_objects(content, "categories"), key=lambda each: int(each["id"])):
        name = parse_label(each["name"])
        if (other := categories.setdefault(int(each["id"]), name)) != name:
            raise InputError(f"{path}: the categories {other} and {name} have the same id, {each['id']}")
    return categories


def _index_images(path: Path, content: dict[str, Any]) -> dict[Any, dict[str, Any]]:
    images: dict[Any, dict[str, Any]] = {}
    for each in list_objects(content, "images"):
        with name_place(f"{path}, image {each.get('id')}", FORM):
            if images.setdefault(each["id"], each) is not each:
                raise InputError(f"{path}: two images have the id {each['id']}")
    return images


def _describe(path: Path, image: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of an image: its names, place, size and split."""
    place = f"{path.name}, image {image['id']}"
    with name_place(f"{path}, image {image['id']}", FORM):
        size = (int(image["width"]), int(image["height"])) if image.get("width") and image.get("height") else None
        name = normalize_slashes(str(image["file_name"]))
        return {
            "names": [name],
            "place": place,
            "size": size,
            "split": find_split(path.stem) or SPLITS_BY_FOLDER.get(path.parent.name.lower()),
        }


def _read_instances(
    path: Path, content: dict[str, Any], categories: dict[int, str], left_out: Counter[str]
) -> list[AnnotatedImage]:
    images = _index_images(path, content)
    crowds: dict[Any, list[LabelledShape]] = {key: [] for key in images}
    objects: dict[Any, list[LabelledShape]] = {key: [] for key in images}
    for each in content["annotations"]:
        place = f"{path}, annotation {each.get('id')}"
        with name_place(place, FORM):
            if each["image_id"] not in images:
                raise InputError(f"{place}: belongs to image {each['image_id']}, which the file does not list")
            if each["category_id"] not in categories:
                raise InputError(f"{place}: has category {each['category_id']!r}, which the file does not list")
            shape = _parse_segmentation(each.get("segmentation"), images[each["image_id"]])
            if shape is None:
                left_out[WITHOUT_OUTLINE] += 1
            elif each.get("iscrowd"):
                crowds[each["image_id"]].append(LabelledShape(None, shape))
            else:
                objects[each["image_id"]].append(LabelledShape(categories[each["category_id"]], shape))
    return [
        AnnotatedImage(**_describe(path, image), shapes=[*crowds[key], *objects[key]]) for key, image in images.items()
    ]


def _parse_segmentation(segmentation: Any, image: dict[str, Any]) -> Shape | None:
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        height, width = (int(part) for part in segmentation["size"])
        if image.get("width") and (height, width) != (image["height"], image["width"]):
            raise ValueError(f"run lengths for {width} x {height} in an image of {image['width']} x {image['height']}")
        shape = RunLengths(segmentation["counts"], height, width)
        shape.check()
        return shape
    rings = segmentation if isinstance(segmentation[0], list) else [segmentation]
    return Polygons([parse_points(ring) for ring in rings])


def _read_panoptic(
    path: Path, content: dict[str, Any], categories: dict[int, str], left_out: Counter[str]
) -> list[AnnotatedImage]:
    """Read segments, each of which is a colour in a PNG file: its id is red + 256 green + 65536 blue, and 0 is void."""
    images = _index_images(path, content)
    folders = [path.with_suffix(""), path.parent, path.parent / "masks"]
    read = []
    for each in content["annotations"]:
        place = f"{path}, annotation of image {each.get('image_id')}"
        with name_place(place, FORM):
            labels: dict[RawValue, str | None] = {UNLABELLED: None}
            for segment in list_objects(each, "segments_info"):
                number = int(segment["id"])
                if segment["category_id"] not in categories:
                    raise InputError(f"{place}: has category {segment['category_id']!r}, which the file does not list")
                label = None if segment.get("iscrowd") else categories[segment["category_id"]]
                labels[number & 255, number >> 8 & 255, number >> 16 & 255] = label
            name = normalize_slashes(str(each["file_name"]))
            masks = [folder / name for folder in folders if (folder / name).is_file()]
            if not masks:
                raise InputError(f"{place}: {name} is neither in {folders[0]} nor in {folders[1]}")
            described = _describe(path, images[each["image_id"]])
        described["names"] += [name]
        read.append(AnnotatedImage(**described, label_map=LabelMap(masks[0], labels, in_colours=True)))
    return read
