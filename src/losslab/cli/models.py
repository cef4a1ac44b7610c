"""`losslab export` and `losslab register`: a trained model for other programs."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from losslab.cli.console import cli_errors
from losslab.errors import InputError
from losslab.formats import format_bytes
from losslab.stage import print_line, print_lines

if TYPE_CHECKING:
    from losslab.export.export import ExportResult

app = typer.Typer()


@app.command()
@cli_errors()
def export(
    to: Annotated[Literal["onnx", "torchscript", "torch_export"], typer.Option("--format", help="File format.")],
    model: Annotated[Path, typer.Option(help="Folder with model.safetensors and model.json.")] = Path("models"),
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write (default: model.onnx, .ts or .pt2 in MODEL).")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Fixed image side in pixels (default: any).")
    ] = None,
    images: Annotated[
        list[Path] | None, typer.Option(help="Image to compare on instead of the run's test images; repeatable.")
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="Largest allowed difference from torch's logits.")] = 1e-3,
) -> None:
    """Export a model to one file of another format; the file is kept only if it gives torch's logits.

    Input: images float32 [N, 3, H, W], RGB, 0 to 255, or the model's own bands. Output: logits.
    Batch and size vary where the net allows it.

    The file carries classes, palette and more as losslab.json. More: losslab docs deploy
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    from losslab.export.export import ExportOptions, export_model
    from losslab.project.code import find_in_project

    options = ExportOptions(
        format=to, model=find_in_project(model), path=output, size=size, images=tuple(images or ()), tolerance=tolerance
    )
    _print_export(export_model(options), tolerance)


@app.command()
@cli_errors()
def register(
    run: Annotated[str, typer.Argument(help="MLflow run id or name, DVC experiment, or `workspace`.")],
    name: Annotated[str, typer.Option(help="Name of the model in MLflow's registry.")],
    alias: Annotated[
        list[str] | None, typer.Option(help="Alias of the version, such as champion, taken from any other; repeatable.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Tag of the version; repeatable.")] = None,
) -> None:
    """Register a run's model in MLflow, which serves it without this repository: images in, masks out.

    Registering the same model twice under one name adds no version, but sets aliases and tags. `losslab predict --model
    models:/NAME@ALIAS` takes it from there. More: losslab docs deploy
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    from losslab.serving.register import register_model

    tags = dict(_split_tag(each) for each in tag or [])
    done = register_model(run, name, Path(), alias or (), tags)
    version, origin = f"models:/{name}/{done.version}", f"from run {done.run.name} ({done.run.run_id})"
    version += "".join(f", models:/{name}@{each}" for each in dict.fromkeys(alias or []))
    if done.is_new:
        print_line(f"registered {version}, {format_bytes(done.size)}, {origin}")
    else:
        print_line(f"already registered as {version}, {origin}")


def _split_tag(text: str) -> tuple[str, str]:
    key, found, value = text.partition("=")
    if not found:
        raise InputError(f"--tag {text!r}: write KEY=VALUE")
    return key, value


def _print_export(done: "ExportResult", tolerance: float) -> None:
    side = f"{done.size}x{done.size}"
    print_lines(f"NOTE: not with varying {line}" for line in done.refused)
    if (trained := done.trained_precision) != "32-true":
        print_lines([f"NOTE: trained in {trained}, exported in float32: compared with the float32 net"])
    inputs = {
        "batch and size": f"any batch, any size from {done.smallest_side} pixels a side",
        "batch": f"any batch, images of {side}",
        "nothing": f"one image of {side}",
    }[done.varies]
    parity = done.parity
    print_line(f"wrote {done.path}, {format_bytes(done.path.stat().st_size)}: takes {inputs}")
    print_line(f"input: {done.input}; output: logits; losslab.json inside has classes, palette and more")
    print_line(
        f"parity on {done.origin} ({', '.join(parity.shapes)}): logits differ by up to {parity.difference:.2g} "
        f"(tolerance {tolerance:g}), {parity.changed / parity.pixels:.4%} of the pixels change label"
    )
