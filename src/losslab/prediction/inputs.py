"""The images that paths and patterns name, and the paths of their outputs, checked before any work."""

import glob
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from losslab.data.images.georeference import has_georeference, is_rasterio_installed
from losslab.data.readers import IMAGE_SUFFIXES
from losslab.errors import InputError
from losslab.formats import format_list

MAX_FILES_NAMED = 3
"""Files that an error names."""
SOFTWARE = "losslab predict"
"""PNG field, or TIFF tag, Software of the masks that losslab writes."""
PROBABILITIES = ".probabilities.npy"


@dataclass(frozen=True)
class PredictionJob:
    image: Path
    name: Path
    """Path of the outputs below their folder, without suffix."""
    is_georeferenced: bool = False
    """Whether the image is a TIFF that says where on earth it lies."""
    has_overlapping_classes: bool = False
    """Whether the mask has a band for each class, which only a TIFF holds."""

    @property
    def has_geotiff_mask(self) -> bool:
        """Whether the mask is a GeoTIFF, which only rasterio writes."""
        return self.is_georeferenced and is_rasterio_installed()

    def locate_mask(self, out: Path) -> Path:
        return out / f"{self.name}{'.tif' if self.has_geotiff_mask or self.has_overlapping_classes else '.png'}"

    def locate_overlay(self, out: Path) -> Path:
        return out / f"{self.name}.overlay.jpg"

    def locate_probabilities(self, out: Path) -> Path:
        return out / f"{self.name}{PROBABILITIES}"


def find_jobs(paths: Sequence[str], out: Path) -> list[PredictionJob]:
    """Find the images of `paths`, in order: files, folders with all below them, and patterns such as `a/**/*.jpg`.

    The outputs of a file go directly into `out`. Those of a folder or pattern lie as deep below `out` as the image lies
    below the folder, or below the part of the pattern without wildcards. In folders and patterns, files are skipped that
    are hidden, lack the suffix of an image, hold probabilities of an earlier prediction, or lie in `out`.

    Raises:
        InputError: a path names no image; two images would share an output; an output would lie beside an input.
    """
    if not out.is_dir() and out.exists():
        raise InputError(f"{out} is a file; -o takes a folder")
    by_path: dict[str, PredictionJob] = {}
    for path in paths:
        expanded = list(_expand_path(path, out))
        if not expanded:
            raise InputError(_explain_no_image(path))
        for job in expanded:
            by_path.setdefault(os.path.abspath(job.image), job)  # noqa: PTH100 — a link is an image of its own
    jobs = [replace(job, is_georeferenced=has_georeference(job.image)) for job in by_path.values()]
    _check_names(jobs, out)
    _check_folders(jobs, out)
    return jobs


def check_outputs(jobs: Sequence[PredictionJob], out: Path, overwrite: bool) -> None:
    """Raise InputError if outputs replace a folder or, without `overwrite`, files beside a mask of other origin."""
    foreign: list[str] = []
    for job in jobs:
        outputs = [job.locate_mask(out), job.locate_overlay(out), job.locate_probabilities(out)]
        existing = [path for path in outputs if os.path.lexists(path)]
        if folder := next((path for path in existing if path.is_dir()), None):
            raise InputError(f"{folder} is a folder, but a file must be written there; choose another folder with -o")
        if existing and not overwrite and not _has_own_mask(job, out):
            foreign.append(str(existing[0]))
    if foreign:
        raise InputError(
            f"{format_list(foreign, MAX_FILES_NAMED)}: not written by losslab predict; choose another folder with -o, or pass "
            "--overwrite to replace"
        )


def find_lost_georeferences(jobs: Sequence[PredictionJob]) -> list[str]:
    """Find the images that lie somewhere on earth, of which their masks will not tell."""
    return [str(job.image) for job in jobs if job.is_georeferenced and not job.has_geotiff_mask]


def _expand_path(text: str, out: Path) -> Iterator[PredictionJob]:
    path = Path(text)
    if not text:  # as from an unset shell variable; Path takes it for the current folder
        return
    if path.is_dir():
        yield from (PredictionJob(image, _build_name(image, path)) for image in _walk_images(path, out))
    elif path.is_file():
        yield PredictionJob(path, _build_name(path, path.parent))
    elif glob.has_magic(text):
        top = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts[:-1]))
        inside = _lies_in(top / "any", out)
        for match in sorted(map(Path, glob.glob(text, recursive=True))):  # noqa: PTH207 — its ** goes through links
            # A folder, which `**` matches too, stands for the images below it.
            images = _walk_images(match, out) if match.is_dir() else filter(_is_image, [match])
            images = (image for image in images if inside or not _lies_in(image, out))
            yield from (PredictionJob(image, _build_name(image, top)) for image in images)


def _walk_images(folder: Path, out: Path) -> Iterator[Path]:
    """Yield the images in a folder and below it, following links, none twice."""
    seen, own = {folder.resolve()}, out.resolve()
    for parent, folders, files in os.walk(folder, followlinks=True):
        here = Path(parent)
        inside = {name: (here / name).resolve() for name in sorted(folders) if not name.startswith(".")}
        folders[:] = [name for name, real in inside.items() if real != own and real not in seen]
        seen.update(inside.values())
        yield from (here / name for name in sorted(files) if _is_image(here / name))


def _is_image(path: Path) -> bool:
    """Judge a file by its name; a broken link counts, and is reported when it is read."""
    if path.name.startswith(".") or path.name.endswith(PROBABILITIES) or path.suffix.lower() not in IMAGE_SUFFIXES:
        return False
    return path.is_file() or (path.is_symlink() and not path.exists())


def _lies_in(path: Path, folder: Path) -> bool:
    return path.parent.resolve().is_relative_to(folder.resolve())


def _build_name(image: Path, top: Path) -> Path:
    return image.relative_to(top).with_name(image.stem)


def _explain_no_image(text: str) -> str:
    path, endings = Path(text), f"images end in {', '.join(sorted(IMAGE_SUFFIXES))}"
    if not text:
        return "PATH is empty; give an image, a folder or a pattern"
    if path.is_dir():
        return f"{path}: no images in this folder; {endings}"
    if path.exists():
        return f"{path}: neither a file nor a folder"
    if glob.has_magic(text):
        return f"{path}: no images match this pattern; {endings}"
    return f"{path}: no such file or folder"


def _check_names(jobs: Sequence[PredictionJob], out: Path) -> None:
    by_name: dict[Path, list[Path]] = {}
    for job in jobs:
        by_name.setdefault(job.name, []).append(job.image)
    clashes = [images for images in by_name.values() if len(images) > 1]
    if clashes:
        first = " and ".join(str(image) for image in clashes[0][:2])
        more = f" ({len(clashes)} such names)" if len(clashes) > 1 else ""
        mask = next(job for job in jobs if job.image == clashes[0][0]).locate_mask(out)
        raise InputError(
            f"{first} would both become {mask}{more}; predict them into separate folders, or give the folder above both: "
            "outputs keep its structure"
        )
    folders = {folder for job in jobs for folder in job.locate_mask(out).parents}
    if clash := next((job for job in jobs if job.locate_mask(out) in folders), None):
        mask = clash.locate_mask(out)
        raise InputError(f"{mask} would be both the mask of {clash.image} and a folder for other masks; rename one")


def _check_folders(jobs: Sequence[PredictionJob], out: Path) -> None:
    """Raise InputError if a mask would lie beside an image: it could replace it, or later be taken for an image."""
    inputs: dict[Path, Path] = {}
    for job in jobs:
        inputs.setdefault(job.image.parent.resolve(), job.image)
        inputs.setdefault(job.image.resolve().parent, job.image)
    for job in jobs:
        target = job.locate_mask(out)
        if beside := inputs.get(target.parent.resolve()):
            raise InputError(f"{target} would lie beside the input {beside}; choose another folder with -o")


def _has_own_mask(job: PredictionJob, out: Path) -> bool:
    """Tell whether losslab wrote a job's mask or, where there is none, the one it writes with or without rasterio."""
    masks = job.locate_mask(out), *(out / f"{job.name}{suffix}" for suffix in (".png", ".tif"))
    return next((_is_written_by_losslab(mask) for mask in masks if os.path.lexists(mask)), False)


def _is_written_by_losslab(mask: Path) -> bool:
    from PIL.PngImagePlugin import PngImageFile
    from tifffile import TiffFile

    try:
        if mask.suffix == ".png":
            with PngImageFile(mask) as opened:  # Image.open refuses large ones
                return bool(opened.info.get("Software") == SOFTWARE)
        with TiffFile(mask) as tiff:
            return tiff.pages.first.software == SOFTWARE
    except Exception:  # a decoder may raise anything at all on files of others
        return False
