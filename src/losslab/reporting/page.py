"""reports/report.html: one file, readable offline, that shows a run to somebody who did not do it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from losslab.files import JsonObject, read_csv, read_json, whole, write_text
from losslab.reporting import figures
from losslab.reporting.data_section import data_section
from losslab.reporting.pictures import data_uri, picture

ERROR_COLOUR = (230, 40, 60)


@dataclass(frozen=True)
class Example:
    image: str
    rank: int
    of: int
    iou: str
    pictures: dict[str, str]
    """Caption → data URI."""


def write_report(models: Path, reports: Path, prepared: Path, examples: int) -> None:
    """Write `figures/*.png` and `report.html` from the outs of prepare, train and evaluate.

    Args:
        examples: how many of the kept predictions to show, in equal parts best, between and worst.
    """
    model, metrics = read_json(models / "model.json"), read_json(reports / "metrics.json")
    history, per_class = read_csv(reports / "history.csv"), read_csv(reports / "per_class.csv")
    with whole(reports / "figures") as folder:
        folder.mkdir()
        confusion = [row for row in read_csv(reports / "confusion.csv") if row["split"] == "test"]
        figures.draw_all(history, confusion, per_class, read_csv(reports / "per_image.csv"), folder)
        pictures = {path.stem: data_uri(path.read_bytes()) for path in sorted(folder.glob("*.png"))}
    kept = max(range(len(history)), key=lambda index: float(history[index]["val_miou"] or 0))
    page = render(
        "report.html.j2",
        model=model,
        run=model["run"],
        settings=_settings(model),
        metrics=metrics,
        per_class=per_class,
        data=data_section(prepared),
        epochs=len(history),
        kept=kept + 1,
        summary=_summary(metrics),
        legend=list(zip(model["classes"], model["palette"], strict=True)),
        error_colour=ERROR_COLOUR,
        figures=pictures,
        groups=_groups(reports / "predictions", examples, model["ignore_index"]),
    )
    write_text(reports / "report.html", page)


def render(template: str, **values: Any) -> str:
    """A page from a template beside this file; everything in `values` is escaped but `Markup`."""
    environment = Environment(
        loader=PackageLoader("losslab", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def _summary(metrics: JsonObject) -> str:
    scores = {name: value for name, value in metrics["test"]["iou"].items() if value is not None}
    best, worst = max(scores, key=scores.__getitem__), min(scores, key=scores.__getitem__)
    gap = metrics["test"]["miou"] - metrics["val"]["miou"]
    return (
        f"Mean IoU {metrics['test']['miou']:.3f} on the test images, {abs(gap):.3f} {'above' if gap >= 0 else 'below'} the "
        f"validation images. Best class: {best} ({scores[best]:.3f}); weakest: {worst} ({scores[worst]:.3f})."
    )


def _settings(model: JsonObject) -> dict[str, Any]:
    run = model["run"]
    options = ", ".join(f"{key} = {value}" for key, value in run["loss_options"].items())
    return {
        "dataset": run["dataset"],
        "data md5": model["data_md5"],
        "size": f"{model['size']} × {model['size']} pixels",
        "loss": f"{run['loss']} ({options})" if options else run["loss"],
        "architecture": model["arch"],
        "encoder": f"{run['encoder']}, {run['encoder_weights'] or 'from scratch'}" if run["encoder"] else "none",
        "seed": run["seed"],
        "precision": model["precision"],
        **{
            key.replace("_", " "): value
            for key, value in run["train"].items()
            if key not in ("precision", "device", "workers")
        },
    }


def _groups(folder: Path, count: int, ignore_index: int | None) -> dict[str, list[Example]]:
    """Best, between and worst of the kept predictions, by rank."""
    rows = read_csv(folder / "examples.csv")
    count = min(count, len(rows))
    end = count // 3 or min(count // 2, 1)
    middle = count - 2 * end
    start = (len(rows) - middle) // 2
    chosen = {"Best": rows[:end], "Between": rows[start : start + middle], "Worst": rows[len(rows) - end :]}
    return {title: [_example(folder, row, ignore_index) for row in part] for title, part in chosen.items() if part}


def _example(folder: Path, row: dict[str, str], ignore_index: int | None) -> Example:
    with (
        Image.open(folder / f"{row['file']}.image.png") as image,
        Image.open(folder / f"{row['file']}.truth.png") as truth,
        Image.open(folder / f"{row['file']}.prediction.png") as prediction,
    ):
        pixels = np.asarray(image)
        labels, guess = np.asarray(truth), np.asarray(prediction)
        shown = {
            "image": image.convert("RGB"),
            "truth": truth.convert("RGB"),
            "prediction": prediction.convert("RGB"),
            "errors": Image.fromarray(_errors(pixels, labels, guess, ignore_index)),
        }
    return Example(
        row["image"],
        int(row["rank"]),
        int(row["of"]),
        row["iou"],
        {name: picture(image) for name, image in shown.items()},
    )


def _errors(
    image: npt.NDArray[np.uint8],
    truth: npt.NDArray[np.uint8],
    prediction: npt.NDArray[np.uint8],
    ignore_index: int | None,
) -> npt.NDArray[np.uint8]:
    """The image in pale grey, wrong pixels in one strong colour; void pixels are never wrong."""
    grey = 128 + image.mean(axis=2, keepdims=True) / 2
    shown = np.repeat(grey, 3, axis=2).astype(np.uint8)
    wrong = (truth != prediction) & ((truth != ignore_index) if ignore_index is not None else True)
    shown[wrong] = ERROR_COLOUR
    return shown
