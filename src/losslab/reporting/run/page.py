"""reports/report.html: one file, readable offline, that explains a run to somebody who did not do it."""

import math
from pathlib import Path

from losslab.formats import format_score
from losslab.io.files import atomic_write, write_text
from losslab.reporting.components.rendering import render_template
from losslab.reporting.run import contact_sheet, figures
from losslab.reporting.run.inputs import ReportInputs, read_report_inputs
from losslab.reporting.run.notes import apply_rules
from losslab.reporting.run.sections import calibration, classes, confusion, data, errors, gallery, run, training
from losslab.reporting.run.verdict import build_verdict

HEADLINES = {
    "miou": ("mean IoU", "mean over classes, over all pixels"),
    "mdice": ("mean Dice", "mean over classes, over all pixels"),
    "miou_per_image": ("mIoU per image", "mean over images"),
    "boundary_iou": ("boundary IoU", "IoU of thin bands along borders"),
    "hd95": ("HD95, px", "distance between borders; lower is better"),
    "pixel_accuracy": ("pixel accuracy", "share of correct pixels"),
    "ece": ("ECE", "calibration error; lower is better"),
    "seed_score": ("seed score", "IoU above 0.5, scaled to 0 to 1"),
    "miou_at_threshold": ("mIoU, tuned", "at the best threshold on val"),
}


def write_report(models: Path, reports: Path, prepared: Path, examples: int) -> None:
    """Write `figures/*.png` and `report.html`, with `examples` predictions in equal parts best, median, worst and random."""
    outs = read_report_inputs(models, reports, prepared)
    with atomic_write(reports / "figures") as folder:
        folder.mkdir()
        figures.draw_figures(outs, folder)
        contact_sheet.draw_contact_sheet(outs, folder / "examples.png")
    write_text(reports / "report.html", build_run_page(outs, examples))


def build_run_page(outs: ReportInputs, examples: int) -> str:
    notes, fine, unchecked = apply_rules(outs)
    return render_template(
        "run/page.html.j2",
        title=run.build_title(outs),
        verdict=build_verdict(outs, notes),
        headlines=_build_headlines(outs),
        notes=notes,
        fine=fine,
        unchecked=unchecked,
        run={"facts": run.build_facts(outs), "settings": run.build_settings(outs.model)},
        data=data.build_data_section(outs),
        curves=training.build_curves(outs),
        classes=classes.build_class_table(outs),
        confusion=[] if outs.has_overlapping_classes else confusion.build_confusion(outs),
        calibration=calibration.build_calibration(outs),
        thresholds=calibration.build_thresholds(outs),
        errors=errors.build_error_heatmaps(outs),
        spread=errors.build_histogram(outs),
        gallery=gallery.build_gallery(outs, examples),
        legend=list(zip(*outs.picture_labels, strict=True)),
        void=outs.model["ignore_index"] is not None,
        void_label=outs.model["ignore_index"],
        void_colour=gallery.VOID_COLOUR,
        error_colour=gallery.ERROR_COLOUR,
    )


def _build_headlines(outs: ReportInputs) -> list[tuple[str, str, str, str]]:
    """Build title, meaning, and the scores on test and val, of each of HEADLINES that test has, and of plug-ins' metrics."""
    headlines = []
    for key, (title, meaning) in (HEADLINES | _describe_own(outs)).items():
        test, val = outs.read_score("test", key), outs.read_score("val", key)
        if not math.isnan(test):
            digits = (
                3 if outs.own_metrics.get(key, {"unit": "px" if key == "hd95" else "points"})["unit"] == "points" else 1
            )
            headlines.append((title, meaning, format_score(test, digits), format_score(val, digits)))
    return headlines


def _describe_own(outs: ReportInputs) -> dict[str, tuple[str, str]]:
    """Describe the metrics of plug-ins: key → title and meaning."""
    described = {}
    for key, facts in outs.own_metrics.items():
        unit = "" if facts["unit"] == "points" else f", {facts['unit']}"
        meaning = "mean over classes, over all pixels" if facts["of"] == "classes" else "mean over images"
        described[key] = (facts["title"] + unit, meaning + ("" if facts["higher_is_better"] else "; lower is better"))
    return described
