"""Raw files into arrays that training maps into memory: decode, check, resize, split, and write the audit."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from losslab.cards import IGNORE_INDEX, SPLITS, Card, SplitName
from losslab.data.findings import Finding
from losslab.data.images.class_masks import ClassMasks, build_label_reader
from losslab.data.images.decode import DecodedImage, Pixels, UnusableFileError, read_image, read_mask
from losslab.data.images.fit import Placement, compute_placement, pad_pair, resize_pair
from losslab.data.images.labels import Colour, LabelMapping, MappedWindows, PaletteColours, keep_valid, read_palette
from losslab.data.images.windows import ImageWindows, open_image, open_mask
from losslab.data.prepare.audit import (
    AuditError,
    audit_file,
    audit_splits,
    describe_data,
    describe_findings,
    find_duplicates,
)
from losslab.data.prepare.ceiling import audit_ceiling, compute_ceiling
from losslab.data.prepare.near_duplicates import find_near_duplicates
from losslab.data.prepare.scaling import (
    MAX_INSPECTED,
    Normalisation,
    audit_scaling,
    is_scaled_by_ends,
    measure_normalisation,
)
from losslab.data.prepare.splits import choose_samples, keeps_official_test, split_samples
from losslab.data.prepare.spool import Spool
from losslab.data.prepare.statistics import (
    ImageMeasure,
    ImageStatistics,
    SplitTotals,
    StatisticsTable,
    check_labels,
    measure_overlap,
)
from losslab.data.readers import find_dataset_folder, read_layout
from losslab.errors import InputError
from losslab.formats import format_plural
from losslab.io.files import Row, atomic_write, write_csv, write_json
from losslab.io.windows import ArrayWindows, PixelWindows, Values, read_whole
from losslab.params import PrepareParams
from losslab.plugins import Sample
from losslab.runtime.parallel import count_cores, map_ahead

MAX_BYTES_DECODED = 48 << 20
"""Size of an image from which on it is read by windows, where it keeps its size."""
MAX_IMAGES_AHEAD, MAX_BYTES_AHEAD = 32, 64 << 20
"""Limits for the decoded images that wait to be written; two for each thread may always wait."""


@dataclass(frozen=True)
class DecodedPair:
    image: PixelWindows
    """An image of the card's bands, and its labels, at the size that is stored."""
    mask: PixelWindows
    measured: ImageStatistics | None
    """None for a large image, which is measured while it is written."""
    findings: tuple[Finding, ...]
    read_palette: Callable[[], dict[int, Colour]]
    """Returns the colours of the mask's numbers, where the card has numbers and the mask a palette, once the mask was read."""


def prepare(card: Card, raw: Path, params: PrepareParams, out: Path, workers: int | None = None) -> dict[str, Any]:
    """Write `{train,val,test}/{images,masks}.npy`, `index.csv`, `dataset.json` and `audit.json`; return the audit.

    Args:
        raw: data/raw/<dataset>.
        workers: threads that decode; None for one per core. The bytes do not depend on it.

    Raises:
        AuditError: there are bad files and `params.audit` is strict, or too few images are left without them.
        InputError: the split cannot be made.
    """
    cv2.setNumThreads(1)  # OpenCV's own threads would compete with those that decode
    folder = find_dataset_folder(card, raw)
    listing = read_layout(card, folder)
    chosen = choose_samples(listing.samples, params.limit, params.split)
    findings = [Finding(kind, name) for kind, name in listing.skipped]
    if params.split.method == "official" or keeps_official_test(listing.samples, params.split):
        findings += [Finding("in no official list", sample.name) for sample in listing.samples if sample.split is None]
    if card.images is not None and len(listing.samples) < card.images:
        counts = f"{len(listing.samples)} of {card.images}"
        findings.append(Finding("fewer images than published", card.title, counts))
    with atomic_write(out) as partial:
        partial.mkdir()
        side, planes = None if params.fit == "tile" else params.size, len(card.classes) if card.is_overlapping else None
        with Spool(partial, card.format, side, planes) as spool:
            kept, table = _decode_all(card, folder, chosen, params, spool, findings, workers)
            audit = describe_findings(findings)
            errors = _check_errors(audit, params, "or leave these files out")
            if not kept:
                raise AuditError(f"{folder}: none of its {len(chosen)} images can be used: {errors}", audit)
            try:
                audit = _write_splits(card, kept, table, params, spool, findings, partial)
            except InputError as error:
                if not errors:
                    raise
                raise AuditError(f"{error} (already skipped: {errors})", audit) from None
        _check_errors(audit, params, "or use these images as they are")
        write_json(partial / "audit.json", audit)
    return audit


def _check_errors(audit: dict[str, Any], params: PrepareParams, otherwise: str) -> str:
    """Return the errors in the data on one line. Raises AuditError if there are any, and `params.audit` is strict."""
    kinds = audit["by_kind"].items()
    errors = ", ".join(f"{entry['count']} x {kind}" for kind, entry in kinds if entry["severity"] == "error")
    if params.audit == "strict" and errors:
        line = f"{format_plural(audit['counts']['error'], 'error')} in the data: {errors}"
        raise AuditError(f"{line}; correct them, {otherwise}: -S prepare.audit=warn", audit)
    return errors


def _write_splits(
    card: Card,
    kept: Sequence[Sample],
    table: StatisticsTable,
    params: PrepareParams,
    spool: Spool,
    findings: list[Finding],
    folder: Path,
) -> dict[str, Any]:
    """Deal the decoded images out, write each split, and return the audit."""
    number_by_name = {sample.name: number for number, sample in enumerate(kept)}
    if len(number_by_name) < len(kept):
        raise RuntimeError("two images have the same name; a reader must tell them apart")
    presence = {name: frozenset(np.flatnonzero(table.pixels[row]).tolist()) for name, row in number_by_name.items()}
    groups = card.find_groups(list(number_by_name))
    dealt = split_samples(kept, params.split, presence, groups.__getitem__)
    names = {split: [sample.name for sample in dealt[split]] for split in SPLITS}
    numbers = {split: [number_by_name[name] for name in names[split]] for split in SPLITS}

    rows: list[Row] = []
    for split in SPLITS:
        (folder / split).mkdir()
        spool.write(numbers[split], folder / split)
        for index, name in enumerate(names[split]):
            width, height = table.sizes[number_by_name[name]].tolist()
            row: Row = {"split": split, "index": index, "image": name, "width": width, "height": height}
            rows.append(row if card.group is None else {**row, "group": groups[name]})
    totals = {split: table.compute_totals(numbers[split]) for split in SPLITS}
    write_csv(folder / "index.csv", rows)

    def read_training_pixels() -> Iterator[Values]:
        for number in numbers["train"]:
            yield from spool.read_pixels(number, _find_content(table.sizes[number].tolist(), params))

    normalisation = measure_normalisation(card, read_training_pixels)
    write_json(folder / "dataset.json", _describe_dataset(card, params, totals, normalisation))
    for number in range(len(kept)) if is_scaled_by_ends(card) else ():
        sample = spool.sample_pixels(number, _find_content(table.sizes[number].tolist(), params), MAX_INSPECTED)
        findings += filter(None, [audit_scaling(kept[number].name, sample, normalisation.bands)])

    order = [number for split in SPLITS for number in numbers[split]]
    digests, parts = table.digests[order], [SPLITS.index(split) for split in SPLITS for _ in names[split]]
    near = find_near_duplicates(
        lambda places: spool.read_thumbnails([order[place] for place in places]), parts, digests
    )
    findings += audit_splits(card, names, groups, totals, near.pairs)
    findings += find_duplicates([(split, name) for split in SPLITS for name in names[split]], digests.tolist())
    audit = {"settings": params.model_dump()} | describe_data(card, totals, rows, near)
    if table.is_resized:
        audit["ceiling"] = compute_ceiling(table.overlap, card)
        findings += audit_ceiling(audit["ceiling"], card, kept, table, params)
    return audit | describe_findings(findings, near.count)


def _decode_all(
    card: Card,
    folder: Path,
    samples: Sequence[Sample],
    params: PrepareParams,
    spool: Spool,
    findings: list[Finding],
    workers: int | None,
) -> tuple[list[Sample], StatisticsTable]:
    """Decode on all cores and store in the order of `samples`; return those that can be used, and their statistics."""
    kept, table = list[Sample](), StatisticsTable(len(samples), len(card.classes))
    labels, palettes, threads = build_label_reader(card), PaletteColours(), workers or count_cores()
    planes = len(card.classes) if card.is_overlapping else 1
    stored = (_count_pixel_bytes(card) + planes) * params.size * params.size
    ahead = max(min(MAX_IMAGES_AHEAD, MAX_BYTES_AHEAD // stored), 2 * threads)
    ahead = 2 * threads if params.fit == "tile" else ahead

    def decode(sample: Sample) -> DecodedPair | Finding:
        return _decode(card, folder, sample, labels, params)

    with (
        map_ahead(decode, samples, threads=threads, max_items=ahead) as decoded,
        tqdm(total=len(samples), desc="prepare", unit=" images", disable=None) as bar,
    ):
        for sample, result in zip(samples, decoded, strict=True):
            bar.update()
            if isinstance(result, Finding):
                findings.append(result)
                continue
            file = sample.mask.relative_to(folder).as_posix()
            check = partial(_check_palette, palettes, result, file)
            try:
                statistics = spool.append(result.image, result.mask, result.measured, len(card.classes), check)
            except UnusableFileError as error:
                findings.append(Finding(error.kind, file, error.detail))
                continue
            findings += result.findings
            findings += audit_file(sample.name, statistics, params)
            kept.append(sample)
            table.add(statistics)
    return kept, table


def _count_pixel_bytes(card: Card) -> int:
    """Return the bytes of a pixel of an image."""
    return len(card.format.names) * np.dtype(card.format.dtype).itemsize


def _decode(
    card: Card, folder: Path, sample: Sample, labels: LabelMapping | ClassMasks, params: PrepareParams
) -> DecodedPair | Finding:
    """Return image and mask at the size that is stored, or why they cannot be used."""
    path, findings = sample.image, list[Finding]()
    try:
        if params.fit == "tile":
            opened = open_image(path, card.format)
            is_large = opened.height * opened.width * _count_pixel_bytes(card) > MAX_BYTES_DECODED
            is_one_file = sample.valid is None and not sample.mask.is_dir()
            if is_large and is_one_file and isinstance(labels, LabelMapping):
                path = sample.mask
                return _pair_large(opened, MappedWindows(open_mask(path, card.in_colours), labels), sample)
            picture = DecodedImage(read_whole(opened), opened.orientation)
        else:
            picture = read_image(path, card.format)
        path = sample.mask
        stored, palette = _read_labels(labels, sample)
        as_stored = picture
        picture = as_stored.match_shape(stored.shape[:2])
        if picture is not as_stored:
            findings.append(Finding("rotated by its EXIF tag", sample.name))
        elif picture.orientation > 1:
            findings.append(Finding("EXIF turn not applied", sample.name))
        image, mask = picture.pixels, stored
        if params.fit != "tile":
            image, mask = resize_pair(image, mask, params.size, params.fit)
        measure = ImageMeasure(image.shape, len(card.classes))
        measure.add(image, mask)
        overlap = None if mask.shape == stored.shape else measure_overlap(stored, mask, len(card.classes))
        statistics = measure.finish(stored.shape[:2], overlap)
        check_labels(statistics)
    except UnusableFileError as error:
        return Finding(error.kind, path.relative_to(folder).as_posix(), error.detail)
    if params.fit != "tile":
        image, mask = pad_pair(image, mask, params.size)
    return DecodedPair(ArrayWindows(image), ArrayWindows(mask), statistics, tuple(findings), lambda: palette)


def _read_labels(labels: LabelMapping | ClassMasks, sample: Sample) -> tuple[Pixels, dict[int, Colour]]:
    """Return the labels of a sample, and the colours of its mask's numbers where it has a palette."""
    if isinstance(labels, ClassMasks) or labels.in_colours:
        return labels.read(sample), {}
    values = read_mask(sample.mask, in_colours=False)
    return keep_valid(labels.map_values(values), sample.valid), read_palette(sample.mask, values)


def _pair_large(image: ImageWindows, mask: MappedWindows, sample: Sample) -> DecodedPair:
    """Pair an image and a mask that are read by windows, since memory could not hold many of their size."""
    if (mask.height, mask.width) != (image.height, image.width):
        detail = f"{mask.width} x {mask.height}, its image {image.width} x {image.height} (width x height)"
        raise UnusableFileError("size mismatch", detail)
    turned = (Finding("EXIF turn not applied", sample.name),) if image.orientation > 1 else ()
    return DecodedPair(
        image, mask, None, turned, lambda: read_palette(sample.mask, np.array(sorted(mask.used), np.uint8))
    )


def _check_palette(palettes: PaletteColours, pair: DecodedPair, file: str) -> None:
    if clash := palettes.find_clash(pair.read_palette(), file):
        raise UnusableFileError("palette unlike another", clash)


def _find_content(file_size: Sequence[int], params: PrepareParams) -> Placement | None:
    """Return the part of a stored image that its file fills, for one of this width and height; None for all of it."""
    if params.fit != "letterbox":
        return None
    return compute_placement(file_size[1], file_size[0], params.size, params.fit)


def _describe_dataset(
    card: Card, params: PrepareParams, totals: dict[SplitName, SplitTotals], normalisation: Normalisation
) -> dict[str, Any]:
    has_void = any(total.void for total in totals.values())  # outside of a field of view
    return {
        "title": card.title,
        **({"labels": card.labels} if card.is_overlapping else {}),
        "classes": [label_class.name for label_class in card.classes],
        "palette": [list(label_class.color) for label_class in card.classes],
        "ignore_index": IGNORE_INDEX if has_void or card.void or params.fit != "stretch" else None,
        "size": params.size,
        "fit": params.fit,
        "images": {name: total.images for name, total in totals.items()},
        "pixels": {name: total.pixels.tolist() for name, total in totals.items()},
        "pixels_where_present": {name: total.pixels_where_present.tolist() for name, total in totals.items()},
        "mean": normalisation.mean,
        "std": normalisation.std,
        **({} if card.bands is None else {"bands": normalisation.bands.model_dump()}),
    }
