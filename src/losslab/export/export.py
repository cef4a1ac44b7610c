"""Export of a model folder to one file of another format, kept only if it gives the same logits."""

from dataclasses import dataclass
from pathlib import Path

from losslab import models
from losslab.errors import InputError, describe_error
from losslab.export.deployable import build_metadata, describe_input
from losslab.export.formats import SUFFIXES, FormatName, VaryingAxes, find_smallest_side, read_net, write_net
from losslab.export.parity import ParityReport, measure_parity
from losslab.export.sample import load_sample
from losslab.io.files import atomic_write
from losslab.io.hashing import compute_file_md5
from losslab.models.probe import find_fault, shorten_error

TOLERANCE = 1e-3
"""Largest absolute difference between logits; a probability changes by at most a quarter of it."""


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    path: Path
    input: str
    """Description of the images that the file takes."""
    size: int
    """Pixels a side of the exported example; the only size that the file takes if its size is fixed."""
    varies: VaryingAxes
    smallest_side: int | None
    """Fewest pixels a side; None if the size is fixed."""
    refused: tuple[str, ...]
    """Attempts that failed, each a line that says what cannot vary and why."""
    parity: ParityReport
    origin: str
    trained_precision: str


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    format: FormatName
    model: Path = Path("models")
    path: Path | None = None
    """Path of the file; None for `model` and the format's suffix in the model's folder."""
    size: int | None = None
    """Pixels a side, for a fixed size; None lets the size vary if the net allows it."""
    images: tuple[Path, ...] = ()
    tolerance: float = TOLERANCE


def export_model(options: ExportOptions) -> ExportResult:
    """Write the model in another format, with a batch and size that vary if the net and its exporter allow it.

    Raises:
        InputError: there is no model, it cannot be exported, or its logits differ from torch's; no file is left.
    """
    net, description = models.load(options.model)
    suffix = SUFFIXES[options.format]
    path = options.path or options.model / f"model{suffix}"
    if path.suffix != suffix:  # so it overwrites neither weights nor images
        raise InputError(f"--output: {path} must end in {suffix}, the suffix of {options.format} files")
    if path.is_dir():
        raise InputError(f"--output: {path} is a folder; give the path of a file")
    size = options.size or description["size"]
    if reason := find_fault(net, size):
        raise InputError(f"--size: this net cannot take images of {size}x{size}: {reason}")
    prepared = Path("data/prepared") / (description["run"]["dataset"] or "")
    sample = load_sample(options.images, prepared, size, description)
    fixed = build_metadata(net, description, compute_file_md5(options.model / models.WEIGHTS))
    attempts: tuple[VaryingAxes, ...] = ("batch and size", "batch", "nothing")
    refused: list[str] = []
    for varies in attempts if options.size is None else attempts[1:]:
        side = find_smallest_side(net) if varies == "batch and size" else size
        metadata = fixed | {"varies": varies, "size": size, "smallest_side": side}
        try:
            with atomic_write(path) as partial:
                write_net(options.format, partial, net, metadata, size, varies)
                run, batches = read_net(options.format, partial), sample.build_batches(varies, net.stride)
                parity = measure_parity(net, description, run, batches)
                if not parity.difference <= options.tolerance:  # NaN is not within any tolerance
                    raise RuntimeError(
                        f"its logits differ from torch's by up to {parity.difference:.2g}, more than the tolerance "
                        f"{options.tolerance:g}, and {parity.changed} of {parity.pixels} pixels get another label"
                    )
        except InputError:  # the net itself is at fault
            raise
        except OSError as error:
            raise InputError(f"cannot write {describe_error(error, path)}") from error
        except Exception as error:  # whatever exporters and runtimes raise
            refused.append(f"{varies}: {shorten_error(error)}")
            continue
        return ExportResult(
            path=path,
            input=describe_input(description),
            size=size,
            varies=varies,
            smallest_side=side if varies == "batch and size" else None,
            refused=tuple(refused),
            parity=parity,
            origin=sample.origin,
            trained_precision=description["precision"],
        )
    raise InputError(f"cannot export this net to {options.format}: {refused[-1].partition(': ')[2]}")
