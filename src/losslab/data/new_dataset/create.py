"""A card for your own data, written from what the files hold, and the files put where the pipeline reads them."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from losslab.bands import RGB, CardBands
from losslab.cards import IGNORE_INDEX, Card, RawValue, find_groups
from losslab.data.catalog import CATALOG, check_root
from losslab.data.images.names import list_mask_files
from losslab.data.new_dataset.card import build_card_text
from losslab.data.new_dataset.class_names import find_class_names
from losslab.data.new_dataset.classes import MaskClass, choose_classes
from losslab.data.new_dataset.options import NewDatasetOptions
from losslab.data.readers import check_not_linked, get_stem, normalize_name
from losslab.errors import InputError
from losslab.io.files import atomic_write, write_text
from losslab.io.yaml import parse_yaml, validate

if TYPE_CHECKING:
    from losslab.data.new_dataset.annotators import MergedMasks
    from losslab.data.new_dataset.drawn import DrawnMasks
    from losslab.data.new_dataset.pairs import FilePairs
    from losslab.data.new_dataset.scan import ScanResult

RESERVED_NAMES = {"null", "true", "false", "yes", "no", "on", "off", "nan", "inf"}
"""Words that `-S dataset=…` would not take for a name."""


@dataclass(frozen=True, kw_only=True)
class NewDataset:
    card: Path
    own: Path
    bands: CardBands | None
    """The images' bands; None for RGB of 8 bits."""
    copied: tuple[int, int] | None
    """Number of files and their bytes; None if they were in place already."""
    pairs: "FilePairs"
    scan: "ScanResult"
    classes: list[MaskClass]
    void: dict[RawValue, float]
    """Void values with their share of all pixels, 0 to 1."""
    void_by_custom: bool
    groups: int | None
    names_file: Path | None
    """A file of class names beside the masks."""
    has_listed_names: bool
    """Whether the classes have the names of that file, because they fit."""
    drawn: "DrawnMasks | None"
    """The masks that were drawn from annotations, if any were."""
    unused_labels: list[str]
    """Labels of annotations that no pixel has, which are no classes."""
    merged: "MergedMasks | None"
    """The masks of several annotators that were made one, if any were."""


def create_dataset(options: NewDatasetOptions, root: Path = Path()) -> NewDataset:
    """Write data/catalog/NAME.yaml, and copy the pairs to data/raw/NAME/own unless they are there already.

    Nothing is overwritten. Raises InputError for wrong data or options; then neither the card nor the folder exists.
    """
    card, own = root / CATALOG / f"{options.name}.yaml", root / "data/raw" / options.name / "own"
    in_place = _check_options(options, card, own, root)
    from losslab.data.new_dataset.annotated import draw_annotations, open_masks_folder
    from losslab.data.new_dataset.bands import choose_bands
    from losslab.data.new_dataset.pairs import find_pairs
    from losslab.data.new_dataset.scan import scan_pairs  # heavy, and not needed for the checks before

    pattern = _compile("--pair", options.pair) if options.pair is not None else None
    drawn, merged, unused = None, None, list[str]()
    with ExitStack() as stack:
        if options.annotations is not None:
            drawn = draw_annotations(options, options.annotations, stack.enter_context(open_masks_folder(own)))
            if drawn is None:  # a folder of masks
                options = replace(options, masks=options.annotations, annotations=None)
        if drawn is None and options.annotators:
            from losslab.data.new_dataset.annotators import merge_masks

            merged = merge_masks(options, stack.enter_context(open_masks_folder(own)), pattern)
            options = replace(options, void=merged.void)
        names: list[str] | None = None
        if drawn is None and options.overlapping and options.masks is not None:
            from losslab.data.new_dataset.overlapping import find_class_masks

            given_masks = find_class_masks(
                options, options.masks, stack.enter_context(open_masks_folder(own)), in_place
            )
            pairs, names = given_masks.pairs, given_masks.names
        elif (given := drawn or merged) is not None:
            pairs = given.pairs
        else:
            assert options.masks is not None
            pairs = find_pairs(options.images, options.masks, pattern, deep=not in_place)
        if (
            in_place
            and pattern
            and any(get_stem(path) != get_stem(pairs.images[name]) for name, path in pairs.masks.items())
        ):
            raise InputError(
                "--pair: data in place are not renamed; give each mask its image's name, or name other folders"
            )
        groups = _count_groups(options.group, list(pairs.images))
        bands = choose_bands(pairs.images, options)
        form = RGB if bands is None else bands.format
        listed_names, by_custom = None, False
        if options.overlapping:
            from losslab.data.new_dataset.overlapping import ANY, DRAWN, scan_overlapping

            is_drawn = drawn is not None and drawn.groups is not None
            void_values = [IGNORE_INDEX] if is_drawn else list(options.void or ())
            classes_named = list(drawn.groups) if drawn is not None and drawn.groups is not None else names or []
            scan, classes, void = scan_overlapping(pairs, classes_named, DRAWN if is_drawn else ANY, void_values, form)
        else:
            stated = [value for values in options.values or () for value in values] or [0] * (drawn is not None)
            scan = scan_pairs(pairs, max(len(options.void or ()), 1), stated, form)
            if drawn is not None:
                from losslab.data.new_dataset.label_classes import choose_label_classes

                options, unused = choose_label_classes(options, drawn, scan.pixels)
            listed_names = find_class_names(options.masks) if options.masks and options.classes is None else None
            classes, void, by_custom = choose_classes(scan, options, listed_names)
        title = " ".join((options.title or "").split()) or options.name
        text = build_card_text(options.name, title, pairs, classes, void, options.group, bands, options.overlapping)
        validate(Card, parse_yaml(text), card)
        copied = None
        if in_place:
            write_text(card, text)
        else:
            with _remove_on_failure(own, card):
                with atomic_write(own) as folder:
                    copied = _copy_pairs(pairs, folder)
                write_text(card, text)
    return NewDataset(
        card=card,
        own=own,
        bands=bands,
        copied=copied,
        pairs=pairs,
        scan=scan,
        classes=classes,
        void=void,
        void_by_custom=by_custom,
        groups=groups,
        names_file=listed_names.path if listed_names else None,
        has_listed_names=bool(listed_names and listed_names.pick([one.values[0] for one in classes])),
        drawn=drawn,
        unused_labels=unused,
        merged=merged,
    )


def _check_options(options: NewDatasetOptions, card: Path, own: Path, root: Path) -> bool:
    """Check what needs no reading of files; return whether the data are where they belong already."""
    check_root(root)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", options.name) or options.name.lower() in RESERVED_NAMES:
        raise InputError(
            f"{options.name!r} cannot name a dataset: use a letter, then letters, digits, _ and -; not true, null or such"
        )
    if card.exists():
        raise InputError(f"{card} already exists: edit it, or choose another name")
    _check_annotations(options)
    names = [each.partition("=")[0].strip() if options.annotations else each for each in options.classes or []]
    for name in names:
        if name.lower() == "void":
            raise InputError("--classes: void is not a class; give its values with --void")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_ -]*", name):
            raise InputError(f"--classes: {name!r} cannot name a class: use letters, digits, _, - and spaces")
        if names.count(name) > 1:
            raise InputError(f"--classes names {name} twice")
    if options.foreground and options.values is not None:
        raise InputError("--foreground and --values: give one of them; --values says which values are one class")
    check_not_linked(own, root)
    places = {own / "images": options.images, own / "masks": options.masks}
    if all(given is not None and place.resolve() == given.resolve() for place, given in places.items()):
        if options.annotators:
            raise InputError("--annotators: masks in place are not merged; name other folders")
        return True
    tracked = own.with_name(f"{own.name}.dvc")
    if own.exists():
        raise InputError(
            f"{own} already exists: to use it, give --images {own}/images --masks {own}/masks; else choose another name"
        )
    if tracked.exists():
        remedy = f"get its data with `dvc checkout {tracked}`, or choose another name"
        raise InputError(f"{tracked} already exists: {remedy}")
    return False


def _check_annotations(options: NewDatasetOptions) -> None:
    """Raise InputError for none or both of masks and annotations, and for options of the other."""
    if (options.masks is None) == (options.annotations is None):
        raise InputError("give --masks or --annotations, one of the two")
    of_masks = {"--pair": options.pair, "--values": options.values, "--foreground": options.foreground or None}
    if options.overlapping:
        taken = [option for option, given in of_masks.items() if given is not None]
        taken += ["--annotators with masks"] * (options.annotators and options.masks is not None)
        if taken:
            raise InputError(f"--overlapping takes no {taken[0]}")
        if any(isinstance(value, tuple) for value in options.void or ()):
            raise InputError("--void: masks of overlapping classes hold numbers, not colours")
    of_annotations = {"--format": options.format, "--unannotated": options.unannotated}
    others = of_annotations if options.annotations is None else of_masks
    for option, given in others.items():
        if given is not None:
            raise InputError(f"{option} is for {'--annotations' if options.annotations is None else '--masks'}")


def _count_groups(group: str | None, names: Sequence[str]) -> int | None:
    if group is None:
        return None
    pattern = _compile("--group", group)
    if pattern.groups != 1:
        raise InputError(f"--group: {group!r} must have one pair of brackets, around what names the group")
    groups = find_groups(group, names)  # in bounded time, so that another search is safe
    if not any(pattern.search(name.split("/")[-1]) for name in names):
        raise InputError(f"--group: {group!r} finds no group in image names such as {names[0]}")
    return len(set(groups.values()))


def _compile(option: str, text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(normalize_name(text))
    except re.error as error:
        raise InputError(f"{option}: {text!r} is not a regular expression: {error}") from None
    if not pattern.groups:
        raise InputError(f"{option}: {text!r} must have one pair of brackets, around what it captures")
    return pattern


@contextmanager
def _remove_on_failure(own: Path, card: Path) -> Iterator[None]:
    """Remove both when something fails. A kill may leave the folder, which the next call then reports."""
    try:
        yield
    except BaseException:
        card.unlink(missing_ok=True)
        shutil.rmtree(own, ignore_errors=True)
        with suppress(OSError):  # a folder that is not empty is not ours
            own.parent.rmdir()
        raise


def _copy_pairs(pairs: "FilePairs", folder: Path) -> tuple[int, int]:
    """Copy the files of the pairs and no others; return their number and bytes."""
    files = []
    for name in pairs.images:
        split, _, stem = name.rpartition("/")
        image, mask = pairs.images[name], pairs.masks[name]
        files.append((image, folder / split / "images" / f"{stem}{image.suffix}"))
        target = folder / split / "masks" / f"{stem}{pairs.suffix}{mask.suffix}"
        if mask.is_dir():
            files += [(path, folder / split / "masks" / stem / path.name) for path in list_mask_files(mask)]
        else:
            files.append((mask, target))
    for path, target in tqdm(files, desc="copy", unit=" files", disable=None):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return len(files), sum(target.stat().st_size for _, target in files)
