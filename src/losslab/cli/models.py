"""`losslab export` and `losslab register`: a trained model for other programs."""

import os
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from losslab.cli.console import exit_with_error
from losslab.errors import InputError
from losslab.formats import format_bytes

if TYPE_CHECKING:
    from losslab.export.export import ExportResult

app = typer.Typer()


class ExportFormat(Enum):
    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"
    TORCH_EXPORT = "torch_export"


@app.command()
def export(
    to: Annotated[ExportFormat, typer.Option("--format", help="onnx, torchscript or torch_export.")],
    model: Annotated[Path, typer.Option(help="A folder with model.safetensors and model.json.")] = Path("models"),
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; else model.onnx, .ts or .pt2 in MODEL.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Fix the pixels a side; else they may vary.")
    ] = None,
    images: Annotated[
        list[Path] | None, typer.Option(help="Compare on these, not on the run's test images; may be repeated.")
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="Logits may differ from torch's by this.")] = 1e-3,
) -> None:
    """Write the model as one file of another format, and keep it if it gives torch's logits.

    In: images float32 [N, 3, H, W], RGB, 0 to 255; out: logits. Batch and size vary where the net allows it. Classes, palette
    and more travel inside as losslab.json. More: docs/deploy.md
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    try:
        from losslab.export.export import ExportOptions
        from losslab.export.export import export_model as write

        done = write(
            ExportOptions(
                format=to.value, model=model, path=output, size=size, images=tuple(images or ()), tolerance=tolerance
            )
        )
    except InputError as error:
        exit_with_error(error)
    _tell(done, size is not None, tolerance)


@app.command()
def register(
    run: Annotated[str, typer.Argument(help="An MLflow run id or name, a DVC experiment, or workspace.")],
    name: Annotated[str, typer.Option(help="Of the model in MLflow's registry.")],
) -> None:
    """Register a run's model in MLflow, to be loaded and served without this repository: images in, masks out.

    The same model under the same name is registered once. More: docs/deploy.md
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    try:
        from losslab.serving.register import register_model as add

        done = add(run, name, Path())
    except InputError as error:
        exit_with_error(error)
    except OSError as error:
        exit_with_error(InputError(f"{error.filename}: {error.strerror}" if error.filename else str(error)))
    version, of = f"models:/{name}/{done.version}", f"run {done.run.name} ({done.run.run_id})"
    if done.is_new:
        typer.echo(f"registered {version}, {format_bytes(done.size)}, of {of}")
    else:
        typer.echo(f"{version} is this model already, of {of}")


def _tell(done: "ExportResult", size_is_asked: bool, tolerance: float) -> None:
    side = f"{done.size}x{done.size}"
    for line in done.refused:
        typer.echo(f"NOTE: not with varying {line}", err=True)
    if done.trained_precision != "32-true":
        typer.echo(
            f"NOTE: trained in {done.trained_precision}, exported in float32: it is compared with the net in float32",
            err=True,
        )
    takes = {
        "batch and size": f"any batch, any size from {done.smallest_side} pixels a side",
        "batch": f"any batch, images of {side}",
        "nothing": f"one image of {side}",
    }[done.varies]
    found = done.parity
    typer.echo(f"wrote {done.path}, {format_bytes(done.path.stat().st_size)}: {takes}")
    typer.echo("in: float32 [N, 3, H, W], RGB, 0 to 255; out: logits; classes, palette and more in losslab.json")
    typer.echo(
        f"parity on {done.origin} ({', '.join(found.shapes)}): logits differ by up to {found.difference:.2g} "
        f"(tolerance {tolerance:g}), {found.changed / found.pixels:.4%} of the pixels have another label"
    )
