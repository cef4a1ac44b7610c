"""The text of a card for your own data: YAML as a person would write it, each value with its share of pixels."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from losslab.bands import CardBands
from losslab.cards import RawValue
from losslab.data.new_dataset.classes import MaskClass, format_share
from losslab.data.new_dataset.values import join_ranges
from losslab.io.yaml import parse_yaml

if TYPE_CHECKING:
    from losslab.data.new_dataset.pairs import FilePairs


def build_card_text(
    name: str,
    title: str,
    pairs: "FilePairs",
    classes: Sequence[MaskClass],
    void: Mapping[RawValue, float],
    group: str | None,
    bands: CardBands | None = None,
    overlapping: bool = False,
) -> str:
    """Return the YAML of a card whose data lie in data/raw/<name>/own; `void` is each value's share of all pixels."""
    lines = [
        f"# Written by `losslab datasets new` from {len(pairs.images)} pairs; the comments give each value's share of the pixels.",
        f"title: {_quote_where_needed(title)}",
        "licence: not stated",
        "citation: none",
        "home: null",
        f"source: {{own: null}} # data/raw/{name}/own, tracked with dvc add",
        f"layout: {'split_folders' if pairs.has_splits else 'folders'}",
    ]
    lines += [f"mask_suffix: {_quote_where_needed(pairs.suffix)}"] if pairs.suffix else []
    lines += _describe_bands(bands) if bands is not None else []
    lines += ["labels: overlapping # each class has a file, or a band, of its own"] if overlapping else []
    lines.append("classes:")
    for each in classes:
        fields = f"name: {_quote_where_needed(each.name)}, color: {list(each.color)}, values: {_format(each.values)}"
        lines.append(f"  - {{{fields}}} # {format_share(each.share)}")
    comment = f" # {format_share(sum(void.values()))}" if void else ""
    lines.append(f"void: {_format(list(void))}{comment}")
    if group is not None:
        lines.append(f"group: {_quote(group)}")
    return "\n".join(lines) + "\n"


def format_scaling(bands: CardBands) -> str:
    """Write how values are scaled, as a card does.

    >>> format_scaling(CardBands(names=["a"], dtype="uint16", scaling={"percentiles": [0.1, 99.9]}))
    '{percentiles: [0.1, 99.9]}'
    """
    if isinstance(bands.scaling, str):
        return bands.scaling
    kinds = bands.scaling.model_dump(mode="json").items()
    return f"{{{', '.join(f'{kind}: {_format_numbers(values)}' for kind, values in kinds)}}}"


def _format_numbers(values: Any) -> str:
    """Write numbers, or pairs of them; a single pair stands for each band.

    >>> _format_numbers([[0.0, 10000.0]]), _format_numbers([0.1, 99.9])
    ('[0, 10000]', '[0.1, 99.9]')
    """
    if not isinstance(values, list):
        return str(int(values)) if float(values).is_integer() else str(values)
    return _format_numbers(values[0]) if len(values) == 1 else f"[{', '.join(map(_format_numbers, values))}]"


def _describe_bands(bands: CardBands) -> list[str]:
    names, shown = (", ".join(map(_quote_where_needed, each)) for each in (bands.names, bands.shown or []))
    fields = [f"names: [{names}]", f"dtype: {bands.dtype}", f"scaling: {format_scaling(bands)}", f"shown: [{shown}]"]
    return ["bands:", *(f"  {field}" for field in fields)]


def _format(values: Sequence[RawValue]) -> str:
    items = [str(list(value)) if isinstance(value, tuple) else str(value) for value in join_ranges(values)]
    return f"[{', '.join(items)}]"


def _quote_where_needed(text: str) -> str:
    """Put text in quotes where YAML, 1.1 or 1.2, would read it as something else, such as no, 1e3 and -."""
    is_plain = all(
        _try_parse(written, parse) == {"key": text}
        for written in (f"key: {text}", f"{{key: {text}}}")
        for parse in (parse_yaml, yaml.safe_load)
    )
    return text if is_plain else _quote(text)


def _quote(text: str) -> str:
    return yaml.safe_dump(text, default_style="'", allow_unicode=True, width=10**6).strip()


def _try_parse(text: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(text)
    except yaml.YAMLError:
        return None
