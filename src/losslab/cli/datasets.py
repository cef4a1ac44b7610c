"""`losslab datasets …`: the catalog, and a card for data of your own."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from losslab.cli.console import exit_with_error, print_error, print_table
from losslab.errors import InputError
from losslab.formats import format_bytes

if TYPE_CHECKING:
    from losslab.cards import RawValue
    from losslab.data.catalog import CatalogEntry
    from losslab.data.new_dataset.create import NewDataset

app = typer.Typer()
MOST_NAMES = 6
"""Of classes, that a row shows."""
LEAST = 3
"""Images, or groups, for three splits."""
SHADES = 32
"""More classes than these are hardly meant."""


@app.callback(invoke_without_command=True)
def datasets(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print all there is to know as JSON.")] = False,
) -> None:
    """List the datasets: images, size of the download, classes, licence, and what is on this disk."""
    if context.invoked_subcommand is not None:
        return
    from losslab.data.catalog import read_catalog

    try:
        entries = read_catalog()
    except InputError as error:
        exit_with_error(error)
    if as_json:
        typer.echo(json.dumps([entry.describe() for entry in entries], indent=2, ensure_ascii=False))
    else:
        header = ("dataset", "title", "images", "download", "classes", "licence", "on disk")
        print_table(header, [_row(entry) for entry in entries])
        typer.echo("More: losslab datasets --json, losslab datasets new --help, docs/data.md")
    faults = [entry.fault for entry in entries if entry.fault is not None]
    for fault in faults:
        print_error(InputError(fault))
    if faults:
        raise typer.Exit(1)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Of the dataset: letters, digits, _ and -.")],
    images: Annotated[Path, typer.Option(help="A folder of images.")],
    masks: Annotated[
        Path, typer.Option(help="A folder of masks, named as their images (im1.jpg: im1.png, im1_mask.png).")
    ],
    classes: Annotated[str | None, typer.Option(help="Names in the order of mask values: background,cell")] = None,
    void: Annotated[str | None, typer.Option(help="Mask values that count nowhere: 9,255; #e0e0c0; none")] = None,
    group: Annotated[
        str | None, typer.Option(help="Regular expression; its brackets find in a name what must stay together.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Else NAME.")] = None,
) -> None:
    """Look at images and masks of your own and write their card, data/catalog/NAME.yaml.

    The files are copied to data/raw/NAME/own, unless they lie there.
    """
    from losslab.data.new_dataset.create import NewDatasetOptions, create_dataset

    try:
        names = None if classes is None else [part.strip() for part in classes.split(",")]
        options = NewDatasetOptions(
            name=name, images=images, masks=masks, title=title, classes=names, void=_void(void), group=group
        )
        made = create_dataset(options)
    except InputError as error:
        exit_with_error(error)
    except OSError as error:
        exit_with_error(InputError(f"{error.filename}: {error.strerror}" if error.filename else str(error)))
    _tell(name, made)


def _row(entry: "CatalogEntry") -> tuple[str, ...]:
    there = ", ".join(word for word, so in (("yes", entry.on_disk), ("prepared", entry.prepared)) if so)
    if entry.card is None:
        return entry.name, "a broken card, see below", "", "", "", "", there
    names = [label_class.name for label_class in entry.card.classes]
    shown = ", ".join(names[:MOST_NAMES])
    return (
        entry.name,
        entry.card.title,
        "?" if entry.images is None else str(entry.images),
        _download(entry),
        shown if len(names) <= MOST_NAMES else f"{len(names)}: {shown}, …",
        entry.card.licence,
        there,
    )


def _download(entry: "CatalogEntry") -> str:
    if entry.source in ("generator", "own"):
        return "drawn" if entry.source == "generator" else "own"
    size = "?" if entry.bytes_to_download is None else format_bytes(entry.bytes_to_download)
    return f"{size}, by hand" if entry.by_hand else size


def _void(text: str | None) -> "list[RawValue] | None":
    if text is None:
        return None
    return [] if text.strip() == "none" else [_raw_value(part.strip()) for part in text.split(",")]


def _raw_value(text: str) -> "RawValue":
    import re

    if re.fullmatch("#[0-9a-fA-F]{6}", text):
        red, green, blue = bytes.fromhex(text[1:])
        return red, green, blue
    if re.fullmatch("[0-9]{1,5}", text) and int(text) <= 65535:
        return int(text)
    raise InputError(f"--void: {text!r} is no mask value: a number up to 65535, a colour such as #e0e0c0, or none")


def _tell(name: str, made: "NewDataset") -> None:
    _tell_data(made)
    if made.copied is not None:
        files, size = made.copied
        typer.echo(f"copied {files} files, {format_bytes(size)}, to {made.own}")
    _warn(made)
    typer.echo(f"wrote {made.card}; look at it, then:")
    typer.echo(f"  dvc add {made.own}")
    typer.echo(f'  git add {made.card} {made.own}.dvc && git commit -m "Add {name}"')
    method = "grouped" if (made.groups or 0) >= LEAST else "random"
    typer.echo(f"  dvc exp run -S dataset={name} -S prepare.split.method={method}")


def _tell_data(made: "NewDataset") -> None:
    from losslab.data.new_dataset.classes import format_raw_value, format_share

    suffix = made.pairs.suffix
    named = f"named as their images with {suffix} behind" if suffix else "named as their images"
    low, high = (f"{width}x{height}" for width, height in (made.scan.smallest, made.scan.largest))
    sizes = low if low == high else f"{low} to {high}"
    typer.echo(f"{_told(len(made.pairs.images), 'image')} of {sizes}, with masks {named}")
    for each in made.classes:
        typer.echo(f"  {format_raw_value(each.value)}: {each.name}, {format_share(each.share)} of all pixels")
    for value, share in made.void.items():
        why = " (as is custom; with --void none it is a class)" if made.void_by_custom else ""
        typer.echo(f"  {format_raw_value(value)}: void, {format_share(share)} of all pixels{why}")
    if made.groups is not None:
        typer.echo(f"  in {_told(made.groups, 'group')}")


def _warn(made: "NewDataset") -> None:
    """Of what a person should look at; and of what prepare would stop at, should it lie in data/raw/NAME/own."""
    pairs, look = made.pairs, made.scan
    alone = {
        "images without a mask": pairs.images_alone,
        "masks without an image": pairs.masks_alone,
        "files with the name of another": pairs.doubles,
    }
    unfit = {"images that cannot be read": look.unreadable, "masks of another size than their image": look.other_sizes}
    for what, names in (alone | unfit).items():
        if names:
            not_copied = "; not copied" if what in alone and made.copied else ""
            _say(f"{what}: {_some(names)}{not_copied}")
    if any(unfit.values()) or (made.copied is None and any(alone.values())):
        _say("prepare will stop at these: correct them, or add -S prepare.audit=warn to the run to leave them out")
    if len(made.classes) > SHADES:
        _say(f"{len(made.classes)} classes: smoothed edges, as a resize makes them? Masks hold one value per class")
    if len(made.pairs.images) < LEAST:
        _say(f"{_told(len(made.pairs.images), 'image')} cannot be split in train, val and test; a run needs {LEAST}")
    elif made.groups is not None and made.groups < LEAST:
        _say(f"{_told(made.groups, 'group')} cannot be split in train, val and test; a random split tears them apart")


def _say(line: str) -> None:
    typer.echo(f"WARNING: {line}", err=True)


def _some(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"


def _told(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
