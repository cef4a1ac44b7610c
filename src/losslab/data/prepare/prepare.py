"""Raw files into arrays that training can map into memory: decode, check, resize, deal out, and write down what was found."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
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
from losslab.data.images.labels import LabelMapping
from losslab.data.prepare.audit import (
    AuditError,
    audit_file,
    audit_splits,
    describe_data,
    describe_findings,
    find_duplicates,
)
from losslab.data.prepare.near_duplicates import SMALL, find_near_duplicates
from losslab.data.prepare.splits import choose_samples, split_samples
from losslab.data.prepare.statistics import ImageStatistics, SplitTotals, StatisticsTable, measure_image
from losslab.data.readers import DatasetSample, dataset_folder, read_layout
from losslab.errors import InputError
from losslab.io.files import Row, atomic_write, write_csv, write_json
from losslab.params import PrepareParams
from losslab.runtime.parallel import count_cores

MOST_AHEAD, AHEAD_BYTES = 32, 64 << 20
"""Of decoded images that wait to be written; but at least two for each thread."""


@dataclass(frozen=True)
class DecodedPair:
    image: Pixels
    """RGB `[size, size, 3]`."""
    mask: Pixels
    """Labels `[size, size]`."""
    measures: ImageStatistics
    findings: tuple[Finding, ...]


def prepare(card: Card, raw: Path, how: PrepareParams, out: Path, workers: int | None = None) -> dict[str, Any]:
    """Write `{train,val,test}/{images,masks}.npy`, `index.csv`, `dataset.json` and `audit.json` into `out`.

    Args:
        raw: data/raw/<dataset>.
        workers: threads that decode; None for as many as there are cores. The bytes do not depend on it.

    Returns:
        the audit.

    Raises:
        AuditError: bad files, where `how.audit` is strict, or where too few are left without them.
        InputError: a split that cannot be made.
    """
    cv2.setNumThreads(1)  # the threads are ours
    folder = dataset_folder(card, raw)
    listing = read_layout(card, folder)
    chosen = choose_samples(listing.samples, how.limit, how.split)
    findings = [Finding(kind, name) for kind, name in listing.found]
    if how.split.method == "official":
        findings += [Finding("in no official list", sample.name) for sample in listing.samples if sample.split is None]
    if card.images is not None and len(listing.samples) < card.images:
        told = f"{len(listing.samples)} of {card.images}"
        findings.append(Finding("fewer images than published", card.title, told))
    with atomic_write(out) as partial:
        partial.mkdir()
        with _Spool(partial, how.size) as spool:
            kept, ledger = _decode_all(card, folder, chosen, how, spool, findings, workers)
            if how.audit == "strict":
                _stop_on_errors(findings)
            if not kept:
                line = f"{folder}: none of its {len(chosen)} images can be used: {_reasons(findings)}"
                raise AuditError(line, describe_findings(findings))
            try:
                audit = _deal(card, kept, ledger, how, spool, findings, partial)
            except InputError as error:
                if not (left_out := _reasons(findings)):
                    raise
                raise AuditError(f"{error} (left out before: {left_out})", describe_findings(findings)) from None
        write_json(partial / "audit.json", audit)
    return audit


def _deal(
    card: Card,
    kept: Sequence[DatasetSample],
    ledger: StatisticsTable,
    how: PrepareParams,
    spool: "_Spool",
    findings: list[Finding],
    folder: Path,
) -> dict[str, Any]:
    """Deal the decoded images out, and write each split with what is to be said of it."""
    number_of = {sample.name: number for number, sample in enumerate(kept)}
    if len(number_of) < len(kept):
        raise RuntimeError("two images have one name; a reader must tell them apart")
    presence = {
        sample.name: frozenset(np.flatnonzero(pixels).tolist())
        for sample, pixels in zip(kept, ledger.pixels, strict=False)
    }
    dealt = split_samples(kept, how.split, presence, card.find_group)
    names = {split: [sample.name for sample in dealt[split]] for split in SPLITS}
    numbers = {split: [number_of[name] for name in names[split]] for split in SPLITS}

    rows: list[Row] = []
    for split in SPLITS:
        (folder / split).mkdir()
        spool.write(numbers[split], folder / split)
        for index, (name, (width, height)) in enumerate(
            zip(names[split], ledger.sizes[numbers[split]].tolist(), strict=True)
        ):
            rows.append({"split": split, "index": index, "image": name, "width": width, "height": height})
    totals = {split: ledger.totals(numbers[split]) for split in SPLITS}
    write_csv(folder / "index.csv", rows)
    write_json(folder / "dataset.json", _describe(card, how, totals))

    order = [number for split in SPLITS for number in numbers[split]]
    bits, digests = ledger.bits[order], ledger.digests[order]
    parts = [SPLITS.index(split) for split in SPLITS for _ in names[split]]
    alike = find_near_duplicates(bits, lambda some: spool.read("looks", order[some]), parts, digests)
    findings += audit_splits(card, names, totals, alike.pairs)
    findings += find_duplicates([(split, name) for split in SPLITS for name in names[split]], digests.tolist())
    return (
        {"settings": how.model_dump()}
        | describe_data(card, totals, rows, alike)
        | describe_findings(findings, alike.count)
    )


def _decode_all(
    card: Card,
    folder: Path,
    samples: Sequence[DatasetSample],
    how: PrepareParams,
    spool: "_Spool",
    findings: list[Finding],
    workers: int | None,
) -> tuple[list[DatasetSample], StatisticsTable]:
    """Decode on all cores, store in the order of `samples`; returns those that can be used."""
    kept, ledger = list[DatasetSample](), StatisticsTable(len(samples), len(card.classes))
    labels = LabelMapping(card)
    with (
        _decoded_ahead(card, folder, samples, labels, how, workers) as decoded,
        tqdm(total=len(samples), desc="prepare", unit=" images", disable=None) as bar,
    ):
        for sample, result in zip(samples, decoded, strict=True):
            bar.update()
            if isinstance(result, Finding):
                findings.append(result)
                continue
            spool.append(result.image, result.mask, result.measures.looks.small)
            findings += result.findings
            kept.append(sample)
            ledger.add(result.measures)
    return kept, ledger


@contextmanager
def _decoded_ahead(
    card: Card,
    folder: Path,
    samples: Sequence[DatasetSample],
    labels: LabelMapping,
    how: PrepareParams,
    workers: int | None,
) -> Iterator[Iterator[DecodedPair | Finding]]:
    """What `_decode` gives for each sample, in order; a few are decoded ahead on all cores, no more are held."""
    threads = workers or count_cores()
    ahead = max(min(MOST_AHEAD, AHEAD_BYTES // (4 * how.size * how.size)), 2 * threads)
    pool = ThreadPoolExecutor(threads)

    def results() -> Iterator[DecodedPair | Finding]:
        waiting: deque[Future[DecodedPair | Finding]] = deque()
        for sample in samples:
            waiting.append(pool.submit(_decode, card, folder, sample, labels, how))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield results()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(
    card: Card, folder: Path, sample: DatasetSample, labels: LabelMapping, how: PrepareParams
) -> DecodedPair | Finding:
    """Image and mask at their new size, or why they cannot be used."""
    path, found = sample.image, []
    try:
        picture = read_image(path)
        path = sample.mask
        values = read_mask(path, card.in_colours)
        shape, stored = values.shape[:2], picture
        picture = stored.drawn_on(shape)
        if picture is not stored:
            found.append(Finding("rotated by its EXIF tag", sample.name))
        elif picture.orientation > 1:
            found.append(Finding("EXIF turn not applied", sample.name))
        mask = labels.labels(values)
    except UnusableFileError as error:
        return Finding(error.kind, path.relative_to(folder).as_posix(), error.detail)
    if picture.is_deep:
        found.append(Finding("16-bit image", sample.name))
    image, mask = resize_pair(picture.pixels, mask, how.size, how.fit)
    measures = measure_image(image, mask, len(card.classes), shape[1], shape[0])
    if not measures.pixels.any():
        return Finding("nothing but void", path.relative_to(folder).as_posix())
    if int(measures.pixels.sum()) + measures.void != mask.size:
        raise RuntimeError(f"{path}: a label came up that is not in the card")
    found += audit_file(sample.name, measures, how.size)
    return DecodedPair(*pad_pair(image, mask, how.size), measures, tuple(found))


def _stop_on_errors(findings: Sequence[Finding]) -> None:
    audit = describe_findings(findings)
    if count := audit["counts"]["error"]:
        raise AuditError(
            f"{count} error{'s' if count > 1 else ''} in the data: {_reasons(findings)}; correct them, or leave these files out: "
            "-S prepare.audit=warn",
            audit,
        )


def _reasons(findings: Sequence[Finding]) -> str:
    told = describe_findings(findings)["by_kind"]
    errors = [f"{found['count']} x {kind}" for kind, found in told.items() if found["severity"] == "error"]
    return ", ".join(errors)


class _Spool:
    """Prepared images, masks, and what they look like, in the order in which they come, on disk: memory is not for them.

    They are dealt into splits once all are known; reading and writing map nothing into memory.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {"images": (size, size, 3), "masks": (size, size), "looks": (SMALL,)}
        self.paths = {kind: folder / f"{kind}.spool" for kind in self.shapes}

    def __enter__(self) -> "_Spool":
        self.files: dict[str, IO[bytes]] = {kind: path.open("w+b") for kind, path in self.paths.items()}
        return self

    def __exit__(self, *_: object) -> None:
        for kind, path in self.paths.items():
            self.files[kind].close()
            path.unlink()

    def append(self, image: Pixels, mask: Pixels, small: bytes) -> None:
        self.files["images"].write(np.ascontiguousarray(image).data)
        self.files["masks"].write(np.ascontiguousarray(mask).data)
        self.files["looks"].write(small)

    def read(self, kind: str, numbers: Sequence[int]) -> Pixels:
        content = b"".join(self._read(kind, number) for number in numbers)
        return np.frombuffer(content, np.uint8).reshape(len(numbers), *self.shapes[kind])

    def write(self, numbers: Sequence[int], folder: Path) -> None:
        """`images.npy` and `masks.npy` of these, in this order."""
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


def _describe(card: Card, how: PrepareParams, totals: dict[SplitName, SplitTotals]) -> dict[str, Any]:
    mean, std = totals["train"].normalisation()
    return {
        "title": card.title,
        "classes": [label_class.name for label_class in card.classes],
        "palette": [list(label_class.color) for label_class in card.classes],
        "ignore_index": IGNORE_INDEX if card.void or how.fit == "letterbox" else None,
        "size": how.size,
        "fit": how.fit,
        "images": {name: total.images for name, total in totals.items()},
        "pixels": {name: total.pixels.tolist() for name, total in totals.items()},
        "pixels_where_present": {name: total.pixels_where_present.tolist() for name, total in totals.items()},
        "mean": mean,
        "std": std,
    }
