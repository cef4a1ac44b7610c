"""`losslab datasets …`: the catalog, and a card for data of your own."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from losslab.cli.console import AsJson, cli_errors, exit_with_errors, print_json, print_table
from losslab.data.annotations import FormatName
from losslab.errors import InputError
from losslab.formats import format_bytes, format_plural
from losslab.io.files import PRIVATE
from losslab.stage import print_line, print_warning

if TYPE_CHECKING:
    from losslab.cards import RawValue
    from losslab.data.catalog import CatalogEntry
    from losslab.data.new_dataset.create import NewDataset

app = typer.Typer()
MAX_CLASSES_SHOWN = 6
OVERLAYS = Path(PRIVATE, "overlays")
"""Folder of sheets to look at: data/raw/NAME has what stages depend on, and nothing else."""
MIN_IMAGES = 3
"""Images, or groups, that three splits need."""
MAX_PLAUSIBLE_CLASSES = 32
"""Number of classes above which the masks are probably anti-aliased."""


@app.callback(invoke_without_command=True)
@cli_errors()
def datasets(context: typer.Context, as_json: AsJson = False) -> None:
    """List the datasets: images, download size, classes, licence, and what is on this disk."""
    if context.invoked_subcommand is not None:
        return
    from losslab.data.catalog import read_catalog

    entries = read_catalog()
    if as_json:
        print_json([entry.describe() for entry in entries])
    else:
        header = ("dataset", "title", "images", "download", "classes", "licence", "on disk")
        print_table(header, [_build_row(entry) for entry in entries])
        print_line("More: losslab datasets --json, losslab datasets new --help, losslab docs own-data")
    exit_with_errors([entry.fault for entry in entries if entry.fault is not None])


@app.command()
@cli_errors()
def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the dataset: letters, digits, _ and -.")],
    images: Annotated[Path, typer.Option(help="Folder of images.")],
    masks: Annotated[
        Path | None, typer.Option(help="Folder of masks, named like the images (im1.jpg: im1.png or im1_mask.png).")
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="Instead of masks: a file or folder of annotations, which masks are drawn from.")
    ] = None,
    format: Annotated[  # noqa: A002
        FormatName | None,
        typer.Option(help="Format of the annotations (default: what the files tell)."),
    ] = None,
    unannotated: Annotated[
        Literal["empty", "skip"] | None,
        typer.Option(help="Take images without an annotation as background, or leave them out."),
    ] = None,
    annotators: Annotated[
        bool,
        typer.Option(
            "--annotators",
            help="Masks or annotations lie in a folder for each annotator: take the majority, and void without one.",
        ),
    ] = False,
    overlapping: Annotated[
        bool,
        typer.Option(
            "--overlapping",
            help="A pixel may be of several classes: masks/CLASS/im1.png, masks/im1/CLASS.png, or files with a band for each.",
        ),
    ] = False,
    pair: Annotated[
        str | None,
        typer.Option(help="Regular expression whose brackets capture the same in the names of an image and its mask."),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Class names in the order of mask values: background,cell; of annotations, labels: cell,other=dirt+air"
        ),
    ] = None,
    values: Annotated[
        str | None,
        typer.Option(help="Mask values of each class, joined by +: 0,1+255; 0-127,128-255; #000000,#ff0000+#00ff00"),
    ] = None,
    void: Annotated[
        str | None,
        typer.Option(help="Mask values to ignore: 9,255; #e0e0c0; none; of annotations, labels, or rest"),
    ] = None,
    foreground: Annotated[
        Literal["nonzero"] | None,
        typer.Option(
            help="Make all mask values but 0 (or black) and void one class, as where each object has its own."
        ),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Regular expression whose brackets capture an image's group, such as a patient.")
    ] = None,
    bands: Annotated[
        str | None,
        typer.Option(
            help="Names of the images' bands, in order: red,green,blue,nir (default: the files', or band1, …)."
        ),
    ] = None,
    scaling: Annotated[
        str | None,
        typer.Option(
            help="What becomes 0 to 1: percentiles 0.1-99.9%, values 0-10000, dtype range; or mean std."
            " (default: dtype range of 8 bits, else 0.1-99.9%)"
        ),
    ] = None,
    shown: Annotated[
        str | None, typer.Option(help="One band, or three as red, green and blue, that pictures show: nir,red,green")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the dataset (default: NAME).")] = None,
) -> None:
    """Inspect your own images and masks, or draw masks from annotations, and write their card, data/catalog/NAME.yaml.

    Files outside data/raw/NAME/own are copied there.
    """
    from losslab.data.new_dataset.create import create_dataset
    from losslab.data.new_dataset.options import NewDatasetOptions

    options = NewDatasetOptions(
        name=name,
        images=_locate(images, context.obj),
        masks=None if masks is None else _locate(masks, context.obj),
        annotations=None if annotations is None else _locate(annotations, context.obj),
        format=format,
        annotators=annotators,
        unannotated=unannotated,
        overlapping=overlapping,
        title=title,
        classes=_split(classes),
        values=_parse_values(values),
        void=None if annotations else _parse_void(void),
        void_labels=([] if void == "none" else _split(void)) if annotations else None,
        pair=pair,
        foreground=foreground is not None,
        group=group,
        bands=_split(bands),
        scaling=_parse_scaling(scaling),
        shown=_split(shown),
    )
    made = create_dataset(options)
    _print_data(made)
    if made.copied is not None:
        files, size = made.copied
        print_line(f"copied {files} files, {format_bytes(size)}, to {made.own}")
    _print_warnings(made)
    _print_overlays(made, name)
    where = f" in {Path.cwd()}" if context.obj else ""
    print_line(f"wrote {made.card}; check it, then run{where}:")
    print_line(f"  dvc add {made.own}")
    print_line(f'  git add {made.card} {made.own}.dvc && git commit -m "Add {name}"')
    method = "official" if made.pairs.has_splits else "grouped" if (made.groups or 0) >= MIN_IMAGES else "random"
    loss = " -S loss=bce+dice" if overlapping else ""  # that of a new project weighs classes against each other
    print_line(f"  dvc exp run -S dataset={name} -S prepare.split.method={method}{loss}")


def _locate(path: Path, start: Path | None) -> Path:
    """Write a path that is meant from the folder `start` as one from this folder."""
    return Path(os.path.relpath(start / path)) if start and not path.is_absolute() else path


def _build_row(entry: "CatalogEntry") -> tuple[str, ...]:
    states = ", ".join(word for word, holds in (("yes", entry.on_disk), ("prepared", entry.prepared)) if holds)
    if entry.card is None:
        return entry.name, "broken card, see below", "", "", "", "", states
    names = [label_class.name for label_class in entry.card.classes]
    shown = ", ".join(names[:MAX_CLASSES_SHOWN])
    return (
        entry.name,
        entry.card.title,
        "?" if entry.images is None else str(entry.images),
        _describe_download(entry),
        shown if len(names) <= MAX_CLASSES_SHOWN else f"{len(names)}: {shown}, …",
        entry.card.licence,
        states,
    )


def _describe_download(entry: "CatalogEntry") -> str:
    if entry.source in ("generator", "own"):
        return "drawn" if entry.source == "generator" else "own"
    size = "?" if entry.bytes_to_download is None else format_bytes(entry.bytes_to_download)
    return f"{size}, by hand" if entry.by_hand else size


def _split(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",")]


def _parse_scaling(text: str | None) -> str | dict[str, list[float]] | None:
    if text is None or text in ("dtype range", "mean std"):
        return text
    number = r"(-?\d+(?:\.\d+)?)"
    match = re.fullmatch(rf"{number}-{number}(%?)", text.replace(" ", ""))
    if match is None:
        raise InputError(
            f"--scaling: {text!r} is none of: percentiles such as 0.1-99.9%, values such as 0-10000, dtype range, mean std"
        )
    low, high, percent = match.groups()
    return {"percentiles" if percent else "range": [float(low), float(high)]}


def _parse_values(text: str | None) -> "list[list[RawValue]] | None":
    if text is None:
        return None
    return [
        [value for part in one.split("+") for value in _parse_part("--values", part.strip())] for one in text.split(",")
    ]


def _parse_void(text: str | None) -> "list[RawValue] | None":
    if text is None:
        return None
    if text.strip() == "none":
        return []
    return [value for part in text.split(",") for value in _parse_part("--void", part.strip(), ", or none")]


def _parse_part(option: str, text: str, other: str = "") -> "list[RawValue]":
    """Return the value, or the values of a range, that a part of an option names."""
    if re.fullmatch("#[0-9a-fA-F]{6}", text):
        red, green, blue = bytes.fromhex(text[1:])
        return [(red, green, blue)]
    from losslab.cards import parse_range

    numbers = parse_range(text if "-" in text else f"{text}-{text}")
    if numbers is None:
        raise InputError(
            f"{option}: {text!r} is not a mask value; give a number up to 65535, a range such as 128-255, a colour such as "
            f"#e0e0c0{other}"
        )
    return list(numbers)


def _print_data(made: "NewDataset") -> None:
    from losslab.data.new_dataset.card import format_scaling
    from losslab.data.new_dataset.classes import format_share
    from losslab.data.new_dataset.drawing_notes import describe_drawing
    from losslab.data.new_dataset.values import format_raw_value, format_raw_values

    suffix = made.pairs.suffix
    naming = f"named like the images, plus {suffix}" if suffix else "named like the images"
    if made.drawn is not None:
        naming = f"drawn from {format_plural(made.drawn.shapes, 'shape')} of {made.drawn.annotations.kind}"
        naming = naming.removesuffix(" of masks")
        naming = naming if made.drawn.shapes else f"taken from those of {made.drawn.annotations.kind}"
    low, high = (f"{width}x{height}" for width, height in (made.scan.smallest, made.scan.largest))
    sizes = low if low == high else f"{low} to {high}"
    print_line(f"{format_plural(len(made.pairs.images), 'image')} of {sizes}, with masks {naming}")
    for line in describe_drawing(made):
        print_line(f"  {line}")
    if made.bands is not None:
        print_line(f"  {', '.join(made.bands.names)}: {made.bands.dtype}, scaled by {format_scaling(made.bands)}")
    for each in made.classes:
        print_line(f"  {format_raw_values(each.values)}: {each.name}, {format_share(each.share)} of all pixels")
    for value, share in made.void.items():
        why = " (by convention; --void none makes it a class)" if made.void_by_custom else ""
        print_line(f"  {format_raw_value(value)}: void, {format_share(share)} of all pixels{why}")
    if made.has_listed_names:
        print_line(f"  with the names in {made.names_file}")
    if made.groups is not None:
        print_line(f"  in {format_plural(made.groups, 'group')}")


def _print_warnings(made: "NewDataset") -> None:
    """Warn of what a person should look at, and of what prepare would stop at in data/raw/NAME/own."""
    from losslab.data.new_dataset.drawing_notes import list_drawing_doubts

    for doubt in list_drawing_doubts(made):
        print_warning(doubt)
    pairs, scan = made.pairs, made.scan
    alone = {
        "images without a mask": pairs.images_alone,
        "masks without an image": pairs.masks_alone,
        "files with the name of another": pairs.doubles,
    }
    void_alone = {mask.path for mask in scan.masks if mask.pixels.keys() <= made.void.keys()}
    unusable: dict[str, list[str]] = {}
    for name, error in scan.unusable.items():
        unusable.setdefault(error.kind, []).append(f"{name}: {error.detail}")
    unfit = unusable | {
        "masks that differ in size from their image": scan.other_sizes,
        "masks of nothing but void": [name for name, path in pairs.masks.items() if path in void_alone],
    }
    for what, names in (alone | unfit).items():
        if names:
            not_copied = "; not copied" if what in alone and made.copied else ""
            print_warning(f"{what}: {_format_names(names)}{not_copied}")
    if any(unfit.values()) or (made.copied is None and any(alone.values())):
        print_warning("prepare will stop at these: fix them, or leave them out with -S prepare.audit=warn")
    if made.names_file and not made.has_listed_names:
        print_warning(f"{made.names_file}: its names do not fit the values of the masks; give names with --classes")
    if scan.palettes:
        print_warning(f"masks were read in colours, as their palettes differ: {scan.palettes}")
    if len(made.classes) > MAX_PLAUSIBLE_CLASSES:
        print_warning(
            f"{len(made.classes)} classes: were the masks resized with smooth edges? They should hold one value per class"
        )
    if len(pairs.images) < MIN_IMAGES:
        count = format_plural(len(pairs.images), "image")
        print_warning(f"{count} cannot be split into train, val and test; a run needs {MIN_IMAGES}")
    elif made.groups is not None and made.groups < MIN_IMAGES:
        count = format_plural(made.groups, "group")
        print_warning(f"{count} cannot be split into train, val and test; a random split tears groups apart")


def _print_overlays(made: "NewDataset", name: str) -> None:
    from losslab.cards import read_card
    from losslab.data.new_dataset.overlays import draw_overlays

    sheet = OVERLAYS / f"{name}.png"
    if count := draw_overlays(read_card(name), made.own, sheet):
        print_line(f"drew {format_plural(count, 'image')} with their classes on {sheet}; look at it before you train")


def _format_names(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
