"""The classes that the labels of annotations become."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from losslab.cards import IGNORE_INDEX, RESERVED_NAMES, RawValue
from losslab.data.annotations.model import BACKGROUND_LABELS, Annotations
from losslab.data.annotations.object_masks import LABEL
from losslab.data.new_dataset.drawn import DrawnMasks
from losslab.data.new_dataset.options import NewDatasetOptions
from losslab.errors import InputError, suggest_name
from losslab.formats import format_list

BACKGROUND = "background"
REST = "rest"
MAX_LABELS_SHOWN = 12


def choose_label_classes(
    options: NewDatasetOptions, drawn: DrawnMasks, pixels: Mapping[RawValue, int]
) -> tuple[NewDatasetOptions, list[str]]:
    """Return options that name classes by the numbers in drawn masks, and the labels that no pixel has.

    Args:
        pixels: of each number in all masks.

    Raises InputError for labels that are neither of a class nor void, and for classes of labels that are not there.
    """
    numbers, present = drawn.numbers, {label: number for label, number in drawn.numbers.items() if number in pixels}
    groups = parse_groups(options.classes or [])
    if drawn.annotations.kind == "masks":  # which name no label
        groups = {name: [LABEL] if labels == [name] != [BACKGROUND] else labels for name, labels in groups.items()}
    named = [label for labels in groups.values() for label in labels]
    for label in named:
        if label not in numbers and label != BACKGROUND:
            raise InputError(f"--classes: no annotation has the label {label}{_list_labels(label, numbers)}")
        if named.count(label) > 1:
            raise InputError(f"--classes gives {label} to two classes")
    void = choose_void_labels(options, drawn.annotations, named)
    if not groups:
        groups = {label: [label] for label in present if label not in void and label not in BACKGROUND_LABELS}
        check_label_names(groups)
    elif unlisted := [label for label in present if label not in (*named, *void, *BACKGROUND_LABELS)]:
        raise InputError(
            f"--classes lacks {format_list(unlisted, MAX_LABELS_SHOWN)}, which {'is' if len(unlisted) == 1 else 'are'} in the "
            f"annotations; name them too, join them to a class (pet=dog+cat, background={unlisted[0]}), or give --void "
            f"{unlisted[0]} or --void {REST}"
        )
    has_ground = not drawn.annotations.is_dense or any(label in numbers for label in BACKGROUND_LABELS)
    if BACKGROUND not in groups and 0 in pixels and has_ground:
        groups = {BACKGROUND: []} | groups
    values: list[list[RawValue]] = [
        sorted(
            {numbers[label] for label in labels if label in numbers}
            | ({0} if name == BACKGROUND and has_ground else set())
        )
        for name, labels in groups.items()
    ]
    void_values: list[RawValue] = [numbers[label] for label in numbers if label in void and label in present]
    void_values += [IGNORE_INDEX] * (IGNORE_INDEX in pixels)
    if len(values) < 2:
        only = f"only {next(iter(groups))}" if groups else "nothing"
        raise InputError(
            f"{options.annotations}: annotates {only} besides void in these images; two classes are needed"
        )
    unused = [label for label in numbers if label not in (*present, *void, *named, *BACKGROUND_LABELS)]
    chosen = replace(options, classes=list(groups), values=values, void=void_values)
    return chosen, unused


def parse_groups(classes: Sequence[str]) -> dict[str, list[str]]:
    """Return the labels of each class.

    >>> parse_groups(["background", "pet=dog+cat"])
    {'background': ['background'], 'pet': ['dog', 'cat']}
    """
    parts = {each.partition("=")[0].strip(): each.partition("=")[2] for each in classes}
    return {name: [label.strip() for label in (labels or name).split("+")] for name, labels in parts.items()}


def choose_void_labels(options: NewDatasetOptions, annotations: Annotations, named: Collection[str]) -> list[str]:
    """Return the labels that are void: those that the user gives, and the format's own that no class has."""
    given, labels = options.void_labels, annotations.labels
    custom = [label for label in labels if label in annotations.void and label not in named]
    if given is None or not given:
        return custom if given is None else []
    if given == [REST]:
        return [label for label in labels if label not in (*named, *BACKGROUND_LABELS)]
    for label in given:
        if label not in labels:
            raise InputError(f"--void: no annotation has the label {label}{_list_labels(label, labels)}")
        if label in named:
            raise InputError(f"--void: {label} is in --classes too")
    return [*given, *(label for label in custom if label not in given)]


def _list_labels(label: str, labels: Collection[str]) -> str:
    return f"{suggest_name(label, labels)}; there are {format_list(list(labels), MAX_LABELS_SHOWN)}"


def check_label_names(labels: Collection[str]) -> None:
    """Raise InputError for a label that cannot be the name of a class."""
    for label in labels:
        if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_ -]*", label) or label.lower() in ("void", *RESERVED_NAMES):
            raise InputError(
                f"the label {label!r} cannot name a class: give all classes with --classes, this one as name={label}, or "
                f"--void {label}"
            )
