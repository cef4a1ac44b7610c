"""`losslab advise`: three losses to try first on a dataset, why, and the study that settles it."""

from pathlib import Path
from typing import Annotated

import typer

from losslab.cli.console import AsJson, cli_errors, print_json, print_table
from losslab.formats import format_plural
from losslab.stage import print_line, print_warning

ROOT = Path()


@cli_errors()
def advise(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="DATASET", help="Name of a dataset that is prepared.")],
    as_json: AsJson = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File of the study to write (default: studies/advise_DATASET.yaml)."),
    ] = None,
) -> None:
    """Name three losses to try first on a dataset and why, and write the file of the study that settles it.

    Measures the prepared masks, and leans on losslab's own studies of the kinds of data most like them. What such advice
    is worth is measured by leaving each kind out in turn. A file that is there already stays as it is.
    """
    from losslab.advice.dataset import advise_dataset, build_comparison, choose_study_file
    from losslab.io.files import write_text

    path = choose_study_file(name, ROOT, None if output is None else (context.obj or ROOT) / output)
    advised = advise_dataset(name, ROOT)
    text = advised.write_study(path.stem)
    is_other = path.exists() and path.read_bytes() != text.encode()
    if not is_other:
        write_text(path, text)
    if as_json:
        print_json(advised.describe() | {"study": None if is_other else str(path)})
    else:
        measured = advised.measures
        images = format_plural(measured.images, "training image")
        print_line(f"{advised.card.title}: {images} of about {measured.side_px:.0f} pixels a side")
        print_line("Try first, by the points of mIoU that each is expected to be below the best loss:")
        for loss, reason in zip(advised.advice.losses, advised.reasons, strict=True):
            print_line(f"  {loss.loss}, {loss.expected:.1f}: {reason}")
        for line in advised.doubts:
            print_line(line)
        print_line("It leans on the kinds of data that are most like these:")
        for leaning in advised.leanings:
            print_line(f"  {leaning}")
        print_table(*build_comparison(advised))
        print_line(advised.worth)
    if is_other:
        print_warning(f"{path} is there with other content and stays as it is; remove it, or give another file with -o")
    elif not as_json:
        print_line(f"wrote {path}, the study that settles it; commit it, then: losslab study run {path.stem}")
