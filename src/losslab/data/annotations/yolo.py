"""YOLO segmentation: a text file for each image, with a class and the corners of an outline a line."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from losslab.data.annotations.model import AnnotatedImage, Annotations, LabelledShape, Points, name_place, parse_points
from losslab.data.annotations.paths import find_split
from losslab.data.annotations.shapes import ScaledPolygon
from losslab.errors import InputError
from losslab.io.yaml import read_yaml

FORM = "YOLO segmentation"
NAMES_FILES = ("classes.txt", "obj.names")
BOX_NUMBERS = 5
PIXELS_FROM = 2
"""Coordinate that is no part of a side any more; outlines may reach a little beyond 1."""
WITHOUT_OUTLINE = "objects without an outline (boxes)"


def find_names(folder: Path) -> Path | None:
    """Find the file of class names in a folder or the two above it: a YAML file with `names`, or a list."""
    for place in (folder, *folder.absolute().parents[:2]):
        for path in sorted((*place.glob("*.yaml"), *place.glob("*.yml"))):
            if isinstance(content := read_yaml(path), dict) and "names" in content:
                return path
        for path in (place / name for name in NAMES_FILES):
            if path.is_file():
                return path
    return None


def list_label_files(folder: Path) -> list[Path]:
    """List the text files below folders called labels, or all where there is no such folder."""
    files = [path for path in sorted(folder.rglob("*.txt")) if not path.name.startswith(".")]
    labels = [path for path in files if "labels" in path.relative_to(folder).parts[:-1]]
    return labels or [path for path in files if path.name not in (*NAMES_FILES, "train.txt", "val.txt", "test.txt")]


def read_yolo(folder: Path, names_file: Path | None) -> Annotations:
    """Read the text files below a folder; later lines lie on top of earlier ones."""
    path = names_file or find_names(folder)
    if path is None:
        raise InputError(
            f"{folder}: has no data.yaml with the names of classes, nor a {NAMES_FILES[0]}, nor have those above"
        )
    labels, left_out = _read_names(path), Counter[str]()
    images = [_read_file(each, folder, labels, left_out) for each in list_label_files(folder)]
    return Annotations(kind="yolo", images=images, labels=list(dict.fromkeys(labels)), left_out=left_out)


def _read_names(path: Path) -> list[str]:
    if path.suffix not in (".yaml", ".yml"):
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    with name_place(path, FORM):
        names = read_yaml(path)["names"]
        if isinstance(names, dict):
            if sorted(names) != list(range(len(names))):
                raise ValueError("names are not numbered 0, 1, 2, …")
            names = [names[number] for number in range(len(names))]
        return [str(name) for name in names]


def _parse_outline(numbers: Sequence[float]) -> Points:
    """Return the corners of an outline. Raises ValueError for numbers that must be pixels."""
    points = parse_points(numbers)
    if points.size and points.max() >= PIXELS_FROM:
        raise ValueError(f"a coordinate is {points.max():g}; all are parts of the image's width and height, 0 to 1")
    return points


def _read_file(path: Path, folder: Path, labels: Sequence[str], left_out: Counter[str]) -> AnnotatedImage:
    shapes = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        place = f"{path}, line {number}"
        with name_place(place, FORM):
            label, *numbers = (float(part) for part in line.split()) if line.strip() else (None,)
            if label is None:
                continue
            if not (label.is_integer() and 0 <= label < len(labels)):
                raise InputError(
                    f"{place}: class {label:g} is none of the {len(labels)} that are named, 0 to {len(labels) - 1}"
                )
            if len(numbers) == BOX_NUMBERS - 1:
                left_out[WITHOUT_OUTLINE] += 1
            else:
                shapes.append(LabelledShape(labels[int(label)], ScaledPolygon(_parse_outline(numbers))))
    stem = path.relative_to(folder).with_suffix("").as_posix()
    parts = stem.split("/")
    beside = ["images" if part == "labels" else part for part in parts]
    names = ["/".join(beside), "/".join(part for part in parts if part != "labels")]
    return AnnotatedImage(names=names, place=str(path), shapes=shapes, split=find_split("/".join(parts[:-1])))
