"""Raw files into arrays that training maps into memory: decode, check, resize, split, and write the audit."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from tqdm import tqdm

from losslab.cards import IGNORE_INDEX, SPLITS, Card, SplitName
from losslab.data.findings import Finding
from losslab.data.images.decode import Pixels, UnusableFileError, read_image, read_mask
from losslab.data.images.fit import pad_pair, resize_pair
from losslab.data.images.labels import Colour, LabelMapping, PaletteColours, read_palette
from losslab.data.prepare.audit import (
    AuditError,
    audit_file,
    audit_splits,
    describe_data,
    describe_findings,
    find_duplicates,
)
from losslab.data.prepare.ceiling import audit_ceiling, compute_ceiling
from losslab.data.prepare.near_duplicates import THUMBNAIL_PIXELS, find_near_duplicates
from losslab.data.prepare.splits import choose_samples, split_samples
from losslab.data.prepare.statistics import ImageStatistics, SplitTotals, StatisticsTable, measure_image
from losslab.data.readers import find_dataset_folder, read_layout
from losslab.errors import InputError
from losslab.formats import format_plural
from losslab.io.files import Row, atomic_write, write_csv, write_json
from losslab.params import PrepareParams
from losslab.plugins import Sample
from losslab.runtime.parallel import count_cores, map_ahead

MAX_IMAGES_AHEAD, MAX_BYTES_AHEAD = 32, 64 << 20
"""Limits for the decoded images that wait to be written; two for each thread may always wait."""


@dataclass(frozen=True)
class DecodedPair:
    image: Pixels
    """RGB `[size, size, 3]`."""
    mask: Pixels
    """Labels `[size, size]`."""
    statistics: ImageStatistics
    palette: dict[int, Colour]
    """The colours of the mask's numbers, where the card has numbers and the mask a palette."""
    findings: tuple[Finding, ...]


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
    if params.split.method == "official":
        findings += [Finding("in no official list", sample.name) for sample in listing.samples if sample.split is None]
    if card.images is not None and len(listing.samples) < card.images:
        counts = f"{len(listing.samples)} of {card.images}"
        findings.append(Finding("fewer images than published", card.title, counts))
    with atomic_write(out) as partial:
        partial.mkdir()
        with _Spool(partial, params.size) as spool:
            kept, table = _decode_all(card, folder, chosen, params, spool, findings, workers)
            audit = describe_findings(findings)
            kinds = audit["by_kind"].items()
            errors = ", ".join(f"{entry['count']} x {kind}" for kind, entry in kinds if entry["severity"] == "error")
            if params.audit == "strict" and errors:
                line = f"{format_plural(audit['counts']['error'], 'error')} in the data: {errors}"
                raise AuditError(f"{line}; correct them, or leave these files out: -S prepare.audit=warn", audit)
            if not kept:
                raise AuditError(f"{folder}: none of its {len(chosen)} images can be used: {errors}", audit)
            try:
                audit = _write_splits(card, kept, table, params, spool, findings, partial)
            except InputError as error:
                if not errors:
                    raise
                raise AuditError(f"{error} (already skipped: {errors})", audit) from None
        write_json(partial / "audit.json", audit)
    return audit


def _write_splits(
    card: Card,
    kept: Sequence[Sample],
    table: StatisticsTable,
    params: PrepareParams,
    spool: "_Spool",
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
    write_json(folder / "dataset.json", _describe_dataset(card, params, totals))

    order = [number for split in SPLITS for number in numbers[split]]
    digests, parts = table.digests[order], [SPLITS.index(split) for split in SPLITS for _ in names[split]]
    near = find_near_duplicates(lambda rows: spool.read("thumbnails", order[rows]), parts, digests)
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
    spool: "_Spool",
    findings: list[Finding],
    workers: int | None,
) -> tuple[list[Sample], StatisticsTable]:
    """Decode on all cores and store in the order of `samples`; return those that can be used, and their statistics."""
    kept, table = list[Sample](), StatisticsTable(len(samples), len(card.classes))
    labels, palettes, threads = LabelMapping(card), PaletteColours(), workers or count_cores()
    ahead = max(min(MAX_IMAGES_AHEAD, MAX_BYTES_AHEAD // (4 * params.size * params.size)), 2 * threads)

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
            if clash := palettes.find_clash(result.palette, file):
                findings.append(Finding("palette unlike another", file, clash))
                continue
            spool.append(result.image, result.mask, result.statistics.thumbnail)
            findings += result.findings
            kept.append(sample)
            table.add(result.statistics)
    return kept, table


def _decode(
    card: Card, folder: Path, sample: Sample, labels: LabelMapping, params: PrepareParams
) -> DecodedPair | Finding:
    """Return image and mask at their new size, or why they cannot be used."""
    path, findings = sample.image, list[Finding]()
    try:
        picture = read_image(path)
        path = sample.mask
        values = read_mask(path, card.in_colours)
        as_stored = picture
        picture = as_stored.match_shape(values.shape[:2])
        if picture is not as_stored:
            findings.append(Finding("rotated by its EXIF tag", sample.name))
        elif picture.orientation > 1:
            findings.append(Finding("EXIF turn not applied", sample.name))
        stored = labels.map_values(values)
        palette = {} if card.in_colours else read_palette(path, values)
    except UnusableFileError as error:
        return Finding(error.kind, path.relative_to(folder).as_posix(), error.detail)
    if picture.lost_levels:
        findings.append(Finding("few grey values left of 16 bits", sample.name, picture.lost_levels))
    elif picture.is_deep:
        findings.append(Finding("16-bit image", sample.name))
    image, mask = resize_pair(picture.pixels, stored, params.size, params.fit)
    statistics = measure_image(image, mask, stored, len(card.classes))
    if not statistics.pixels.any():
        return Finding("nothing but void", path.relative_to(folder).as_posix())
    if int(statistics.pixels.sum()) + statistics.void != mask.size:
        raise RuntimeError(f"{path}: a label came up that is not in the card")
    findings += audit_file(sample.name, statistics, params.size)
    return DecodedPair(*pad_pair(image, mask, params.size), statistics, palette, tuple(findings))


class _Spool:
    """Prepared images, masks and thumbnails on disk, as they come: they may not fit into memory; none is mapped."""

    def __init__(self, folder: Path, size: int) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {"images": (size, size, 3), "masks": (size, size)}
        self.shapes["thumbnails"] = (THUMBNAIL_PIXELS,)
        self.paths = {kind: folder / f"{kind}.spool" for kind in self.shapes}

    def __enter__(self) -> "_Spool":
        self.files: dict[str, IO[bytes]] = {kind: path.open("w+b") for kind, path in self.paths.items()}
        return self

    def __exit__(self, *_: object) -> None:
        for kind, path in self.paths.items():
            self.files[kind].close()
            path.unlink()

    def append(self, image: Pixels, mask: Pixels, thumbnail: bytes) -> None:
        self.files["images"].write(np.ascontiguousarray(image).data)
        self.files["masks"].write(np.ascontiguousarray(mask).data)
        self.files["thumbnails"].write(thumbnail)

    def read(self, kind: str, numbers: Sequence[int]) -> Pixels:
        content = b"".join(self._read(kind, number) for number in numbers)
        return np.frombuffer(content, np.uint8).reshape(len(numbers), *self.shapes[kind])

    def write(self, numbers: Sequence[int], folder: Path) -> None:
        """Write `images.npy` and `masks.npy` with these, in this order."""
        for kind in ("images", "masks"):
            with (folder / f"{kind}.npy").open("wb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": (len(numbers), *self.shapes[kind])}
                np.lib.format.write_array_header_1_0(file, header)
                for number in numbers:
                    file.write(self._read(kind, number))

    def _read(self, kind: str, number: int) -> bytes:
        length = int(np.prod(self.shapes[kind]))
        self.files[kind].seek(number * length)
        return self.files[kind].read(length)


def _describe_dataset(card: Card, params: PrepareParams, totals: dict[SplitName, SplitTotals]) -> dict[str, Any]:
    mean, std = totals["train"].compute_normalisation()
    return {
        "title": card.title,
        "classes": [label_class.name for label_class in card.classes],
        "palette": [list(label_class.color) for label_class in card.classes],
        "ignore_index": IGNORE_INDEX if card.void or params.fit == "letterbox" else None,
        "size": params.size,
        "fit": params.fit,
        "images": {name: total.images for name, total in totals.items()},
        "pixels": {name: total.pixels.tolist() for name, total in totals.items()},
        "pixels_where_present": {name: total.pixels_where_present.tolist() for name, total in totals.items()},
        "mean": mean,
        "std": std,
    }
