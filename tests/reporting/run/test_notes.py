"""Each rule gives a note where it should, none where it should not, and says why where it cannot check."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import reduce
from typing import Any

import pytest

from losslab.reporting.run import notes
from losslab.reporting.run.inputs import ReportInputs, read_report_inputs
from tests.reporting.run.made_up import MadeUp, write_outs

Change = Callable[[ReportInputs], ReportInputs]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    """Return the outs of a run without a note."""
    folder = write_outs(tmp_path_factory.mktemp("outs"), MadeUp(examples=0))
    return read_report_inputs(folder / "models", folder / "reports", folder / "prepared")


def change_rows(name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Change:
    def changed(outs: ReportInputs) -> ReportInputs:
        values: dict[str, Any] = {name: [row | change(dict(row)) for row in getattr(outs, name)]}
        return replace(outs, **values)

    return changed


def change_scores(**changed: float) -> Change:
    return lambda outs: replace(outs, metrics={split: old | changed for split, old in outs.metrics.items()})


def change_iou(split: str, added: float) -> Change:
    return change_rows(
        "per_class", lambda row: {"iou": str(float(row["iou"]) + added)} if row["split"] == split else {}
    )


def change_image_ious(added: float, images: int = 40) -> Change:
    """Move the IoU of every test image, and keep the first `images` of them."""

    def change(outs: ReportInputs) -> ReportInputs:
        kept = [row for row in outs.per_image if row["split"] == "val" or int(row["image"][2:]) < images]
        return replace(
            outs,
            per_image=[
                {**row, "iou": str(float(row["iou"]) + added)} if row["split"] == "test" else row for row in kept
            ],
        )

    return change


def set_losses(train: list[float], val: list[float], **more: float) -> Change:
    table = [
        {"epoch": str(e), "train_loss": str(t), "val_loss": str(v), "val_miou": "0.5"}
        | {key: str(w) for key, w in more.items()}
        for e, (t, v) in enumerate(zip(train, val, strict=True), start=1)
    ]
    return lambda outs: replace(outs, history=table)


def set_mious(*values: float) -> Change:
    """Set val mIoU epoch by epoch, and drop all other epochs."""
    cells = ["" if math.isnan(value) else str(value) for value in values]
    return lambda outs: replace(
        outs, history=[{**row, "val_miou": cell} for row, cell in zip(outs.history, cells, strict=False)]
    )


def set_confidence(gap: float) -> Change:
    """Set mean confidence to accuracy plus `gap`."""
    return change_rows(
        "calibration", lambda row: {"accuracy": "0.5", "confidence": str(0.5 + gap)} if row["accuracy"] else {}
    )


def combine(*changes: Change) -> Change:
    return lambda outs: reduce(lambda changed, change: change(changed), changes, outs)


def set_finding(kind: str) -> Change:
    return lambda outs: replace(outs, audit=outs.audit | {"by_kind": {kind: {"count": 3}}})


def set_ceiling(resolution: str, **ceiling: float) -> Change:
    """Set what the truth itself scores, and report these classes."""
    findings = [{"kind": "too fine for prepare.size", "file": name} for name in ceiling]
    return lambda outs: replace(
        outs, audit=outs.audit | {"ceiling": ceiling, "findings": findings}, evaluation={"resolution": resolution}
    )


def remove_class(split: str, name: str) -> Change:
    def change(outs: ReportInputs) -> ReportInputs:
        audit = deepcopy(outs.audit)
        audit["coverage"][split][name]["images"] = 0
        return replace(outs, audit=audit)

    return change


def change_class(name: str, split: str, **cells: str) -> Change:
    return change_rows("per_class", lambda row: cells if row["class"] == name and row["split"] == split else {})


NAN = float("nan")
ROAD_LESS_VAL = change_class("road", "val", iou="")
TRAIN = [1.0, 0.5, 0.3, 0.2, 0.1]
FIRES: list[tuple[notes.Rule, Change, str]] = [
    (notes.check_leak, set_finding("near-duplicate across splits"), "3 × near-duplicate across splits"),
    (notes.check_leak, set_finding("group in several splits"), "group in several splits"),
    (notes.check_val_above_train, change_iou("val", 0.1), "mIoU 0.820 on val, 0.760 on training images: "),
    (
        notes.check_val_above_train,
        combine(change_iou("val", 0.1), ROAD_LESS_VAL),
        "mIoU 0.820 on val, 0.760 on training images (without road, scored in only one of them): ",
    ),
    (notes.check_test_far_from_val, change_image_ious(-0.1), "0.646 on test and 0.746 on val"),
    (notes.check_few_test_images, change_image_ious(0, images=4), "4 images: their mean mIoU is 0.611 ± 0.015"),
    (notes.check_few_test_images, change_image_ious(0, images=1), "1 image."),
    (notes.check_few_test_images, change_image_ious(0, images=0), "0 images."),
    (notes.check_rare_class, change_class("road", "test", images="2"), "road in 2 images"),
    (notes.check_absent_class, remove_class("train", "road"), "road in no train image"),
    (notes.check_never_predicted, change_class("road", "test", predicted="0"), "road is never predicted"),
    (
        notes.check_ceiling,
        set_ceiling("original", road=0.3369),
        "road is too fine for 128 pixels. At the size of the files, the truth itself, resized to 128 pixels, has an IoU of "
        "0.337 for road. Scores here are at that size.",
    ),
    (
        notes.check_ceiling,
        set_ceiling("prepared", road=0.3, tree=0.5),
        "has an IoU of 0.300 for road and 0.500 for tree. Scores here are at the prepared size, and do not show it.",
    ),
    (notes.check_overfitting, change_iou("train", 0.2), "mIoU 0.960 on a sample of the training images, 0.720 on val."),
    (
        notes.check_overfitting,
        combine(change_iou("train", 0.2), change_class("road", "train", iou="")),
        "0.720 on val (without road, scored in only one of them).",
    ),
    (
        notes.check_val_loss,
        set_losses(TRAIN, [1.0, 0.5, 0.6, 0.7, 0.8]),
        "lowest in epoch 2 (0.500) and ended at 0.800",
    ),
    (notes.check_undertraining, set_mious(0.3, 0.4), "the last of 2: val mIoU 0.400, 0.300 before it"),
    (notes.check_calibration, change_scores(ece=0.12), "the net is overconfident. ECE 0.120 on test"),
    (notes.check_calibration, combine(change_scores(ece=0.12), set_confidence(-0.1)), "the net is underconfident."),
    (notes.check_calibration, combine(change_scores(ece=0.12), set_confidence(0.004)), "the net's confidence is off."),
    (
        notes.check_calibration,
        combine(change_scores(ece=0.12), lambda outs: replace(outs, calibration=[])),
        "the net's confidence is off.",
    ),
    (
        notes.check_accuracy,
        change_scores(pixel_accuracy=0.95, miou=0.5),
        "95.0 % of the test pixels are correct, but mIoU is 0.500",
    ),
]

SILENT: list[tuple[notes.Rule, Change]] = [
    (notes.check_leak, set_finding("hidden file")),
    (notes.check_val_above_train, change_iou("val", 0.05)),
    (notes.check_val_above_train, combine(change_iou("val", 0.05), change_class("tree <b>", "val", iou=""))),
    (notes.check_test_far_from_val, change_image_ious(-0.02)),
    (notes.check_few_test_images, change_image_ious(0.1)),
    (notes.check_rare_class, change_class("road", "test", images="0")),
    (notes.check_rare_class, combine(change_image_ious(0, images=6), change_class("road", "test", images="3"))),
    (notes.check_absent_class, lambda outs: outs),
    (notes.check_never_predicted, change_class("road", "test", predicted="0", support="0")),
    (notes.check_ceiling, set_finding("hidden file")),
    (notes.check_overfitting, change_iou("train", 0.05)),
    (notes.check_overfitting, combine(change_iou("train", 0.02), change_class("sky & sea", "val", iou=""))),
    (notes.check_val_loss, set_losses(TRAIN, [1.0, 0.6, 0.5, 0.52, 0.51])),
    (notes.check_val_loss, set_losses(TRAIN, [1.0, 0.9, 0.8, 0.7, 0.9])),
    (notes.check_val_loss, set_losses([0.1, 0.2, 0.4, 0.7, 0.9], [0.1, 0.2, 0.4, 0.7, 0.9])),
    (notes.check_undertraining, set_mious(0.3, 0.3)),
    (notes.check_undertraining, set_mious(0.5, 0.3, 0.4)),
    (notes.check_calibration, change_scores(ece=0.04)),
    (notes.check_accuracy, change_scores(pixel_accuracy=0.95, miou=0.8)),
]

UNCHECKED: list[tuple[notes.Rule, Change, str]] = [
    (notes.check_val_above_train, change_iou("train", NAN), "train and val score no common class"),
    (notes.check_overfitting, change_iou("val", NAN), "train and val score no common class"),
    (
        notes.check_test_far_from_val,
        change_image_ious(-0.3, images=1),
        "fewer than two images with a score in test or val",
    ),
    (
        notes.check_rare_class,
        combine(change_image_ious(0, images=4), change_class("road", "test", images="1")),
        "fewer than 5 test",
    ),
    (
        notes.check_val_loss,
        set_losses(TRAIN, [1.0, 0.5, 0.6, 0.7, 0.8], weight_boundary=0.1),
        "the weights of the loss",
    ),
    (notes.check_val_loss, set_losses(TRAIN[:2], TRAIN[:2]), "fewer than three epochs"),
    (notes.check_val_loss, set_losses(TRAIN, [1.0, 0.5, NAN, 0.7, 0.8]), "an epoch has no loss"),
    (notes.check_undertraining, set_mious(0.3), "fewer than two epochs"),
    (notes.check_undertraining, set_mious(NAN, NAN), "one of the last two epochs has no val mIoU"),
    (notes.check_undertraining, set_mious(NAN, 0.4), "one of the last two epochs has no val mIoU"),
    (notes.check_calibration, change_scores(ece=NAN), "test has no ECE"),
    (notes.check_accuracy, change_scores(miou=NAN), "no pixel accuracy or no mIoU"),
]


def name_case(case: object) -> str | None:
    return getattr(case, "__name__", "").replace("<lambda>", "change") or None


@pytest.mark.parametrize(("rule", "change", "words"), FIRES, ids=name_case)
def test_rule_fires(sound: ReportInputs, rule: notes.Rule, change: Change, words: str) -> None:
    note = rule(change(sound))
    assert isinstance(note, notes.ReportNote) and note.advice
    assert words in f"{note.title}. {note.text}"


@pytest.mark.parametrize(("rule", "change"), SILENT, ids=name_case)
def test_rule_is_silent(sound: ReportInputs, rule: notes.Rule, change: Change) -> None:
    assert rule(change(sound)) is None


@pytest.mark.parametrize(("rule", "change", "why"), UNCHECKED, ids=name_case)
def test_rule_says_why_it_is_unchecked(sound: ReportInputs, rule: notes.Rule, change: Change, why: str) -> None:
    outs = change(sound)
    result = rule(outs)
    assert isinstance(result, notes.UncheckedRule) and why in result.why
    name = next(name for name, known in notes.RULES.items() if known is rule)
    _, fine, unchecked = notes.apply_rules(outs)
    assert name not in fine and f"{name} ({result.why})" in unchecked


def test_sound_run_has_no_note(sound: ReportInputs) -> None:
    assert notes.apply_rules(sound) == ([], list(notes.RULES), [])


@pytest.mark.parametrize(("resolution", "about"), [("original", "limit"), ("prepared", "trust")])
def test_fine_class_limits_scores_of_the_original_size_and_casts_doubt_on_others(
    sound: ReportInputs, resolution: str, about: str
) -> None:
    note = notes.check_ceiling(set_ceiling(resolution, road=0.3)(sound))
    assert note is not None and note.about == about


def test_fineness_of_classes_is_no_matter_where_no_image_was_resized(sound: ReportInputs) -> None:
    audit = {key: value for key, value in sound.audit.items() if key != "ceiling"}
    _, fine, unchecked = notes.apply_rules(replace(sound, audit=audit))
    assert len(fine) == len(notes.RULES) - 1 and "no class too fine for prepare.size" not in fine + unchecked


def test_each_rule_is_tested_both_ways() -> None:
    assert {rule for rule, *_ in FIRES} == {rule for rule, *_ in SILENT} == set(notes.RULES.values())
