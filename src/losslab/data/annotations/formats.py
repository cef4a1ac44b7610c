"""The formats of annotations: which one a file or folder holds, and how it is read."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import get_args

from losslab.data.annotations import FormatName
from losslab.data.annotations.cityscapes import read_cityscapes
from losslab.data.annotations.coco import read_coco
from losslab.data.annotations.cvat import read_cvat
from losslab.data.annotations.labelme import read_labelme
from losslab.data.annotations.model import Annotations
from losslab.data.annotations.object_masks import read_object_masks
from losslab.data.annotations.voc import MASKS, read_voc
from losslab.data.annotations.yolo import find_names, list_label_files, read_yolo
from losslab.data.readers import IMAGE_SUFFIXES
from losslab.errors import InputError
from losslab.formats import format_list

FORMATS: Sequence[FormatName] = get_args(FormatName)
PEEKED_BYTES = 1 << 16
"""Bytes from both ends of a JSON file in which its keys are looked for."""
MAX_FILES_PEEKED = 20


def read_annotations(source: Path, form: FormatName | None = None) -> Annotations:
    """Read a file or a folder of annotations, in the format that is given, or the only one that it can hold.

    Raises InputError for none or several, and for what is broken.
    """
    if not source.exists():
        raise InputError(f"--annotations: {source} does not exist")
    form = form or detect_format(source)
    return READERS[form](source)


def detect_format(source: Path) -> FormatName:
    """Return the only format that a file or folder can hold. Raises InputError for none or several."""
    found = _detect_in_file(source) if source.is_file() else _detect_in_folder(source)
    if len(found) != 1:
        what = f"may be {' or '.join(sorted(found))}" if found else "is in no format that is known"
        raise InputError(f"--annotations: {source} {what}; say which with --format {'|'.join(FORMATS)}")
    return found.pop()


def _detect_in_file(path: Path) -> set[FormatName]:
    suffix = path.suffix.lower()
    if suffix in (".yaml", ".yml"):
        return {"yolo"}
    if suffix == ".xml":
        return {"cvat"} if b"<annotations" in _peek(path) else set()
    if suffix == ".json":
        keys = _peek(path)
        marks: dict[FormatName, tuple[bytes, ...]] = {
            "coco": (b'"images"', b'"annotations"', b'"categories"'),
            "labelme": (b'"shapes"', b'"points"', b'"imagePath"'),
            "cityscapes": (b'"objects"', b'"imgHeight"'),
        }
        return {form for form, names in marks.items() if sum(name in keys for name in names) >= 2}
    return set()


def _detect_in_folder(folder: Path) -> set[FormatName]:
    if (folder / MASKS).is_dir():
        return {"voc"}
    for pattern in ("*_labelIds.png", "*_polygons.json"):
        if next(folder.rglob(pattern), None):
            return {"cityscapes"}
    found = set[FormatName]()
    for suffix in (".json", ".xml"):
        for path in islice(_list_files(folder, suffix), MAX_FILES_PEEKED):
            found |= _detect_in_file(path)
    if not found and list_label_files(folder) and find_names(folder):
        found = {"yolo"}
    if not found and any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.rglob("*")):
        found = {"masks"}
    return found


def _peek(path: Path) -> bytes:
    """Return the first and the last bytes of a file, without spaces."""
    with path.open("rb") as file:
        head = file.read(PEEKED_BYTES)
        file.seek(max(len(head), path.stat().st_size - PEEKED_BYTES))
        return head + file.read()


def _list_files(source: Path, suffix: str) -> list[Path]:
    """List the files of a folder with this ending, or the file itself."""
    if source.is_file():
        return [source]
    return [path for path in sorted(source.rglob(f"*{suffix}")) if not path.name.startswith(".")]


def _require_files(source: Path, suffix: str) -> list[Path]:
    files = _list_files(source, suffix)
    if not files:
        raise InputError(f"--annotations: {source} holds no {suffix} file")
    return files


def _require_folder(source: Path) -> Path:
    if not source.is_dir():
        raise InputError(f"--annotations: {source} is not a folder, which this format needs")
    return source


def _read_coco(source: Path) -> Annotations:
    files = _require_files(source, ".json")
    if source.is_dir():  # besides what is wanted, COCO's own folder has captions and keypoints
        files = [path for path in files if "coco" in _detect_in_file(path)] or files
        kept = [path for path in files if not path.name.startswith(("captions_", "person_keypoints_", "image_info_"))]
        kinds = {
            path.stem.split("_")[0] for path in kept if path.stem.startswith(("instances_", "stuff_", "panoptic_"))
        }
        if len(kinds) > 1:
            raise InputError(
                f"--annotations: {source} holds {format_list(sorted(kinds))}, of which one can be read: name a file, or a "
                "folder with files of one kind"
            )
        files = kept or files
    return read_coco(files)


def _read_yolo(source: Path) -> Annotations:
    folder = source if source.is_dir() else source.parent
    if source.is_file() and source.suffix not in (".yaml", ".yml", ".txt", ".names"):
        raise InputError(f"--annotations: {source} is neither a folder of YOLO nor its data.yaml")
    annotations = read_yolo(folder, source if source.is_file() else None)
    if not annotations.images:
        raise InputError(f"--annotations: {folder} holds no .txt file of labels")
    return annotations


def _read_voc(source: Path) -> Annotations:
    if not (source / MASKS).is_dir():
        raise InputError(f"--annotations: {source} lacks the folder {MASKS} of Pascal VOC")
    return read_voc(source)


def _read_cityscapes(source: Path) -> Annotations:
    annotations = read_cityscapes(_require_folder(source))
    if not annotations.images:
        raise InputError(f"--annotations: {source} holds no *_labelIds.png or *_polygons.json of Cityscapes")
    return annotations


READERS: Mapping[FormatName, Callable[[Path], Annotations]] = {
    "coco": _read_coco,
    "labelme": lambda source: read_labelme(
        _require_files(source, ".json"), source if source.is_dir() else source.parent
    ),
    "cvat": lambda source: read_cvat(_require_files(source, ".xml")),
    "voc": _read_voc,
    "cityscapes": _read_cityscapes,
    "yolo": _read_yolo,
    "masks": lambda source: read_object_masks(_require_folder(source)),
}
