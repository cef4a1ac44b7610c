"""A card for data of your own: written from what their files hold, and the files put where the pipeline reads them."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from losslab.cards import Card, RawValue
from losslab.data.catalog import CATALOG, check_root
from losslab.data.new_dataset.card import build_card_text
from losslab.data.new_dataset.classes import MaskClass, choose_classes
from losslab.errors import InputError
from losslab.io.files import atomic_write, write_text
from losslab.io.yaml import parse_yaml, validate

if TYPE_CHECKING:
    from losslab.data.new_dataset.scan import FilePairs, ScanResult


NO_NAMES = {"null", "true", "false", "yes", "no", "on", "off", "nan", "inf"}
"""What `-S dataset=…` would take for something else."""


@dataclass(frozen=True)
class NewDatasetOptions:
    """What the user says about the data; the rest is found in them."""

    name: str
    images: Path
    masks: Path
    title: str | None = None
    classes: Sequence[str] | None = None
    """Names, in the order of values; None: made up."""
    void: Sequence[RawValue] | None = None
    """None: 255, next to two other values or more."""
    group: str | None = None


@dataclass(frozen=True)
class NewDataset:
    card: Path
    own: Path
    copied: tuple[int, int] | None
    """Files and their bytes; None where they lay in place already."""
    pairs: "FilePairs"
    look: "ScanResult"
    classes: list[MaskClass]
    void: dict[RawValue, float]
    """With their share of all pixels."""
    void_by_custom: bool
    groups: int | None


def create_dataset(wanted: NewDatasetOptions, root: Path = Path()) -> NewDataset:
    """Write data/catalog/NAME.yaml, and copy the pairs to data/raw/NAME/own unless they lie there.

    Nothing is overwritten; on any error neither card nor folder is there.

    Raises:
        InputError: one line: what is wrong with the data or what is said about them, and what would be right.
    """
    card, own = root / CATALOG / f"{wanted.name}.yaml", root / "data/raw" / wanted.name / "own"
    in_place = _check(wanted, card, own, root)
    from losslab.data.new_dataset.scan import find_pairs, scan_pairs  # heavy: what can be told without is told first

    pairs = find_pairs(wanted.images, wanted.masks)
    groups = _count_groups(wanted.group, list(pairs.images))
    found = scan_pairs(pairs)
    classes, void, by_custom = choose_classes(found, wanted.classes, wanted.void)
    title, count = " ".join((wanted.title or "").split()) or wanted.name, len(pairs.images)
    text = build_card_text(wanted.name, title, count, pairs.suffix, classes, void, wanted.group)
    validate(Card, parse_yaml(text), card)
    copied = None
    if in_place:
        write_text(card, text)
    else:
        with _all_or_nothing(own, card):
            with atomic_write(own) as folder:
                copied = _copy(pairs, folder)
            write_text(card, text)
    return NewDataset(card, own, copied, pairs, found, classes, void, by_custom, groups)


def _check(wanted: NewDatasetOptions, card: Path, own: Path, root: Path) -> bool:
    """What can be told before anything is read; returns whether the data lie where they belong."""
    check_root(root)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", wanted.name) or wanted.name.lower() in NO_NAMES:
        raise InputError(
            f"{wanted.name!r} is no name for a dataset: a letter, then letters, digits, _ and - only; not true, null or such"
        )
    if card.exists():
        raise InputError(f"{card} exists already and is not overwritten: edit it, or take another name")
    for name in wanted.classes or []:
        if name.lower() == "void":
            raise InputError("--classes names void, which is no class: --void tells its values")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_ -]*", name):
            raise InputError(f"--classes: {name!r} is no name for a class: letters, digits, _, - and spaces only")
        if list(wanted.classes or []).count(name) > 1:
            raise InputError(f"--classes names {name} twice")
    places = {own / "images": wanted.images, own / "masks": wanted.masks}
    in_place = all(place.resolve() == given.resolve() for place, given in places.items())
    tracked = own.with_name(f"{own.name}.dvc")
    if not in_place and own.exists():
        raise InputError(
            f"{own} exists already and is not overwritten: give its own folders (--images {own}/images --masks "
            f"{own}/masks), or take another name"
        )
    if not in_place and tracked.exists():
        raise InputError(f"{tracked} exists already: `dvc checkout {tracked}` brings its data, or take another name")
    return in_place


def _count_groups(group: str | None, names: Sequence[str]) -> int | None:
    if group is None:
        return None
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise InputError(f"--group: {group!r} is no regular expression: {error}") from None
    if pattern.groups != 1:
        raise InputError(f"--group: {group!r} must have one pair of brackets, around what names the group")
    found = [pattern.search(name) for name in names]
    if not any(found):
        raise InputError(f"--group: {group!r} finds nothing in the names of images, such as {names[0]}")
    return len({(match and match.group(1)) or name for match, name in zip(found, names, strict=True)})


@contextmanager
def _all_or_nothing(own: Path, card: Path) -> Iterator[None]:
    """What was not there before goes again when something fails. A kill may leave the folder, which is told next time."""
    try:
        yield
    except BaseException:
        card.unlink(missing_ok=True)
        shutil.rmtree(own, ignore_errors=True)
        with suppress(OSError):  # not empty: then it is not of our making
            own.parent.rmdir()
        raise


def _copy(pairs: "FilePairs", folder: Path) -> tuple[int, int]:
    """Copy the pairs' files, and nothing else that lies beside them; returns files and bytes."""
    total = 0
    kinds = {"images": pairs.images, "masks": pairs.masks}
    for kind in kinds:
        (folder / kind).mkdir(parents=True)
    files = [(path, folder / kind / path.name) for kind, paths in kinds.items() for path in paths.values()]
    for path, target in tqdm(files, desc="copy", unit=" files", disable=None):
        shutil.copyfile(path, target)
        total += target.stat().st_size
    return len(files), total
