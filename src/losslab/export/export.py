"""A model folder as one file of another format, kept only if it gives the same logits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from losslab import models
from losslab.errors import InputError
from losslab.export.deployable import build_metadata
from losslab.export.formats import SUFFIXES, FormatName, Varies, find_smallest_side, read_net, write_net
from losslab.export.parity import ParityReport, measure_parity
from losslab.export.sample import load_sample
from losslab.io.files import atomic_write
from losslab.io.hashing import compute_file_md5
from losslab.models.probe import find_fault, shorten_error
from losslab.prediction.model import read_description

TOLERANCE = 1e-3
"""Of logits, absolute: a probability moves by at most a quarter of it."""


@dataclass(frozen=True)
class ExportResult:
    path: Path
    size: int
    """Pixels a side that it was made at; that it takes, where the size is fixed."""
    varies: Varies
    smallest_side: int | None
    """Pixels, where the size varies."""
    refused: tuple[str, ...]
    """What cannot vary and why, one line for each attempt that failed."""
    parity: ParityReport
    origin: str
    trained_precision: str


@dataclass(frozen=True)
class ExportOptions:
    format: FormatName
    model: Path = Path("models")
    path: Path | None = None
    """None: in the model's folder."""
    size: int | None = None
    """None: any, where the net allows."""
    images: tuple[Path, ...] = ()
    tolerance: float = TOLERANCE


def export_model(wanted: ExportOptions) -> ExportResult:
    """Write the model in the format that is wanted, with as much left open as the net and its exporter allow.

    Raises:
        InputError: no model, no way to export it, or other logits than torch's: then there is no file.
    """
    read_description(wanted.model)
    net, description = models.load(wanted.model)
    suffix = SUFFIXES[wanted.format]
    path = wanted.path or wanted.model / f"model{suffix}"
    if path.suffix != suffix:  # no folder, and no file that is read: neither weights nor images end so
        raise InputError(f"--output: {path} must be a file that ends in {suffix}, as {wanted.format} does")
    if path.is_dir():
        raise InputError(f"--output: {path} is a folder; name the file")
    size = wanted.size or description["size"]
    if reason := find_fault(net, size):
        raise InputError(f"--size: this net cannot take images of {size}x{size}: {reason}")
    prepared = Path("data/prepared") / description["run"].get("dataset", "")  # a registered model has none
    images = load_sample(wanted.images, prepared, size, description["fit"])
    about = build_metadata(net, description, compute_file_md5(wanted.model / models.WEIGHTS))
    attempts: Sequence[Varies] = ("batch and size", "batch", "nothing") if wanted.size is None else ("batch", "nothing")
    refused: list[str] = []
    for varies in attempts:
        side = find_smallest_side(net) if varies == "batch and size" else size
        told = about | {"varies": varies, "size": size, "smallest_side": side}
        try:
            with atomic_write(path) as partial:
                write_net(wanted.format, partial, net, told, size, varies)
                run, batches = read_net(wanted.format, partial), images.batches(varies, net.stride)
                found = measure_parity(net, description["mean"], description["std"], run, batches)
                if not found.within(wanted.tolerance):
                    raise _OtherLogitsError(found, wanted.tolerance)
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
        except Exception as error:  # whatever exporters and runtimes raise
            refused.append(f"{varies}: {shorten_error(error)}")
            continue
        smallest = side if varies == "batch and size" else None
        return ExportResult(
            path, size, varies, smallest, tuple(refused), found, images.origin, description["precision"]
        )
    raise InputError(f"{wanted.format}: this net cannot be exported: {refused[-1].partition(': ')[2]}")


class _OtherLogitsError(Exception):
    def __init__(self, found: ParityReport, tolerance: float) -> None:
        super().__init__(
            f"its logits differ from torch's by up to {found.difference:.2g}, more than the tolerance {tolerance:g}, "
            f"and {found.changed} of {found.pixels} pixels get another label"
        )
