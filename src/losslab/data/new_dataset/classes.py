"""The classes that the masks of your own data hold: names, raw values and colours, and which values are void."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from losslab.cards import CLASS_LIMIT, MAX_CLASSES, NONZERO, RawValue
from losslab.data.new_dataset.values import format_raw_value, format_raw_values
from losslab.errors import InputError
from losslab.formats import format_cell_percent, format_list

if TYPE_CHECKING:
    from losslab.data.new_dataset.class_names import ClassNames
    from losslab.data.new_dataset.options import NewDatasetOptions
    from losslab.data.new_dataset.scan import ScanResult

CUSTOMARY_VOID = 255
"""The value that annotators customarily give to what they leave out, if there are two other values or more."""
MAX_VALUES_SHOWN = 20
DISTINCT_COLOURS = [
    (30, 30, 30),
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
]
"""A dark colour, then those of Okabe and Ito, which the colour-blind tell apart (https://jfly.uni-koeln.de/color/)."""


@dataclass(frozen=True)
class MaskClass:
    name: str
    color: tuple[int, int, int]
    values: tuple[RawValue, ...]
    share: float
    """Share of all pixels of all masks, 0 to 1."""


def choose_classes(
    scan: "ScanResult", said: "NewDatasetOptions", listed_names: "ClassNames | None" = None
) -> tuple[list[MaskClass], dict[RawValue, float], bool]:
    """Return the classes by value, void values with their share, and whether these are void by custom only.

    `listed_names` are those of a file beside the masks. Raises InputError if what the user said does not fit the masks, if
    the masks hold fewer than two classes, or if what they hold may mean different things.
    """
    if len(scan.pixels) == 1:
        clear = [mask.path.name for mask in scan.masks if mask.in_two_opacities is not None]
        hint = f"; {clear[0]} tells objects by its transparency, which is not read: save it as grey" if clear else ""
        raise InputError(
            f"all masks hold only {format_raw_value(next(iter(scan.pixels)))}; two classes are needed{hint}"
        )
    is_stated = said.foreground or said.values is not None
    by_custom = said.void is None and not is_stated and CUSTOMARY_VOID in scan.pixels and len(scan.pixels) > 2
    void = _check_values("--void", said.void, scan) if said.void is not None else [CUSTOMARY_VOID] * by_custom
    total = sum(scan.pixels.values())
    single = {value: count / total for value, count in scan.pixels.items() if value not in void}
    shares: dict[tuple[RawValue, ...], float] = {(value,): share for value, share in single.items()}
    if said.values is not None:
        shares = _join_values(said.values, void, scan)
    elif said.foreground:
        shares = _join_foreground(single)
    names, picked = said.classes, listed_names.pick([values[0] for values in shares]) if listed_names else None
    if not is_stated:
        has_names = names is not None and len(names) == len(shares)
        _check_doubts(scan, said, by_custom, has_names, has_names or picked is not None)
    shown = [f"{format_raw_values(values)} ({format_share(share)})" for values, share in shares.items()]
    listed = ", ".join(shown[:MAX_VALUES_SHOWN]) + (", …" if len(shown) > MAX_VALUES_SHOWN else "")
    besides = " besides void" if void else ""
    if len(shares) < 2:
        raise InputError(f"--void: the masks hold only {listed or 'nothing'} besides void; two classes are needed")
    if names is not None and len(names) != len(shares):
        hold = (
            f"--values gives {len(shares)}"
            if said.values is not None
            else f"the masks hold {len(shares)} values{besides}"
        )
        raise InputError(
            f"--classes gives {len(names)} names ({', '.join(names)}), but {hold} (share of pixels): {listed}"
        )
    if len(shares) > MAX_CLASSES:
        raise InputError(f"the masks hold {len(shares)} values{besides}; {CLASS_LIMIT}")
    named = zip(names or picked or _name_values(list(shares)), pick_colours(len(shares)), shares.items(), strict=True)
    classes = [
        MaskClass(name, values[0] if isinstance(values[0], tuple) else colour, values, share)
        for name, colour, (values, share) in named
    ]
    return classes, {value: scan.pixels.get(value, 0) / total for value in void}, by_custom


def _check_doubts(
    scan: "ScanResult", said: "NewDatasetOptions", by_custom: bool, has_names: bool, is_named: bool
) -> None:
    """Raise InputError if values may mean something else than a class each, and 255 void.

    With `has_names`, the user named each value; with `is_named`, the user did, or a file beside the masks.
    """
    from losslab.data.new_dataset.ambiguity import (  # heavy
        check_full_values,
        check_roles,
        check_scales,
        check_shades,
    )

    if scan.has_instances and not has_names:
        richest = max(scan.masks, key=lambda mask: len(mask.pixels))
        raise InputError(
            f"{richest.path.parent}: {len(scan.pixels)} values, most of them in one piece, as if each object had a value of its "
            f"own ({richest.path.name} holds {len(richest.pixels)}): give --foreground nonzero to make all objects one class, or "
            "a name for each value with --classes"
        )
    if by_custom:
        check_full_values(scan)
    if said.void is None and (by_custom or not is_named):
        check_roles(scan)
    if said.void is None and not is_named:
        check_scales(scan)
        check_shades(scan)


def _join_values(
    classes: Sequence[Sequence[RawValue]], void: Sequence[RawValue], scan: "ScanResult"
) -> dict[tuple[RawValue, ...], float]:
    """Return the share of the values of each class. Raises InputError for a value that no class has."""
    named = set(_check_values("--values", [*(value for values in classes for value in values), *void], scan))
    if len(classes) < 2:
        raise InputError("--values: two classes are needed; put a comma between the values of two classes")
    for mask in scan.masks:
        if rest := [value for value in mask.pixels if value not in named]:
            raise InputError(
                f"{mask.path}: holds {format_list([format_raw_value(value) for value in rest])}, which neither --values nor "
                "--void names"
            )
    total = sum(scan.pixels.values())
    return {tuple(values): sum(scan.pixels.get(value, 0) for value in values) / total for values in classes}


def _join_foreground(shares: dict[RawValue, float]) -> dict[tuple[RawValue, ...], float]:
    background = next((value for value in shares if value in (0, (0, 0, 0))), None)
    if background is None:
        raise InputError("--foreground nonzero: no mask holds 0, or black, which would be the background")
    rest = sum(share for value, share in shares.items() if value != background)
    joined: dict[tuple[RawValue, ...], float] = {(background,): shares[background]}
    return joined | ({(NONZERO,): rest} if len(shares) > 1 else {})


def format_share(share: float) -> str:
    return f"{format_cell_percent(share)} %"


def _check_values(option: str, values: Sequence[RawValue], scan: "ScanResult") -> list[RawValue]:
    for value, count in Counter(values).items():
        if isinstance(value, tuple) != scan.in_colours:
            kind = "colours, such as #e0e0c0" if scan.in_colours else "numbers"
            raise InputError(f"{option}: {format_raw_value(value)} does not fit the masks, which hold {kind}")
        if count > 1:
            raise InputError(f"{option} names {format_raw_value(value)} twice")
    return list(values)


def _is_background(values: Sequence[RawValue], others: Sequence[RawValue]) -> bool:
    """Tell whether values beside others are customarily those of the background: 0 with 1, 255 or several, or black."""
    return values[0] == (0, 0, 0) or (values[0] == 0 and (len(others) > 1 or others[0] in (1, CUSTOMARY_VOID, NONZERO)))


def _name_values(values: Sequence[tuple[RawValue, ...]]) -> list[str]:
    is_binary = len(values) == 2 and _is_background(*values)
    return ["background", "foreground"] if is_binary else [f"class_{index}" for index in range(len(values))]


def pick_colours(count: int) -> list[tuple[int, int, int]]:
    """Return different colours; beyond eight nobody can tell all of them apart, but neighbours differ."""
    colours, bright = list(DISTINCT_COLOURS), DISTINCT_COLOURS[1:]
    for index in range(count - len(DISTINCT_COLOURS)):
        darker = 0.8 ** (1 + index // len(bright) % 5)
        red, green, blue = (round(part * darker) for part in bright[index % len(bright)])
        while (red, green, blue) in colours:
            blue = (blue + 37) % 256
        colours.append((red, green, blue))
    return colours[:count]
