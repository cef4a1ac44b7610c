"""Each rule speaks where it should, not where it should not, and says where it cannot tell."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import reduce
from typing import Any

import pytest

from losslab.reporting.run import notes
from losslab.reporting.run.outs import ReportInputs, read_report_inputs
from tests.reporting.run.made_up import MadeUp, write_outs

Change = Callable[[ReportInputs], ReportInputs]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    """The outs of a run that no rule has anything to say about."""
    folder = write_outs(tmp_path_factory.mktemp("outs"), MadeUp(examples=0))
    return read_report_inputs(folder / "models", folder / "reports", folder / "prepared")


def rows(name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Change:
    def changed(outs: ReportInputs) -> ReportInputs:
        values: dict[str, Any] = {name: [row | change(dict(row)) for row in getattr(outs, name)]}
        return replace(outs, **values)

    return changed


def scores(**changed: float) -> Change:
    return lambda outs: replace(outs, metrics={split: old | changed for split, old in outs.metrics.items()})


def iou_of(split: str, added: float) -> Change:
    return rows("per_class", lambda row: {"iou": str(float(row["iou"]) + added)} if row["split"] == split else {})


def iou_of_images(added: float, images: int = 40) -> Change:
    """Every test image's own IoU moved; and only so many of them."""

    def change(outs: ReportInputs) -> ReportInputs:
        kept = [row for row in outs.per_image if row["split"] == "val" or int(row["image"][2:]) < images]
        return replace(
            outs,
            per_image=[
                {**row, "iou": str(float(row["iou"]) + added)} if row["split"] == "test" else row for row in kept
            ],
        )

    return change


def losses(train: list[float], val: list[float], **more: float) -> Change:
    table = [
        {"epoch": str(e), "train_loss": str(t), "val_loss": str(v), "val_miou": "0.5"}
        | {key: str(w) for key, w in more.items()}
        for e, (t, v) in enumerate(zip(train, val, strict=True), start=1)
    ]
    return lambda outs: replace(outs, history=table)


def mious(*values: float) -> Change:
    """Val mIoU epoch by epoch, and no other epochs."""
    cells = ["" if math.isnan(value) else str(value) for value in values]
    return lambda outs: replace(
        outs, history=[{**row, "val_miou": cell} for row, cell in zip(outs.history, cells, strict=False)]
    )


def confidence(gap: float) -> Change:
    """Calibration where the net is so much surer than it is right."""
    return rows("calibration", lambda row: {"accuracy": "0.5", "confidence": str(0.5 + gap)} if row["accuracy"] else {})


def both(*changes: Change) -> Change:
    return lambda outs: reduce(lambda changed, change: change(changed), changes, outs)


def audited(kind: str) -> Change:
    return lambda outs: replace(outs, audit=outs.audit | {"by_kind": {kind: {"count": 3}}})


def absent(split: str, name: str) -> Change:
    def change(outs: ReportInputs) -> ReportInputs:
        audit = deepcopy(outs.audit)
        audit["coverage"][split][name]["images"] = 0
        return replace(outs, audit=audit)

    return change


def of_class(name: str, split: str, **cells: str) -> Change:
    return rows("per_class", lambda row: cells if row["class"] == name and row["split"] == split else {})


NAN = float("nan")
ROAD_LESS_VAL = of_class("road", "val", iou="")
TRAIN = [1.0, 0.5, 0.3, 0.2, 0.1]
FIRES: list[tuple[notes.Rule, Change, str]] = [
    (notes.leak, audited("near-duplicate across splits"), "3 × near-duplicate across splits"),
    (notes.leak, audited("group in several splits"), "group in several splits"),
    (notes.val_above_train, iou_of("val", 0.1), "mIoU 0.820 on val, 0.760 on training images: "),
    (
        notes.val_above_train,
        both(iou_of("val", 0.1), ROAD_LESS_VAL),
        "mIoU 0.820 on val, 0.760 on training images (without road, scored in only one of them): ",
    ),
    (notes.test_far_from_val, iou_of_images(-0.1), "0.646 on test and 0.746 on val"),
    (notes.few_test_images, iou_of_images(0, images=4), "4 images: their mean mIoU is 0.611 ± 0.015"),
    (notes.few_test_images, iou_of_images(0, images=1), "1 image."),
    (notes.few_test_images, iou_of_images(0, images=0), "0 images."),
    (notes.rare_class, of_class("road", "test", images="2"), "road in 2 images"),
    (notes.absent_class, absent("train", "road"), "road in no train image"),
    (notes.never_predicted, of_class("road", "test", predicted="0"), "road is never predicted"),
    (notes.learned_by_heart, iou_of("train", 0.2), "mIoU 0.960 on a sample of the training images, 0.720 on val."),
    (
        notes.learned_by_heart,
        both(iou_of("train", 0.2), of_class("road", "train", iou="")),
        "0.720 on val (without road, scored in only one of them).",
    ),
    (notes.val_loss_rises, losses(TRAIN, [1.0, 0.5, 0.6, 0.7, 0.8]), "lowest in epoch 2 (0.500) and ended at 0.800"),
    (notes.undertrained, mious(0.3, 0.4), "the last of 2: val mIoU 0.400, 0.300 before it"),
    (notes.badly_calibrated, scores(ece=0.12), "the net is overconfident. ECE 0.120 on test"),
    (notes.badly_calibrated, both(scores(ece=0.12), confidence(-0.1)), "the net is underconfident."),
    (notes.badly_calibrated, both(scores(ece=0.12), confidence(0.004)), "the net's confidence is off."),
    (
        notes.badly_calibrated,
        both(scores(ece=0.12), lambda outs: replace(outs, calibration=[])),
        "the net's confidence is off.",
    ),
    (
        notes.accuracy_hides,
        scores(pixel_accuracy=0.95, miou=0.5),
        "95.0 % of the test pixels are right, but mIoU is 0.500",
    ),
]

SILENT: list[tuple[notes.Rule, Change]] = [
    (notes.leak, audited("hidden file")),
    (notes.val_above_train, iou_of("val", 0.05)),
    (notes.val_above_train, both(iou_of("val", 0.05), of_class("tree <b>", "val", iou=""))),
    (notes.test_far_from_val, iou_of_images(-0.02)),
    (notes.few_test_images, iou_of_images(0.1)),
    (notes.rare_class, of_class("road", "test", images="0")),
    (notes.rare_class, both(iou_of_images(0, images=6), of_class("road", "test", images="3"))),
    (notes.absent_class, lambda outs: outs),
    (notes.never_predicted, of_class("road", "test", predicted="0", support="0")),
    (notes.learned_by_heart, iou_of("train", 0.05)),
    (notes.learned_by_heart, both(iou_of("train", 0.02), of_class("sky & sea", "val", iou=""))),
    (notes.val_loss_rises, losses(TRAIN, [1.0, 0.6, 0.5, 0.52, 0.51])),
    (notes.val_loss_rises, losses(TRAIN, [1.0, 0.9, 0.8, 0.7, 0.9])),
    (notes.val_loss_rises, losses([0.1, 0.2, 0.4, 0.7, 0.9], [0.1, 0.2, 0.4, 0.7, 0.9])),
    (notes.undertrained, mious(0.3, 0.3)),
    (notes.undertrained, mious(0.5, 0.3, 0.4)),
    (notes.badly_calibrated, scores(ece=0.04)),
    (notes.accuracy_hides, scores(pixel_accuracy=0.95, miou=0.8)),
]

UNTOLD: list[tuple[notes.Rule, Change, str]] = [
    (notes.val_above_train, iou_of("train", NAN), "no class is scored in both train and val"),
    (notes.learned_by_heart, iou_of("val", NAN), "no class is scored in both train and val"),
    (notes.test_far_from_val, iou_of_images(-0.3, images=1), "fewer than two images with a score in test or val"),
    (notes.rare_class, both(iou_of_images(0, images=4), of_class("road", "test", images="1")), "fewer than 5 test"),
    (notes.val_loss_rises, losses(TRAIN, [1.0, 0.5, 0.6, 0.7, 0.8], weight_boundary=0.1), "the weights of the loss"),
    (notes.val_loss_rises, losses(TRAIN[:2], TRAIN[:2]), "fewer than three epochs"),
    (notes.val_loss_rises, losses(TRAIN, [1.0, 0.5, NAN, 0.7, 0.8]), "the loss of an epoch is no number"),
    (notes.undertrained, mious(0.3), "fewer than two epochs"),
    (notes.undertrained, mious(NAN, NAN), "val mIoU of the last two epochs is no number"),
    (notes.undertrained, mious(NAN, 0.4), "val mIoU of the last two epochs is no number"),
    (notes.badly_calibrated, scores(ece=NAN), "test has no ECE"),
    (notes.accuracy_hides, scores(miou=NAN), "no pixel accuracy or no mIoU"),
]


def name_of(case: object) -> str | None:
    return getattr(case, "__name__", "").replace("<lambda>", "change") or None


@pytest.mark.parametrize(("rule", "change", "told"), FIRES, ids=name_of)
def test_rule_fires(sound: ReportInputs, rule: notes.Rule, change: Change, told: str) -> None:
    note = rule(change(sound))
    assert isinstance(note, notes.ReportNote) and note.advice
    assert told in f"{note.title}. {note.text}"


@pytest.mark.parametrize(("rule", "change"), SILENT, ids=name_of)
def test_rule_is_silent(sound: ReportInputs, rule: notes.Rule, change: Change) -> None:
    assert rule(change(sound)) is None


@pytest.mark.parametrize(("rule", "change", "why"), UNTOLD, ids=name_of)
def test_rule_cannot_tell(sound: ReportInputs, rule: notes.Rule, change: Change, why: str) -> None:
    outs = change(sound)
    told = rule(outs)
    assert isinstance(told, notes.CannotTell) and why in told.why
    name = next(name for name, known in notes.RULES.items() if known is rule)
    _, fine, unchecked = notes.apply_rules(outs)
    assert name not in fine and f"{name} ({told.why})" in unchecked


def test_sound_run_has_no_note(sound: ReportInputs) -> None:
    assert notes.apply_rules(sound) == ([], list(notes.RULES), [])


def test_each_rule_is_tested_both_ways() -> None:
    assert {rule for rule, *_ in FIRES} == {rule for rule, *_ in SILENT} == set(notes.RULES.values())
