"""Pascal VOC: masks in SegmentationClass, whose colours labelmap.txt names, and lists of splits in ImageSets."""

import re
from pathlib import Path

from losslab.cards import RawValue, SplitName
from losslab.data.annotations.model import BACKGROUND_LABELS, VOID_LABELS, AnnotatedImage, Annotations, LabelMap
from losslab.data.annotations.paths import SPLITS_BY_FOLDER
from losslab.data.readers import normalize_name
from losslab.errors import InputError

MASKS = "SegmentationClass"
BORDER = (224, 224, 192)
LABELS = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""The classes of VOC 2012, in the order of their numbers, where no labelmap.txt names others."""


def read_voc(folder: Path) -> Annotations:
    """Read the masks of the images that ImageSets/Segmentation lists, or all where there are no lists."""
    colours = _read_labelmap(folder / "labelmap.txt")
    by_colour: dict[RawValue, str | None] = {BORDER: None}
    by_colour |= {colour: None if name.lower() in VOID_LABELS else name for name, colour in colours.items()}
    by_number: dict[RawValue, str | None] = {255: None}
    by_number |= {number: by_colour[colour] for number, colour in enumerate(colours.values())}
    splits = _read_lists(folder / "ImageSets/Segmentation")
    images = []
    for path in sorted((folder / MASKS).rglob("*.png")):
        name = normalize_name(path.relative_to(folder / MASKS).with_suffix("").as_posix())
        if path.name.startswith(".") or (splits and name not in splits):
            continue
        label_map = LabelMap(path, by_colour, in_colours=True, numbers=by_number)
        images.append(AnnotatedImage(names=[name], place=str(path), label_map=label_map, split=splits.get(name)))
    if splits and not images:
        raise InputError(f"{folder / MASKS}: holds none of the images that ImageSets/Segmentation lists")
    void = frozenset(name for name in colours if name.lower() in VOID_LABELS)
    labels = sorted(colours, key=lambda name: name.lower() not in BACKGROUND_LABELS)
    return Annotations(kind="voc", images=images, labels=labels, void=void, is_dense=True)


def _read_labelmap(path: Path) -> dict[str, tuple[int, int, int]]:
    """Return the colour of each name; VOC's own where there is no file."""
    if not path.is_file():
        return {name: _pick_colour(number) for number, name in enumerate(LABELS)}
    colours: dict[str, tuple[int, int, int]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            match = re.fullmatch(r"\s*([^:]+):(\d{1,3}),(\d{1,3}),(\d{1,3})(:.*)?", line)
            if match is None:
                raise InputError(f"{path}, line {number}: {line!r} is not of the form name:red,green,blue::")
            colours[match[1].strip()] = (int(match[2]), int(match[3]), int(match[4]))
    if len(set(colours.values())) < len(colours):
        raise InputError(f"{path}: gives two names one colour")
    return colours


def _pick_colour(number: int) -> tuple[int, int, int]:
    """Return the colour that VOC gives to a number: its bits, dealt out to red, green and blue.

    >>> _pick_colour(1), _pick_colour(15), _pick_colour(255)
    ((128, 0, 0), (192, 128, 128), (224, 224, 192))
    """
    red, green, blue = (
        sum((number >> 3 * place + channel & 1) << 7 - place for place in range(8)) for channel in range(3)
    )
    return red, green, blue


def _read_lists(folder: Path) -> dict[str, SplitName | None]:
    """Return the images of all lists, with the split of train.txt, val.txt and test.txt."""
    splits: dict[str, SplitName | None] = {}
    for path in sorted(folder.glob("*.txt"), key=lambda path: path.stem.lower() in SPLITS_BY_FOLDER):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.strip():
                splits[normalize_name(line.split()[0])] = SPLITS_BY_FOLDER.get(path.stem.lower())
    return splits
