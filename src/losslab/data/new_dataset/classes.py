"""The classes that the masks of your own data hold: names, raw values and colours, and which values are void."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from losslab.cards import CLASS_LIMIT, MAX_CLASSES, NONZERO, RawValue
from losslab.errors import InputError
from losslab.formats import format_cell_percent, format_list

if TYPE_CHECKING:
    from losslab.data.new_dataset.class_names import ClassNames
    from losslab.data.new_dataset.masks import MaskContent
    from losslab.data.new_dataset.scan import ScanResult

CUSTOMARY_VOID = 255
"""The value that annotators customarily give to what they leave out, if there are two other values or more."""
MAX_SHARE_AFAR = 0.05
"""Share of pixels of 1 to 254 that may lie far from 255 where they only smooth its edges."""
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
    value: RawValue
    share: float
    """Share of all pixels of all masks, 0 to 1."""


def choose_classes(
    scan: "ScanResult",
    names: Sequence[str] | None,
    void: Sequence[RawValue] | None,
    foreground: bool = False,
    listed_names: "ClassNames | None" = None,
) -> tuple[list[MaskClass], dict[RawValue, float], bool]:
    """Return the classes by value, void values with their share, and whether these are void by custom only.

    With `foreground`, each value that is neither 0 (or black) nor void is of one class. `listed_names` are those of a file
    beside the masks. Raises InputError if names or void do not fit the masks, if the masks hold fewer than two classes, or
    if what they hold may mean different things.
    """
    if len(scan.pixels) == 1:
        raise InputError(f"all masks hold only {format_raw_value(next(iter(scan.pixels)))}; two classes are needed")
    has_custom_void = CUSTOMARY_VOID in scan.pixels and len(scan.pixels) > 2
    by_custom = void is None and has_custom_void and not foreground
    void_values = _check_void(void, scan) if void is not None else [CUSTOMARY_VOID] * by_custom
    total = sum(scan.pixels.values())
    shares = {value: count / total for value, count in scan.pixels.items() if value not in void_values}
    if foreground:
        shares = _join_foreground(shares)
    elif scan.has_instances and (names is None or len(names) != len(shares)):
        raise InputError(
            f"{_get_folder(scan)}: {len(scan.pixels)} values, most of them in one piece, as if each object had a value of its "
            "own: give --foreground nonzero to make all objects one class, or a name for each value with --classes"
        )
    elif by_custom:
        _check_customary_void(scan)
    shown = [f"{format_raw_value(value)} ({format_share(share)})" for value, share in shares.items()]
    listed = ", ".join(shown[:MAX_VALUES_SHOWN]) + (", …" if len(shown) > MAX_VALUES_SHOWN else "")
    besides = " besides void" if void_values else ""
    if len(shares) < 2:
        raise InputError(f"--void: the masks hold only {listed or 'nothing'} besides void; two classes are needed")
    if names is not None and len(names) != len(shares):
        raise InputError(
            f"--classes gives {len(names)} names ({', '.join(names)}), but the masks hold {len(shares)} values{besides} "
            f"(share of pixels): {listed}"
        )
    if len(shares) > MAX_CLASSES:
        raise InputError(f"the masks hold {len(shares)} values{besides}; {CLASS_LIMIT}")
    if names is None and listed_names is not None:
        names = listed_names.pick(list(shares))
    named = zip(names or _name_values(list(shares)), _pick_colours(len(shares)), shares.items(), strict=True)
    classes = [
        MaskClass(name, value if isinstance(value, tuple) else colour, value, share)
        for name, colour, (value, share) in named
    ]
    return classes, {value: scan.pixels.get(value, 0) / total for value in void_values}, by_custom


def _join_foreground(shares: dict[RawValue, float]) -> dict[RawValue, float]:
    background = next((value for value in shares if value in (0, (0, 0, 0))), None)
    if background is None:
        raise InputError("--foreground nonzero: no mask holds 0, or black, which would be the background")
    rest = sum(share for value, share in shares.items() if value != background)
    joined: dict[RawValue, float] = {background: shares[background]}
    return joined | ({NONZERO: rest} if len(shares) > 1 else {})


def _check_customary_void(scan: "ScanResult") -> None:
    """Raise InputError if 255 may well be an object, not void: judged mask by mask, or by all values together."""
    full = [mask for mask in scan.masks if CUSTOMARY_VOID in mask.pixels]
    shades = sum(count for mask in full for value, count in mask.pixels.items() if value in range(1, CUSTOMARY_VOID))
    afar = sum(mask.shades_afar for mask in full)
    numbers = sorted(value for value in scan.pixels if isinstance(value, int))
    steps = [high - low for low, high in pairwise(numbers)]
    if not any(mask.pixels.keys() - {0, CUSTOMARY_VOID} for mask in full):
        other = next(mask for mask in scan.masks if mask.pixels.keys() - {0, CUSTOMARY_VOID})
        examples = f"{full[0].path.name} holds {_format_values(full[0])}, {other.path.name} {_format_values(other)}"
        doubt = f"255 is void where it stands beside other classes, but no mask has both ({examples})"
    elif 0 < shades < scan.pixels[CUSTOMARY_VOID] and afar <= MAX_SHARE_AFAR * shades:
        doubt = "values from 1 to 254 lie only along the edges of 255, as if 255 were the object and its edges smooth"
    elif max(steps) - min(steps) <= 1 < min(steps):
        doubt = f"the values {', '.join(map(str, numbers))} are spread evenly, so 255 may be a class"
    else:
        return
    raise InputError(
        f"{_get_folder(scan)}: {doubt}; say what is meant: --foreground nonzero (255 and all others but 0 are one class), "
        "--void 255, or --void none"
    )


def _format_values(mask: "MaskContent") -> str:
    return format_list([format_raw_value(value) for value in mask.pixels])


def _get_folder(scan: "ScanResult") -> Path:
    return scan.masks[0].path.parent


def format_raw_value(value: RawValue) -> str:
    return "#{:02x}{:02x}{:02x}".format(*value) if isinstance(value, tuple) else str(value)


def format_share(share: float) -> str:
    return f"{format_cell_percent(share)} %"


def _check_void(void: Sequence[RawValue], scan: "ScanResult") -> list[RawValue]:
    for value in void:
        if isinstance(value, tuple) != scan.in_colours:
            kind = "colours, such as #e0e0c0" if scan.in_colours else "numbers"
            raise InputError(f"--void: {format_raw_value(value)} does not fit the masks, which hold {kind}")
        if list(void).count(value) > 1:
            raise InputError(f"--void names {format_raw_value(value)} twice")
    return list(void)


def _name_values(values: Sequence[RawValue]) -> list[str]:
    is_binary = values in ([0, 1], [0, 255]) or NONZERO in values or (len(values) == 2 and values[0] == (0, 0, 0))
    return ["background", "foreground"] if is_binary else [f"class_{index}" for index in range(len(values))]


def _pick_colours(count: int) -> list[tuple[int, int, int]]:
    """Return different colours; beyond eight nobody can tell all of them apart, but neighbours differ."""
    colours, bright = list(DISTINCT_COLOURS), DISTINCT_COLOURS[1:]
    for index in range(count - len(DISTINCT_COLOURS)):
        darker = 0.8 ** (1 + index // len(bright) % 5)
        red, green, blue = (round(part * darker) for part in bright[index % len(bright)])
        while (red, green, blue) in colours:
            blue = (blue + 37) % 256
        colours.append((red, green, blue))
    return colours[:count]
