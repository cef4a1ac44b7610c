"""Masks drawn from annotations, for the images that they belong to."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from losslab.cards import CLASS_LIMIT, IGNORE_INDEX
from losslab.data.annotations.drawing import ImageSize, draw_mask, take_majority
from losslab.data.annotations.formats import read_annotations
from losslab.data.annotations.model import BACKGROUND_LABELS, AnnotatedImage, Annotations
from losslab.data.annotations.paths import ImageIndex
from losslab.data.annotations.shapes import MaskFile
from losslab.data.images.decode import Pixels, UnusableFileError, measure_file
from losslab.data.images.files import map_content
from losslab.data.images.windows import read_stored
from losslab.data.new_dataset.classes import pick_colours
from losslab.data.new_dataset.drawn import DrawnMasks
from losslab.data.new_dataset.masks import map_files
from losslab.data.new_dataset.options import NewDatasetOptions
from losslab.data.new_dataset.pairs import FilePairs, are_official, find_split, list_images, name_samples
from losslab.errors import InputError
from losslab.formats import format_list, format_plural
from losslab.io.files import open_scratch_folder

MAX_LABELS = IGNORE_INDEX - 1
Records = Mapping[str, AnnotatedImage]
"""The annotation of each image file."""


@contextmanager
def open_masks_folder(own: Path) -> Iterator[Path]:
    """Yield an empty folder beside data/raw/NAME/own, which is removed afterwards."""
    try:
        with open_scratch_folder(own.with_name(f".{own.name}.masks.partial")) as folder:
            yield folder
    finally:
        with suppress(OSError):  # a folder that is not empty is wanted
            own.parent.rmdir()


def draw_annotations(options: NewDatasetOptions, source: Path, folder: Path) -> DrawnMasks | None:
    """Draw the mask of each image into a folder; None where `source` is a folder of masks, which need no drawing.

    Raises InputError for annotations that are broken, of no image, or of an image of another size, and for images without
    one, unless `options.unannotated` says what to do with them.
    """
    sources = list_annotators(source) if options.annotators else [source]
    read = [read_annotations(each, options.format) for each in sources]
    annotations = replace(
        read[0],
        images=[image for each in read for image in each.images],
        labels=list(dict.fromkeys(label for each in read for label in each.labels)),
        void=frozenset(label for each in read for label in each.void),
        left_out=sum((each.left_out for each in read), Counter[str]()),
    )
    found = list_images(options.images, "--images", source if source.is_dir() else None)
    masks = {path.resolve() for image in annotations.images for path in _list_masks(image)}
    images = {file: path for file, path in found.items() if path.resolve() not in masks}
    index, absent = ImageIndex(images), dict[str, None]()
    votes = [_match(each, index, absent) for each in read]
    if not any(votes):
        if annotations.kind == "masks":
            return None
        named = f"({next(iter(absent))} and {next(iter(images))})" if absent and images else "(it names none)"
        raise InputError(f"--annotations: {source} annotates no image in {options.images} {named}")
    if options.unannotated == "skip" and not annotations.is_dense:  # who drew nothing did not look
        votes = [{file: image for file, image in vote.items() if image.shapes} for vote in votes]
    kept, unannotated = _keep_images(images, votes, annotations, options)
    if not kept:
        raise InputError(f"--unannotated skip: no image in {options.images} is left, as none has a shape")
    left_out = images.keys() - {*kept} if options.unannotated != "skip" else set()
    splits = {file: next((vote[file].split for vote in votes if file in vote), None) for file in kept}
    if not are_official(splits.values()):
        splits = {file: find_split(file) for file in kept}
    names, has_splits = name_samples(kept, splits, options.images)
    numbers = _number_labels(annotations)
    rest = IGNORE_INDEX if annotations.is_dense else 0

    groups, void = None, list[str]()
    if options.overlapping:
        from losslab.data.new_dataset.overlapping import group_labels

        groups = group_labels(options, annotations)
        of_classes = [label for each in groups.values() for label in each]
        void = [label for label in annotations.labels if label not in (*of_classes, *BACKGROUND_LABELS)]

    def draw(path: Path) -> tuple[Counter[str], float]:
        file = by_path[path]
        records = [vote[file] for vote in votes if file in vote] or [AnnotatedImage(names=[file], place=file)]
        size = _measure(path)
        if groups is None:
            mask, found, disputed = draw_records(records, size, numbers)
            _save(mask, folder / f"{file}.png")
            return found, disputed
        found, shares = Counter[str](), list[float]()
        for name, labels in groups.items():
            own = [_keep_labels(record, labels, void) for record in records]
            mask, lost, disputed = draw_records(own, size, dict.fromkeys(labels, 1))
            _save(mask, folder / file / f"{name}.png")
            found += lost
            shares.append(disputed)
        return found, sum(shares) / len(shares)

    def draw_records(
        records: Sequence[AnnotatedImage], size: ImageSize | None, numbers: Mapping[str, int]
    ) -> tuple[Pixels, Counter[str], float]:
        drawn = [draw_mask(record, size, numbers, rest) for record in records]
        for (mask, _), record in zip(drawn, records, strict=True):
            if mask.shape != drawn[0][0].shape:
                raise InputError(f"{record.place}: is for an image of another size than {records[0].place}")
        mask, disputed = take_majority([one for one, _ in drawn])
        return mask, sum((found for _, found in drawn), Counter[str]()), disputed

    by_path = {images[file]: file for file in kept}
    done = map_files(draw, by_path, "annotations")
    return DrawnMasks(
        pairs=FilePairs(
            images={names[file]: images[file] for file in kept},
            masks={names[file]: folder / (f"{file}.png" if groups is None else file) for file in kept},
            suffix="",
            has_splits=has_splits,
            images_alone=sorted(left_out),
            masks_alone=[],
            doubles=[],
        ),
        annotations=annotations,
        numbers=numbers,
        groups=groups,
        shapes=sum(len(vote[file].shapes) for vote in votes for file in kept if file in vote),
        annotators=[each.name for each in sources] if options.annotators else [],
        lost=sum((found for found, _ in done), annotations.left_out),
        absent=list(absent),
        empty=unannotated if options.unannotated == "empty" else 0,
        skipped=unannotated if options.unannotated == "skip" else 0,
        fewer_votes=sum(0 < sum(file in vote for vote in votes) < len(votes) for file in kept),
        disputed=sum(share for _, share in done) / len(done),
    )


def _keep_labels(record: AnnotatedImage, labels: Sequence[str], void: Sequence[str]) -> AnnotatedImage:
    """Return the record with the shapes of these labels, and void."""
    if record.label_map is not None:
        raise InputError(f"{record.place}: has one label for each pixel; --overlapping takes shapes")
    shapes = [replace(each, label=None) if each.label in void else each for each in record.shapes]
    return replace(record, shapes=[each for each in shapes if each.label is None or each.label in labels])


def list_annotators(folder: Path) -> list[Path]:
    """List the folders of several annotators. Raises InputError if there are not two."""
    found = [path for path in sorted(folder.glob("*")) if path.is_dir() and not path.name.startswith((".", "__MACOSX"))]
    if len(found) < 2:
        raise InputError(f"--annotators: {folder} must hold a folder for each annotator, such as a1 and a2")
    return found


def _list_masks(image: AnnotatedImage) -> list[Path]:
    maps = [image.label_map.path] if image.label_map else []
    return maps + [each.shape.path for each in image.shapes if isinstance(each.shape, MaskFile)]


def _match(annotations: Annotations, index: ImageIndex, absent: dict[str, None]) -> Records:
    """Return what is annotated of each image file; add the names of images that are not there to `absent`."""
    matched: dict[str, AnnotatedImage] = {}
    for image in annotations.images:
        file = index.find(image.names, image.place, image.split)
        if file is None:
            absent[image.names[0]] = None
        elif (other := matched.setdefault(file, image)) is not image:
            raise InputError(
                f"{file} is annotated twice, in {other.place} and in {image.place}; leave out one, or give --annotators where "
                "each of several annotators has a folder"
            )
    return matched


def _keep_images(
    images: Mapping[str, Path], votes: Sequence[Records], annotations: Annotations, options: NewDatasetOptions
) -> tuple[list[str], int]:
    """Return the images that get a mask, and how many have no annotation. Raises InputError if nobody says what these are."""
    listed = [file for file in images if any(file in vote for vote in votes)]
    if annotations.is_dense:
        return listed, 0
    bare = [file for file in listed if not any(vote[file].shapes for vote in votes if file in vote)]
    alone = sorted(images.keys() - {*listed})
    if not bare and not alone:
        return listed, 0
    if options.unannotated is None:
        parts = [(f"{len(alone)} not named", alone), (f"{len(bare)} named without a shape", bare)]
        which = " and ".join(part for part, files in parts if files)
        raise InputError(
            f"{options.images}: {format_plural(len(alone) + len(bare), 'image')} of {len(images)} "
            f"{'have' if len(alone) + len(bare) > 1 else 'has'} no annotation ({which}: {format_list(alone + bare, 3)}); "
            "give --unannotated empty (nothing is in them) or --unannotated skip (nobody looked at them)"
        )
    if options.unannotated == "empty":
        return list(images), len(alone) + len(bare)
    return sorted({*listed} - {*bare}), len(alone) + len(bare)


def _number_labels(annotations: Annotations) -> dict[str, int]:
    """Return a number for each label, 0 for background. Raises InputError for more than a byte holds beside void."""
    labels, background = annotations.labels, [label for label in annotations.labels if label in BACKGROUND_LABELS]
    if len(labels) - len(background) > MAX_LABELS:
        used = {each.label for image in annotations.images for each in image.shapes}
        used.update(
            label for image in annotations.images if image.label_map for label in image.label_map.labels.values()
        )
        labels = [label for label in labels if label in used]
    others = [label for label in labels if label not in background]
    first = 0 if annotations.is_dense and not background else 1  # so that Cityscapes keeps its ids
    if len(others) > MAX_LABELS:
        raise InputError(f"{len(others)} labels are annotated; {CLASS_LIMIT}")
    return dict.fromkeys(background, 0) | {label: number for number, label in enumerate(others, start=first)}


def _measure(path: Path) -> ImageSize | None:
    """Return the size of an image of any bands; None for one that cannot be read, which the scan will tell of."""
    with suppress(UnusableFileError):
        return ImageSize(*measure_file(path))
    with suppress(UnusableFileError):
        stored = read_stored(map_content(path, "image"))
        return ImageSize(stored.windows.width, stored.windows.height, stored.orientation)
    return None


def _save(mask: Pixels, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask if mask.size else np.zeros((1, 1), np.uint8))
    image.putpalette([part for colour in (*pick_colours(MAX_LABELS + 1), (255, 255, 255)) for part in colour])
    image.save(path)
