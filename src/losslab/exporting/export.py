"""A model folder as one file of another format, kept only if it gives the same logits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from losslab import models
from losslab.errors import InputError
from losslab.exporting.deployable import card
from losslab.exporting.formats import SUFFIXES, FormatName, Varies, read, smallest_side, write
from losslab.exporting.parity import Parity, parity
from losslab.exporting.sample import sample
from losslab.files import file_md5, whole
from losslab.models.trial import fault, in_short
from losslab.predicting.model import read_description

TOLERANCE = 1e-3
"""Of logits, absolute: a probability moves by at most a quarter of it."""


@dataclass(frozen=True)
class Exported:
    path: Path
    size: int
    """Pixels a side that it was made at; that it takes, where the size is fixed."""
    varies: Varies
    smallest_side: int | None
    """Pixels, where the size varies."""
    refused: tuple[str, ...]
    """What cannot vary and why, one line for each attempt that failed."""
    parity: Parity
    origin: str
    trained_precision: str


@dataclass(frozen=True)
class Wanted:
    format: FormatName
    model: Path = Path("models")
    path: Path | None = None
    """None: in the model's folder."""
    size: int | None = None
    """None: any, where the net allows."""
    images: tuple[Path, ...] = ()
    tolerance: float = TOLERANCE


def export(wanted: Wanted) -> Exported:
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
    if reason := fault(net, size):
        raise InputError(f"--size: this net cannot take images of {size}x{size}: {reason}")
    prepared = Path("data/prepared") / description["run"].get("dataset", "")  # a registered model has none
    images = sample(wanted.images, prepared, size, description["fit"])
    about = card(net, description, file_md5(wanted.model / models.WEIGHTS))
    attempts: Sequence[Varies] = ("batch and size", "batch", "nothing") if wanted.size is None else ("batch", "nothing")
    refused: list[str] = []
    for varies in attempts:
        side = smallest_side(net) if varies == "batch and size" else size
        told = about | {"varies": varies, "size": size, "smallest_side": side}
        try:
            with whole(path) as partial:
                write(wanted.format, partial, net, told, size, varies)
                run, batches = read(wanted.format, partial), images.batches(varies, net.stride)
                found = parity(net, description["mean"], description["std"], run, batches)
                if not found.within(wanted.tolerance):
                    raise _OtherLogitsError(found, wanted.tolerance)
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
        except Exception as error:  # whatever exporters and runtimes raise
            refused.append(f"{varies}: {in_short(error)}")
            continue
        smallest = side if varies == "batch and size" else None
        return Exported(path, size, varies, smallest, tuple(refused), found, images.origin, description["precision"])
    raise InputError(f"{wanted.format}: this net cannot be exported: {refused[-1].partition(': ')[2]}")


class _OtherLogitsError(Exception):
    def __init__(self, found: Parity, tolerance: float) -> None:
        super().__init__(
            f"its logits differ from torch's by up to {found.difference:.2g}, more than the tolerance {tolerance:g}, "
            f"and {found.changed} of {found.pixels} pixels get another label"
        )
