"""Which images are meant, and where what is predicted of each goes; told before any work where that cannot be."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from losslab.data.readers import IMAGE_SUFFIXES
from losslab.errors import InputError

NAMED = 3
"""How many files an error names."""
MARK = "losslab predict"
"""What masks call the program that wrote them."""


@dataclass(frozen=True)
class PredictionJob:
    image: Path
    name: Path
    """Of its outputs below the folder for them, without suffix."""

    def mask(self, out: Path) -> Path:
        return self._output(out, ".png")

    def overlay(self, out: Path) -> Path:
        return self._output(out, ".overlay.jpg")

    def probabilities(self, out: Path) -> Path:
        return self._output(out, ".probabilities.npy")

    def _output(self, out: Path, suffix: str) -> Path:
        return out / self.name.with_name(self.name.name + suffix)


def find_jobs(paths: Sequence[str], out: Path) -> list[PredictionJob]:
    """The images that `paths` mean, in order: files, folders with all below them, and patterns such as `a/**/*.jpg`.

    Outputs go directly into `out` for a file, and else as deep below it as the image lies below the folder, or below the
    part of the pattern without wildcards. In folders and patterns, files that are hidden, have no image's suffix, or lie
    in `out` are passed over.

    Raises:
        InputError: a path that means no image; images whose outputs would have one name, or would lie beside an input.
    """
    if not out.is_dir() and out.exists():
        raise InputError(f"{out}: is a file; -o takes a folder")
    found: dict[str, PredictionJob] = {}
    for path in paths:
        meant = list(_meant(path, out))
        if not meant:
            raise InputError(_nothing(path))
        for job in meant:
            found.setdefault(os.path.abspath(job.image), job)  # noqa: PTH100 — a link is an image of its own
    jobs = list(found.values())
    _check_names(jobs, out)
    _check_folders(jobs, out)
    return jobs


def check_outputs(jobs: Sequence[PredictionJob], out: Path, overwrite: bool) -> None:
    """Raise InputError where outputs would replace what is there, unless it is a mask of `losslab predict` (which says so
    in its file) with what lies beside it, or `overwrite` allows it. A folder is never replaced."""
    foreign: list[Path] = []
    for job in jobs:
        outputs = [job.mask(out), job.overlay(out), job.probabilities(out)]
        there = [path for path in outputs if os.path.lexists(path)]
        if folder := next((path for path in there if path.is_dir()), None):
            raise InputError(f"{folder}: is a folder, where a file is to be written; choose another folder with -o")
        if there and not overwrite and not _is_ours(job.mask(out)):
            foreign.append(there[0])
    if foreign:
        raise InputError(
            f"{_some(foreign)}: there already, and not written by losslab predict; choose another folder with -o, or --overwrite"
        )


def _meant(text: str, out: Path) -> Iterator[PredictionJob]:
    path = Path(text)
    if not text:  # of a shell's variable that is not set; to Path it is the current folder
        return
    if path.is_dir():
        yield from (PredictionJob(image, _name(image, path)) for image in _below(path, out))
    elif path.is_file():
        yield PredictionJob(path, _name(path, path.parent))
    elif glob.has_magic(text):
        top = _without_wildcards(path)
        inside = _lies_in(top / "any", out)
        for match in sorted(map(Path, glob.glob(text, recursive=True))):  # noqa: PTH207 — its ** goes through links
            # A folder, such as `**` gives too, brings what is below it.
            images = _below(match, out) if match.is_dir() else filter(_is_image, [match])
            yield from (
                PredictionJob(image, _name(image, top)) for image in images if inside or not _lies_in(image, out)
            )


def _below(folder: Path, out: Path) -> Iterator[Path]:
    """Images in a folder and those below it, also through links, but none twice."""
    seen, own = {folder.resolve()}, out.resolve()
    for place, folders, files in os.walk(folder, followlinks=True):
        here = Path(place)
        inside = {name: (here / name).resolve() for name in sorted(folders) if not name.startswith(".")}
        folders[:] = [name for name, real in inside.items() if real != own and real not in seen]
        seen.update(inside.values())
        yield from (here / name for name in sorted(files) if _is_image(here / name))


def _is_image(path: Path) -> bool:
    """By its name; a link to nowhere is told when it is read."""
    if path.name.startswith(".") or path.suffix.lower() not in IMAGE_SUFFIXES:
        return False
    return path.is_file() or (path.is_symlink() and not path.exists())


def _lies_in(path: Path, folder: Path) -> bool:
    return path.parent.resolve().is_relative_to(folder.resolve())


def _without_wildcards(pattern: Path) -> Path:
    plain = Path()
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        plain /= part
    return plain


def _name(image: Path, top: Path) -> Path:
    return image.relative_to(top).with_name(image.stem)


def _nothing(text: str) -> str:
    path = Path(text)
    if not text:
        return "PATH is empty; name an image, a folder or a pattern"
    if path.is_dir():
        return f"{path}: no image in this folder; images end in {', '.join(sorted(IMAGE_SUFFIXES))}"
    if path.exists():
        return f"{path}: neither a file nor a folder"
    if glob.has_magic(text):
        return f"{path}: no image matches this pattern; images end in {', '.join(sorted(IMAGE_SUFFIXES))}"
    return f"{path}: no such file or folder"


def _check_names(jobs: Sequence[PredictionJob], out: Path) -> None:
    by_name: dict[Path, list[Path]] = {}
    for job in jobs:
        by_name.setdefault(job.name, []).append(job.image)
    clashes = [images for images in by_name.values() if len(images) > 1]
    if clashes:
        first = " and ".join(str(image) for image in clashes[0][:2])
        more = f" ({len(clashes)} such names)" if len(clashes) > 1 else ""
        mask = next(job for job in jobs if job.image == clashes[0][0]).mask(out)
        raise InputError(
            f"{first} would both become {mask}{more}; predict them into folders of their own, or give the folder that "
            "they lie below: what is in it keeps its place"
        )

    folders = {folder for job in jobs for folder in job.mask(out).parents}
    if clash := next((job for job in jobs if job.mask(out) in folders), None):
        raise InputError(f"{clash.mask(out)} would be the mask of {clash.image}, and a folder of others; rename one")


def _check_folders(jobs: Sequence[PredictionJob], out: Path) -> None:
    """A mask beside an image would take its place, or be taken for another image by whoever reads that folder next."""
    inputs: dict[Path, Path] = {}
    for job in jobs:
        inputs.setdefault(job.image.parent.resolve(), job.image)
        inputs.setdefault(job.image.resolve().parent, job.image)
    for job in jobs:
        target = job.mask(out)
        if beside := inputs.get(target.parent.resolve()):
            raise InputError(f"{target} would lie beside the input {beside}; choose another folder with -o")


def _is_ours(mask: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(mask) as opened:
            return opened.format == "PNG" and opened.info.get("Software") == MARK
    except (OSError, ValueError, SyntaxError):
        return False


def _some(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths[:NAMED])) + (f" and {len(paths) - NAMED} more" if len(paths) > NAMED else "")
