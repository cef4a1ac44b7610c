"""reports/report.html: one file, readable offline, that shows a run to somebody who did not do it."""

import math
from dataclasses import dataclass
from pathlib import Path

from losslab.files import whole, write_text
from losslab.reporting import contact_sheet, figures
from losslab.reporting.formats import score
from losslab.reporting.notes import notes_of
from losslab.reporting.outs import Outs, read_outs
from losslab.reporting.rendering import render
from losslab.reporting.sections import calibration, classes, confusion, data, errors, gallery, images, run, training
from losslab.reporting.verdict import verdict

HEADLINES = {
    "miou": ("mean IoU", "of the classes, over all pixels"),
    "mdice": ("mean Dice", "of the classes, over all pixels"),
    "miou_per_image": ("mIoU per image", "mean over images"),
    "boundary_iou": ("boundary IoU", "of thin bands along borders"),
    "hd95": ("HD95, px", "distance of borders; lower is better"),
    "pixel_accuracy": ("pixel accuracy", "share of right pixels"),
    "ece": ("ECE", "error of the confidence; lower is better"),
    "seed_score": ("seed score", "0 to 1, of IoU over 0.5"),
    "miou_at_threshold": ("mIoU, tuned", "at the threshold best on val"),
}


@dataclass(frozen=True)
class Headline:
    title: str
    meaning: str
    test: str
    val: str


def write_report(models: Path, reports: Path, prepared: Path, examples: int) -> None:
    """Write `figures/*.png` and `report.html` from the outs of prepare, train and evaluate.

    Args:
        examples: how many of the kept predictions to show, in equal parts best, median, worst and random.
    """
    outs = read_outs(models, reports, prepared)
    with whole(reports / "figures") as folder:
        folder.mkdir()
        figures.draw_all(outs, folder)
        contact_sheet.draw(outs, folder / "examples.png")
    write_text(reports / "report.html", page_of(outs, examples))


def page_of(outs: Outs, examples: int) -> str:
    notes, fine, unchecked = notes_of(outs)
    return render(
        "report.html.j2",
        title=run.title(outs),
        verdict=verdict(outs, notes),
        headlines=_headlines(outs),
        notes=notes,
        fine=fine,
        unchecked=unchecked,
        run={"facts": run.facts(outs), "settings": run.settings(outs.model)},
        data=data.data_section(outs),
        curves=training.curves(outs),
        classes=classes.class_table(outs),
        confusion=confusion.confusion(outs),
        calibration=calibration.calibration(outs),
        thresholds=calibration.thresholds(outs),
        errors=errors.where_errors_are(outs),
        spread=images.spread(outs),
        gallery=gallery.gallery(outs, examples),
        legend=list(zip(outs.classes, outs.model["palette"], strict=True)),
        void=outs.model["ignore_index"] is not None,
        void_label=outs.model["ignore_index"],
        void_colour=gallery.VOID_COLOUR,
        error_colour=gallery.ERROR_COLOUR,
    )


def _headlines(outs: Outs) -> list[Headline]:
    found = []
    for key, (title, meaning) in HEADLINES.items():
        test, val = outs.score("test", key), outs.score("val", key)
        if not math.isnan(test):
            digits = 1 if key == "hd95" else 3
            found.append(Headline(title, meaning, score(test, digits), score(val, digits)))
    return found
