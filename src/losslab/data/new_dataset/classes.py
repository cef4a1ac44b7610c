"""Which classes the masks of one's own data hold: their names, raw values and colours, and what of them is void."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from losslab.cards import RawValue
from losslab.errors import InputError

if TYPE_CHECKING:
    from losslab.data.new_dataset.scan import ScanResult

VOID = 255
"""Next to two other values or more, what annotators leave out, by custom."""
MOST_CLASSES = 255
DISTINCT = [
    (30, 30, 30),
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
]
"""Dark, then those of Okabe and Ito, which the colour-blind tell apart (https://jfly.uni-koeln.de/color/)."""


@dataclass(frozen=True)
class MaskClass:
    name: str
    color: tuple[int, int, int]
    value: RawValue
    share: float
    """Of all pixels of all masks."""


def choose_classes(
    found: "ScanResult", names: Sequence[str] | None, void: Sequence[RawValue] | None
) -> tuple[list[MaskClass], dict[RawValue, float], bool]:
    """The classes in ascending order of value; the void values with their share; whether these are void by custom only.

    Raises:
        InputError: names or void that do not fit the masks, or fewer than two classes in them.
    """
    if len(found.pixels) == 1:
        only = format_raw_value(next(iter(found.pixels)))
        raise InputError(f"all masks hold nothing but {only}; it takes two classes to tell apart")
    by_custom = void is None and VOID in found.pixels and len(found.pixels) > 2
    void_values = _void(void, found) if void is not None else [VOID] * by_custom
    total = sum(found.pixels.values())
    shares = {value: count / total for value, count in found.pixels.items() if value not in void_values}
    there = ", ".join(
        f"{format_raw_value(value)} ({format_share(share)})" for value, share in list(shares.items())[:20]
    )
    there += ", …" if len(shares) > 20 else ""
    besides = " besides void" if void_values else ""
    if len(shares) < 2:
        raise InputError(f"--void: the masks hold besides void only {there or 'nothing'}; it takes two classes")
    if names is not None and len(names) != len(shares):
        raise InputError(
            f"--classes names {len(names)} ({', '.join(names)}); the masks hold {len(shares)} values{besides}, with their "
            f"share of pixels: {there}"
        )
    if len(shares) > MOST_CLASSES:
        raise InputError(f"the masks hold {len(shares)} values{besides}; {MOST_CLASSES} classes are the most")
    colours = _distinct_colours(len(shares))
    classes = [
        MaskClass(name, value if isinstance(value, tuple) else colour, value, share)
        for name, colour, (value, share) in zip(names or _names(list(shares)), colours, shares.items(), strict=True)
    ]
    return classes, {value: found.pixels.get(value, 0) / total for value in void_values}, by_custom


def format_raw_value(value: RawValue) -> str:
    return "#{:02x}{:02x}{:02x}".format(*value) if isinstance(value, tuple) else str(value)


def format_share(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0005 or share == 0 else "< 0.1 %"


def _void(void: Sequence[RawValue], found: "ScanResult") -> list[RawValue]:
    for value in void:
        if isinstance(value, tuple) != found.in_colours:
            holds = "colours, such as #e0e0c0" if found.in_colours else "numbers"
            raise InputError(f"--void: {format_raw_value(value)} is not of what the masks hold: {holds}")
        if list(void).count(value) > 1:
            raise InputError(f"--void names {format_raw_value(value)} twice")
    return list(void)


def _names(values: Sequence[RawValue]) -> list[str]:
    marks_one_thing = values in ([0, 1], [0, 255]) or (len(values) == 2 and values[0] == (0, 0, 0))
    return ["background", "foreground"] if marks_one_thing else [f"class_{index}" for index in range(len(values))]


def _distinct_colours(count: int) -> list[tuple[int, int, int]]:
    """So many different colours; beyond eight nobody tells all apart, but neighbours differ."""
    colours = list(DISTINCT)
    bright = DISTINCT[1:]
    for index in range(count - len(DISTINCT)):
        darker = 0.8 ** (1 + index // len(bright) % 5)
        red, green, blue = (round(part * darker) for part in bright[index % len(bright)])
        while (red, green, blue) in colours:
            blue = (blue + 37) % 256
        colours.append((red, green, blue))
    return colours[:count]
