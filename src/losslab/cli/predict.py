"""`losslab predict`: masks of images, of any size and from anywhere."""

from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from losslab.cli.console import cli_errors, exit_with_errors
from losslab.errors import InputError
from losslab.formats import format_list, format_plural
from losslab.stage import print_line, print_warning

if TYPE_CHECKING:
    from torch import nn

    from losslab.prediction.predict import PredictionSummary


def predict(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH…", help="Images, folders or patterns such as 'a/**/*.jpg'.")
    ],
    out: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the masks.")],
    model: Annotated[
        str,
        typer.Option(help="Folder with model.safetensors and model.json, or models:/NAME@ALIAS in MLflow's registry."),
    ] = "models",
    ensemble: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN",
            help="In place of --model: an experiment of `losslab ensemble`; or repeated, runs or patterns such as 'fold-*', "
            "whose probabilities are averaged.",
        ),
    ] = None,
    scale: Annotated[
        Literal["trained", "original"],
        typer.Option(
            help="Size the net sees: the one it was trained on, or each image's own. A net trained with fit: tile always "
            "sees images at their own size: in tiles of the size it was trained on, or, with original, of --tile."
        ),
    ] = "trained",
    tile: Annotated[int, typer.Option(min=1, help="Tile side in pixels for larger images at original scale.")] = 1024,
    overlap: Annotated[
        float, typer.Option(min=0, max=0.75, help="Share of a tile that it has in common with the next.")
    ] = 0.25,
    tta: Annotated[
        Literal["none", "flip", "flip_scale"], typer.Option(help="Test-time augmentation: average over several views.")
    ] = "none",
    overlays: Annotated[
        bool,
        typer.Option("--overlays", help="Also write NAME.overlay.jpg, of 4096 pixels a side at most above 64 Mpixel."),
    ] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write NAME.probabilities.npy, float16 [C, H, W].")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Probability above which a pixel is of the second of two classes, or of an overlapping one (default: 0.5)."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per batch at trained size.")] = 16,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Device; auto takes CUDA if there is one.")
    ] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also replace files in DIR that losslab predict did not write.")
    ] = False,
) -> None:
    """Write a mask for each image: DIR/NAME.png, a palette PNG of the image's size whose pixel values are classes.

    Of overlapping classes, the mask is DIR/NAME.tif, with a band for each class that is 1 where it is.

    The mask of a GeoTIFF is a GeoTIFF, DIR/NAME.tif, if rasterio is installed: pip install 'losslab[geo]'.
    """
    again = f"the masks in {out} are complete; run the same command again to write all of them"
    with cli_errors(again, "lower --batch-size, or --tile with --scale original", out), ExitStack() as stack:
        from losslab.cards import has_overlapping_labels
        from losslab.models.description import read_description
        from losslab.prediction.inputs import check_outputs, find_jobs, find_lost_georeferences
        from losslab.prediction.model import build_predictor, check_threshold, load_predictor

        jobs = find_jobs(paths, out)
        if ensemble:
            net, description, calibrated = _load_ensemble(ensemble)
            check_threshold(threshold, description)
            threshold = threshold or calibrated
        else:
            folder = stack.enter_context(_open_model(model))
            description = read_description(folder).model_dump()
            check_threshold(threshold, description)
        jobs = [replace(job, has_overlapping_classes=has_overlapping_labels(description)) for job in jobs]
        check_outputs(jobs, out, overwrite)
        if lost := find_lost_georeferences(jobs):
            have = "has a georeference" if len(lost) == 1 else "have a georeference"
            print_warning(f"{format_list(lost, 3)} {have}; pip install 'losslab[geo]' to keep it in predictions")

        from losslab.prediction.predict import PredictOptions, predict_images

        options = PredictOptions(
            scale=scale,
            tile=tile,
            overlap=overlap,
            batch_size=batch_size,
            threshold=threshold or 0.5,
            overlays=overlays,
            probabilities=probabilities,
        )
        predictor = build_predictor(net, description, tta, device) if ensemble else load_predictor(folder, tta, device)
        _print_summary(predict_images(predictor, jobs, out, options), out)


def _open_model(model: str) -> "AbstractContextManager[Path]":
    from losslab.project.code import find_in_project, find_root

    if not model.startswith("models:/"):
        return nullcontext(find_in_project(Path(model)))
    from losslab.tracking import registry

    return registry.open_version(model, find_root(Path.cwd()) or Path())


def _load_ensemble(names: list[str]) -> "tuple[nn.Module, dict[str, Any], float | None]":
    """Load runs as one net, and return it with its description and the threshold that was chosen on val, if one was."""
    from losslab.experiments.ensembles import open_ensemble
    from losslab.project.code import find_root

    if (root := find_root(Path.cwd())) is None:
        raise InputError("--ensemble names runs of a project, and this folder is in none; change to one")
    found = open_ensemble(names, root)
    print_line(f"predict: {found.what}: {format_list(found.members, 8)}")
    if found.description["num_classes"] == 1:
        chosen = f"threshold {found.threshold}, chosen on its val images" if found.threshold else "threshold 0.5"
        why = "" if found.threshold else "; an experiment of `losslab ensemble` has one of its own"
        print_line(f"predict: {chosen}{why} (--threshold sets another)")
    return found.net, found.description, found.threshold


def _print_summary(summary: "PredictionSummary", out: Path) -> None:
    seconds = max(summary.seconds, 1e-9)
    megapixels = summary.pixels / 1e6
    print_line(
        f"predict: {format_plural(summary.images, 'image')}, {megapixels:.1f} Mpixel in {summary.seconds:.1f} s: "
        f"{summary.images / seconds:.3g} images/s, {megapixels / seconds:.3g} Mpixel/s; masks are in {out}"
        + (f"; {len(summary.failures)} failed" if summary.failures else "")
    )
    exit_with_errors([f"{path}: {reason}" for path, reason in summary.failures])
