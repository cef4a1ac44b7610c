"""Reasons to doubt the numbers of a run, and what limits them; each rule checks one."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from losslab.formats import format_count, format_list, format_percent, format_plural, format_score
from losslab.reporting.components.intervals import compute_mean
from losslab.reporting.run.inputs import ReportInputs, read_column, select_split
from losslab.reporting.run.sections.calibration import MIN_CONFIDENCE_GAP, compute_overconfidence

OVERFIT_GAP = 0.1
"""Difference between the mIoU of training and val images, and relative rise of val loss, from which a net overfits."""
MIN_GAP = 0.03
"""Difference in mIoU below which splits count as equal, however certain the difference is."""
MIN_TEST_IMAGES = 30
MIN_IMAGES_WITH_CLASS = 5
MAX_HALF_WIDTH = 0.05
"""Largest half width of the 95 % interval of test mIoU that needs no warning."""
MAX_CALIBRATION_ERROR = 0.05
LEAKS = ("duplicate across splits", "near-duplicate across splits", "group in several splits")


@dataclass(frozen=True)
class ReportNote:
    about: Literal["trust", "limit"]
    """Doubt that the score is what it seems (`trust`), or something that keeps it from being better (`limit`)."""
    title: str
    text: str
    advice: str


@dataclass(frozen=True)
class UncheckedRule:
    """A rule that could not be checked, because the outs lack what it needs."""

    why: str


Rule = Callable[[ReportInputs], ReportNote | UncheckedRule | None]
"""A check of one run that gives a note, the reason why it cannot check, or None if all is well."""


def check_leak(outs: ReportInputs) -> ReportNote | None:
    """Check for images, or groups of images, that the audit found in more than one split."""
    counts = {kind: outs.audit["by_kind"][kind]["count"] for kind in LEAKS if kind in outs.audit["by_kind"]}
    if not counts:
        return None
    kinds = format_list([f"{format_count(count)} × {kind}" for kind, count in counts.items()])
    return ReportNote(
        "trust",
        "the same or nearly the same images are in several splits",
        f"The audit counts {kinds}. The net may know test images from training.",
        "Look at the pairs under Data. To keep groups together, set prepare.split.method: grouped.",
    )


def check_val_above_train(outs: ReportInputs) -> ReportNote | UncheckedRule | None:
    """Check whether val scores higher than the sample of training images."""
    pair = _compare_train_and_val(outs)
    if isinstance(pair, UncheckedRule):
        return pair
    train, val, left_out = pair
    if not val - train > MIN_GAP:
        return None
    return ReportNote(
        "trust",
        "the net is better on validation images than on training images",
        f"mIoU {format_score(val)} on val, {format_score(train)} on training images{left_out}: "
        "images that the net has learned should not be harder.",
        "Check how the splits were drawn: val may be easier, small, or leak from train.",
    )


def check_test_far_from_val(outs: ReportInputs) -> ReportNote | UncheckedRule | None:
    """Check whether test and val differ by more than chance explains."""
    test, val = compute_mean(outs.read_image_scores("test")), compute_mean(outs.read_image_scores("val"))
    gap, chance = test.value - val.value, math.hypot(test.half_width, val.half_width)
    if math.isnan(chance):
        return UncheckedRule("fewer than two images with a score in test or val")
    if not (abs(gap) > MIN_GAP and abs(gap) > chance):
        return None
    return ReportNote(
        "trust",
        f"test images score far {'above' if gap > 0 else 'below'} validation images",
        f"The mean mIoU of an image is {format_score(test.value)} on test and {format_score(val.value)} on val. "
        f"Chance alone explains differences of about ± {format_score(chance)}.",
        "The splits differ in kind: check how they were drawn, and which images are worst.",
    )


def check_few_test_images(outs: ReportInputs) -> ReportNote | None:
    """Check whether there are enough test images for a reliable mean."""
    mean = compute_mean(outs.read_image_scores("test"))
    if mean.images >= MIN_TEST_IMAGES and not mean.half_width > MAX_HALF_WIDTH:
        return None
    interval = f": their mean mIoU is {format_score(mean.value)} ± {format_score(mean.half_width)} (95 %)"
    return ReportNote(
        "trust",
        "there are few test images, given how much they differ",
        f"{format_plural(mean.images, 'image')}{interval if mean.images > 1 else ''}.",
        "Do not trust differences smaller than this uncertainty. With kfold splits, every image is tested once.",
    )


def check_rare_class(outs: ReportInputs) -> ReportNote | UncheckedRule | None:
    """Check for classes in so few test images that their scores say little about other images."""
    total = len(select_split(outs.per_image, "test"))
    if total < MIN_IMAGES_WITH_CLASS:
        return UncheckedRule(f"fewer than {MIN_IMAGES_WITH_CLASS} test images")
    images = outs.read_class_scores("test", "images")
    rare = [name for name, number in images.items() if 0 < number < min(MIN_IMAGES_WITH_CLASS, total / 2)]
    if not rare:
        return None
    places = format_list([f"{name} in {format_plural(int(images[name]), 'image')}" for name in rare])
    return ReportNote(
        "trust",
        f"{'a class is' if len(rare) == 1 else 'some classes are'} in hardly any test image",
        f"{places}: the IoU of such a class says little about other images.",
        "To spread rare classes over the splits, set prepare.split.method: stratified.",
    )


def check_absent_class(outs: ReportInputs) -> ReportNote | None:
    """Check for classes of the card that are in no image of a split."""
    coverage = outs.audit["coverage"]
    missing = {
        split: [name for name in outs.classes if coverage[split][name]["images"] == 0]
        for split in ("train", "val", "test")
    }
    absent = [f"{format_list(names)} in no {split} image" for split, names in missing.items() if names]
    if not absent:
        return None
    return ReportNote(
        "trust",
        "a class is absent from a split",
        f"{format_list(absent)}. Means leave out a class that neither truth nor prediction contains.",
        "Choose another split, such as stratified, or remove the class from the card.",
    )


def check_never_predicted(outs: ReportInputs) -> ReportNote | None:
    """Check for classes of the test images that are never predicted."""
    predicted, support = (outs.read_class_scores("test", key) for key in ("predicted", "support"))
    never = [name for name in outs.classes if predicted.get(name) == 0 and support.get(name, 0) > 0]
    if not never:
        return None
    return ReportNote(
        "limit",
        f"{format_list(never)} {'is' if len(never) == 1 else 'are'} never predicted",
        "The test images contain such pixels, but the net predicts none.",
        "Try a loss that weighs rare classes (dice, focal, class weights), more epochs, or a larger prepare.size for small "
        "objects.",
    )


def check_ceiling(outs: ReportInputs) -> ReportNote | None:
    """Check for classes that even the truth loses at the prepared size; scores at that size do not show it: a doubt."""
    weak = [finding["file"] for finding in outs.audit["findings"] if finding["kind"] == "too fine for prepare.size"]
    if not weak:
        return None
    size = outs.audit["settings"]["size"]
    scores = format_list([f"{format_score(outs.audit['ceiling'][name])} for {name}" for name in weak])
    is_original = outs.evaluation["resolution"] == "original"
    scored = (
        "Scores here are at that size" if is_original else "Scores here are at the prepared size, and do not show it"
    )
    return ReportNote(
        "limit" if is_original else "trust",
        f"{format_list(weak)} {'is' if len(weak) == 1 else 'are'} too fine for {size} pixels",
        f"At the size of the files, the truth itself, resized to {size} pixels, has an IoU of {scores}. {scored}.",
        "Raise prepare.size; where the audit found one that is enough, it is named under Data.",
    )


def check_overfitting(outs: ReportInputs) -> ReportNote | UncheckedRule | None:
    """Check whether training images score far above val images."""
    pair = _compare_train_and_val(outs)
    if isinstance(pair, UncheckedRule):
        return pair
    train, val, left_out = pair
    if not train - val > OVERFIT_GAP:
        return None
    return ReportNote(
        "limit",
        "the net overfits: it is much better on training images",
        f"mIoU {format_score(train)} on a sample of the training images, {format_score(val)} on val{left_out}.",
        "Try more images, stronger augmentation, pretrained encoder weights, weight decay, or fewer epochs.",
    )


def check_val_loss(outs: ReportInputs) -> ReportNote | UncheckedRule | None:
    """Check whether val loss rose while train loss fell; a loss whose weights change is not comparable over epochs."""
    if any(name.startswith("weight_") for name in outs.history[0]):
        return UncheckedRule("the weights of the loss change")
    if len(outs.history) < 3:
        return UncheckedRule("fewer than three epochs")
    train, val = read_column(outs.history, "train_loss"), read_column(outs.history, "val_loss")
    if any(map(math.isnan, train + val)):
        return UncheckedRule("an epoch has no loss")
    lowest = min(range(len(val)), key=val.__getitem__)
    later = val[lowest + 1 :][-3:]
    has_risen = len(later) > 1 and sum(later) / len(later) - val[lowest] > OVERFIT_GAP * abs(val[lowest])
    if not (has_risen and train[-1] < train[lowest]):
        return None
    epoch = outs.history[lowest]["epoch"]
    return ReportNote(
        "limit",
        "the validation loss rises while the training loss falls",
        f"Val loss was lowest in epoch {epoch} ({format_score(val[lowest])}) and ended at {format_score(val[-1])}, "
        f"while train loss fell from {format_score(train[lowest])} to {format_score(train[-1])}.",
        "The net memorises the training images: try stronger augmentation, weight decay, or train.early_stopping.",
    )


def check_undertraining(outs: ReportInputs) -> ReportNote | UncheckedRule | None:
    """Check whether val mIoU was still rising in the last epoch."""
    if len(outs.history) < 2:
        return UncheckedRule("fewer than two epochs")
    before, last = read_column(outs.history, "val_miou")[-2:]
    if math.isnan(before) or math.isnan(last):
        return UncheckedRule("one of the last two epochs has no val mIoU")
    if outs.kept != len(outs.history) - 1:
        return None
    return ReportNote(
        "limit",
        "training ended while val mIoU was still rising",
        f"The best epoch is the last of {len(outs.history)}: val mIoU {format_score(last)}, {format_score(before)} before it.",
        "Raise train.epochs, or choose a schedule that ends.",
    )


def check_calibration(outs: ReportInputs) -> ReportNote | UncheckedRule | None:
    """Check whether confidence matches accuracy, and if not, in which direction it is off."""
    error = outs.read_score("test", "ece")
    if math.isnan(error):
        return UncheckedRule("test has no ECE")
    if not error > MAX_CALIBRATION_ERROR:
        return None
    gap = compute_overconfidence(outs, "test")
    direction = "overconfident" if gap > 0 else "underconfident"
    return ReportNote(
        "limit",
        f"the net is {direction}" if abs(gap) >= MIN_CONFIDENCE_GAP else "the net's confidence is off",
        f"ECE {format_score(error)} on test: its probabilities are off by {format_percent(error)} percentage points on "
        "average.",
        "Calibrate its probabilities before you rely on them, for example by temperature scaling on val.",
    )


def check_accuracy(outs: ReportInputs) -> ReportNote | UncheckedRule | None:
    """Check whether a high pixel accuracy hides classes that are segmented badly."""
    accuracy, miou = outs.read_score("test", "pixel_accuracy"), outs.read_score("test", "miou")
    if math.isnan(accuracy) or math.isnan(miou):
        return UncheckedRule("test has no pixel accuracy or no mIoU")
    if not (accuracy > 0.8 and accuracy - miou > 0.25):
        return None
    return ReportNote(
        "limit",
        "a high pixel accuracy hides weak classes",
        f"{format_percent(accuracy)} % of the test pixels are correct, but mIoU is {format_score(miou)}: large classes "
        "dominate the accuracy.",
        "Quote mIoU and the IoU of each class. A region loss (dice, lovasz) gives every class the same weight.",
    )


RULES: dict[str, Rule] = {
    "no image in several splits": check_leak,
    "val not above train": check_val_above_train,
    "test close to val": check_test_far_from_val,
    "enough test images": check_few_test_images,
    "no class rare among test images": check_rare_class,
    "every class in every split": check_absent_class,
    "every class predicted": check_never_predicted,
    "no class too fine for prepare.size": check_ceiling,
    "train close to val": check_overfitting,
    "val loss falls with train loss": check_val_loss,
    "best epoch before the last": check_undertraining,
    "confidence matches accuracy": check_calibration,
    "pixel accuracy close to mIoU": check_accuracy,
}
"""What holds if the rule finds nothing → the rule, those about trust first."""


def apply_rules(outs: ReportInputs) -> tuple[list[ReportNote], list[str], list[str]]:
    """Return the notes, the names of the rules that found nothing, and those that could not be checked, with the reason."""
    rules = {name: rule for name, rule in RULES.items() if rule is not check_ceiling or "ceiling" in outs.audit}
    results = {name: rule(outs) for name, rule in rules.items()}
    return (
        [result for result in results.values() if isinstance(result, ReportNote)],
        [name for name, result in results.items() if result is None],
        [f"{name} ({result.why})" for name, result in results.items() if isinstance(result, UncheckedRule)],
    )


def _compare_train_and_val(outs: ReportInputs) -> tuple[float, float, str] | UncheckedRule:
    """Return the mIoU of train and of val over the classes that both score, and words about the classes left out."""
    train, val = outs.read_class_scores("train"), outs.read_class_scores("val")
    both = [name for name in outs.classes if name in train and name in val]
    if not both:
        return UncheckedRule("train and val score no common class")
    single = [name for name in outs.classes if (name in train) != (name in val)]
    left_out = f" (without {format_list(single)}, scored in only one of them)" if single else ""
    return outs.compute_miou("train", both), outs.compute_miou("val", both), left_out
