"""What the numbers of a run give reason to doubt. Each rule looks at the outs and speaks, or does not, or cannot tell."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from losslab.formats import format_list, format_percent, format_plural, format_score
from losslab.reporting.components.intervals import compute_mean
from losslab.reporting.run.outs import ReportInputs, read_column, select_split
from losslab.reporting.run.sections.calibration import LEAST_GAP, compute_overconfidence

GAP = 0.1
"""Of mIoU, from training to val images."""
SMALL_GAP = 0.03
"""Of mIoU: less is no matter, however sure."""
FEW_IMAGES = 30
FEW_WITH_CLASS = 5
WIDE = 0.05
"""Half a 95 % interval of mIoU."""
CALIBRATION_ERROR = 0.05
LEAKS = ("duplicate across splits", "near-duplicate across splits", "group in several splits")


@dataclass(frozen=True)
class ReportNote:
    about: Literal["trust", "limit"]
    """Trust: the score may not be what it seems. Limit: it is, and could be better."""
    title: str
    text: str
    advice: str


@dataclass(frozen=True)
class CannotTell:
    """The outs do not hold what a rule looks at."""

    why: str


Rule = Callable[[ReportInputs], ReportNote | CannotTell | None]
"""None: looked, and found nothing."""


def leak(outs: ReportInputs) -> ReportNote | None:
    """The audit found images, or groups of them, in more than one split."""
    found = {kind: outs.audit["by_kind"][kind]["count"] for kind in LEAKS if kind in outs.audit["by_kind"]}
    if not found:
        return None
    told = format_list([f"{number:,} × {kind}" for kind, number in found.items()])
    return ReportNote(
        "trust",
        "the same or nearly the same images are in several splits",
        f"The audit counts {told}: the net may know test images from training.",
        "Look at the pairs under Data; prepare.split.method: grouped keeps groups together.",
    )


def val_above_train(outs: ReportInputs) -> ReportNote | CannotTell | None:
    """Val is better than the sample of training images, which were learned from."""
    pair = _train_and_val(outs)
    if isinstance(pair, CannotTell):
        return pair
    if not pair.val - pair.train > SMALL_GAP:
        return None
    return ReportNote(
        "trust",
        "the net is better on validation than on training images",
        f"mIoU {format_score(pair.val)} on val, {format_score(pair.train)} on training images{pair.without}: "
        "learned images should not be the harder ones.",
        "Compare how the splits were drawn: val may be easier, small, or leak from train.",
    )


def test_far_from_val(outs: ReportInputs) -> ReportNote | CannotTell | None:
    """Test and val differ by more than images drawn at random would."""
    test, val = compute_mean(outs.image_scores("test")), compute_mean(outs.image_scores("val"))
    gap, chance = test.value - val.value, math.hypot(test.half_width, val.half_width)
    if math.isnan(chance):
        return CannotTell("fewer than two images with a score in test or val")
    if not (abs(gap) > SMALL_GAP and abs(gap) > chance):
        return None
    return ReportNote(
        "trust",
        f"test images score far {'above' if gap > 0 else 'below'} validation images",
        f"The mean mIoU of an image is {format_score(test.value)} on test and {format_score(val.value)} on val; "
        f"chance alone gives differences of about ± {format_score(chance)}.",
        "The splits differ in kind: look how they were drawn, and which images are worst.",
    )


def few_test_images(outs: ReportInputs) -> ReportNote | None:
    """The test images are too few for a sure mean."""
    mean = compute_mean(outs.image_scores("test"))
    if mean.images >= FEW_IMAGES and not mean.half_width > WIDE:
        return None
    interval = (
        f": their mean mIoU is {format_score(mean.value)} ± {format_score(mean.half_width)} (95 %)"
        if mean.images > 1
        else ""
    )
    return ReportNote(
        "trust",
        "there are few test images for how much they differ",
        f"{format_plural(mean.images, 'image')}{interval}.",
        "Take no difference smaller than that for real; kfold splits use all images for testing.",
    )


def rare_class(outs: ReportInputs) -> ReportNote | CannotTell | None:
    """A class is in so few of the test images that its score is theirs; of a test set as small as that no class can be rare."""
    total = len(select_split(outs.per_image, "test"))
    if total < FEW_WITH_CLASS:
        return CannotTell(f"fewer than {FEW_WITH_CLASS} test images")
    images = outs.class_scores("test", "images")
    rare = [name for name, number in images.items() if 0 < number < min(FEW_WITH_CLASS, total / 2)]
    if not rare:
        return None
    told = format_list([f"{name} in {format_plural(int(images[name]), 'image')}" for name in rare])
    return ReportNote(
        "trust",
        f"{'a class is' if len(rare) == 1 else 'some classes are'} in hardly any test image",
        f"{told}: the IoU of such a class says little about other images.",
        "prepare.split.method: stratified spreads rare classes over the splits.",
    )


def absent_class(outs: ReportInputs) -> ReportNote | None:
    """A class of the card is in no image of a split."""
    missing = {
        split: [name for name in outs.classes if outs.audit["coverage"][split][name]["images"] == 0]
        for split in ("train", "val", "test")
    }
    told = [f"{format_list(names)} in no {split} image" for split, names in missing.items() if names]
    if not told:
        return None
    return ReportNote(
        "trust",
        "a class is absent from a split",
        f"{format_list(told)}. It is in no mean where neither truth nor prediction has it.",
        "Another split, such as stratified; or take the class out of the card.",
    )


def never_predicted(outs: ReportInputs) -> ReportNote | None:
    """A class that the test images have is predicted nowhere."""
    predicted, support = (outs.class_scores("test", key) for key in ("predicted", "support"))
    never = [name for name in outs.classes if predicted.get(name) == 0 and support.get(name, 0) > 0]
    if not never:
        return None
    return ReportNote(
        "limit",
        f"{format_list(never)} {'is' if len(never) == 1 else 'are'} never predicted",
        "No test pixel was called so, though some are.",
        "A loss that weighs rare classes (dice, focal, class weights), more epochs, or larger prepare.size for small objects.",
    )


def learned_by_heart(outs: ReportInputs) -> ReportNote | CannotTell | None:
    """Training images score far above val images."""
    pair = _train_and_val(outs)
    if isinstance(pair, CannotTell):
        return pair
    if not pair.train - pair.val > GAP:
        return None
    return ReportNote(
        "limit",
        "the net overfits: it is much better on training images",
        f"mIoU {format_score(pair.train)} on a sample of the training images, {format_score(pair.val)} on val{pair.without}.",
        "More images, stronger augmentation, pretrained encoder weights, weight decay, or fewer epochs.",
    )


def val_loss_rises(outs: ReportInputs) -> ReportNote | CannotTell | None:
    """Val loss went up while train loss went on down; said of no loss whose weights change."""
    if any(name.startswith("weight_") for name in outs.history[0]):
        return CannotTell("the weights of the loss change")
    if len(outs.history) < 3:
        return CannotTell("fewer than three epochs")
    train, val = read_column(outs.history, "train_loss"), read_column(outs.history, "val_loss")
    if any(map(math.isnan, train + val)):
        return CannotTell("the loss of an epoch is no number")
    lowest = min(range(len(val)), key=val.__getitem__)
    later = val[lowest + 1 :][-3:]
    if (
        len(later) < 2
        or not sum(later) / len(later) - val[lowest] > GAP * abs(val[lowest])
        or not train[-1] < train[lowest]
    ):
        return None
    epoch = outs.history[lowest]["epoch"]
    return ReportNote(
        "limit",
        "the validation loss rises while the training loss falls",
        f"Val loss was lowest in epoch {epoch} ({format_score(val[lowest])}) and ended at {format_score(val[-1])}, "
        f"while train loss fell from {format_score(train[lowest])} to {format_score(train[-1])}.",
        "The net learns the training images by heart: stronger augmentation, weight decay, or train.early_stopping.",
    )


def undertrained(outs: ReportInputs) -> ReportNote | CannotTell | None:
    """The best epoch is the last one, better than the one before."""
    if len(outs.history) < 2:
        return CannotTell("fewer than two epochs")
    before, last = read_column(outs.history, "val_miou")[-2:]
    if math.isnan(before) or math.isnan(last):
        return CannotTell("val mIoU of the last two epochs is no number")
    if outs.kept != len(outs.history) - 1:
        return None
    return ReportNote(
        "limit",
        "training ended while val mIoU was still rising",
        f"The best epoch is the last of {len(outs.history)}: val mIoU {format_score(last)}, {format_score(before)} before it.",
        "More train.epochs, or a schedule that ends.",
    )


def badly_calibrated(outs: ReportInputs) -> ReportNote | CannotTell | None:
    """Confidence is not accuracy; in which direction, where it is mostly one."""
    error = outs.score("test", "ece")
    if math.isnan(error):
        return CannotTell("test has no ECE")
    if not error > CALIBRATION_ERROR:
        return None
    gap = compute_overconfidence(outs, "test")
    direction = "overconfident" if gap > 0 else "underconfident"
    return ReportNote(
        "limit",
        f"the net is {direction}" if abs(gap) >= LEAST_GAP else "the net's confidence is off",
        f"ECE {format_score(error)} on test: its probabilities are off by {format_percent(error)} percentage points on average.",
        "Do not read its probabilities as such before they are calibrated, as by temperature scaling on val.",
    )


def accuracy_hides(outs: ReportInputs) -> ReportNote | CannotTell | None:
    """Most pixels are right, and some classes are not."""
    accuracy, miou = outs.score("test", "pixel_accuracy"), outs.score("test", "miou")
    if math.isnan(accuracy) or math.isnan(miou):
        return CannotTell("test has no pixel accuracy or no mIoU")
    if not (accuracy > 0.8 and accuracy - miou > 0.25):
        return None
    return ReportNote(
        "limit",
        "a high pixel accuracy hides weak classes",
        f"{format_percent(accuracy)} % of the test pixels are right, but mIoU is {format_score(miou)}: large classes carry "
        "the accuracy.",
        "Quote mIoU and the IoU of each class; a region loss (dice, lovasz) weighs classes alike.",
    )


RULES: dict[str, Rule] = {
    "no image in several splits": leak,
    "val not above train": val_above_train,
    "test near val": test_far_from_val,
    "enough test images": few_test_images,
    "no class rare among test images": rare_class,
    "each class in each split": absent_class,
    "each class predicted": never_predicted,
    "train near val": learned_by_heart,
    "val loss falls with train loss": val_loss_rises,
    "best epoch before the last": undertrained,
    "confidence is accuracy": badly_calibrated,
    "pixel accuracy near mIoU": accuracy_hides,
}
"""What is so when the rule does not speak → the rule; those about trust first."""


def apply_rules(outs: ReportInputs) -> tuple[list[ReportNote], list[str], list[str]]:
    """What the rules say, what is as it should be, and what nobody could tell, with why."""
    found = {name: rule(outs) for name, rule in RULES.items()}
    return (
        [note for note in found.values() if isinstance(note, ReportNote)],
        [name for name, note in found.items() if note is None],
        [f"{name} ({note.why})" for name, note in found.items() if isinstance(note, CannotTell)],
    )


@dataclass(frozen=True)
class _Pair:
    """mIoU of the classes that train and val both score: of other classes it would compare unlike things."""

    train: float
    val: float
    without: str
    """What to add to the two numbers, where a class is left out."""


def _train_and_val(outs: ReportInputs) -> _Pair | CannotTell:
    train, val = outs.class_scores("train"), outs.class_scores("val")
    both = [name for name in outs.classes if name in train and name in val]
    if not both:
        return CannotTell("no class is scored in both train and val")
    left_out = [name for name in outs.classes if (name in train) != (name in val)]
    told = f" (without {format_list(left_out)}, scored in only one of them)" if left_out else ""
    return _Pair(outs.miou("train", both), outs.miou("val", both), told)
