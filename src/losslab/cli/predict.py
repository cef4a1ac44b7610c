"""`losslab predict`: masks of images, of any size and from anywhere."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from losslab.cli.console import exit_with_error, print_error
from losslab.errors import InputError, find_exhausted_memory

if TYPE_CHECKING:
    from losslab.prediction.predict import PredictionSummary

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""


def predict(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH…", help="Images, folders, patterns such as 'a/**/*.jpg'.")
    ],
    out: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="A folder for the masks.")],
    model: Annotated[Path, typer.Option(help="The folder of a model, as the train stage writes it.")] = Path("models"),
    scale: Annotated[
        Literal["trained", "original"],
        typer.Option(help="What the net sees: images at the size that it was trained on, or as they are."),
    ] = "trained",
    tile: Annotated[
        int, typer.Option(min=1, help="At original scale: images with longer sides go in tiles of so many pixels.")
    ] = 1024,
    overlap: Annotated[
        float, typer.Option(min=0, max=0.75, help="The part of a tile that it shares with the next.")
    ] = 0.25,
    tta: Annotated[
        Literal["none", "flip", "flip_scale"], typer.Option(help="Test-time augmentation: mean over several views.")
    ] = "none",
    overlays: Annotated[bool, typer.Option("--overlays", help="Write NAME.overlay.jpg too.")] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write NAME.probabilities.npy too: float16 [C, H, W].")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(help="With two classes: the probability above which a pixel is of the second; else 0.5."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at trained size at once.")] = 16,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto: CUDA where there is one.")] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also replace files in DIR that losslab predict has not written.")
    ] = False,
) -> None:
    """Write masks of images as palette PNGs of their size, DIR/NAME.png: the value of a pixel is its class."""
    try:
        from losslab.prediction.inputs import check_outputs, find_jobs
        from losslab.prediction.model import check_threshold, read_description

        jobs = find_jobs(paths, out)
        check_outputs(jobs, out, overwrite)
        check_threshold(threshold, read_description(model))

        from losslab.prediction.model import load_predictor
        from losslab.prediction.predict import PredictOptions
        from losslab.prediction.predict import predict_images as predict_all

        options = PredictOptions(
            scale=scale,
            tile=tile,
            overlap=overlap,
            batch_size=batch_size,
            threshold=threshold or 0.5,
            overlays=overlays,
            probabilities=probabilities,
        )
        outcome = predict_all(load_predictor(model, tta, device), jobs, out, options)
    except InputError as error:
        exit_with_error(error)
    except KeyboardInterrupt:
        print_error(InputError(f"interrupted; the masks that are in {out} are whole"))
        sys.exit(INTERRUPTED)
    except (MemoryError, RuntimeError) as error:
        if (where := find_exhausted_memory(error)) is None:
            raise
        exit_with_error(InputError(f"out of {where}: give a lower --batch-size, or at original scale a lower --tile"))
    except OSError as error:
        exit_with_error(InputError(f"{error.filename or out}: {error.strerror or error}"))
    _tell(outcome, out)


def _tell(outcome: "PredictionSummary", out: Path) -> None:
    seconds = max(outcome.seconds, 1e-9)
    megapixels = outcome.pixels / 1e6
    typer.echo(
        f"predict: {outcome.images} image{'' if outcome.images == 1 else 's'}, {megapixels:.1f} Mpixel in {outcome.seconds:.1f} s: "
        f"{outcome.images / seconds:.3g} images/s, {megapixels / seconds:.3g} Mpixel/s; masks are in {out}"
        + (f"; {len(outcome.failures)} failed" if outcome.failures else "")
    )
    for path, reason in outcome.failures:
        print_error(InputError(f"{path}: {reason}"))
    if outcome.failures:
        raise typer.Exit(1)
