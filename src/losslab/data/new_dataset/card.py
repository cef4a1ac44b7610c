"""The text of a card for data of one's own: YAML as a person would write it, each value with its share of pixels."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from losslab.cards import RawValue
from losslab.data.new_dataset.classes import MaskClass, format_share
from losslab.io.yaml import parse_yaml


def build_card_text(
    name: str,
    title: str,
    pairs: int,
    suffix: str,
    classes: Sequence[MaskClass],
    void: Mapping[RawValue, float],
    group: str | None,
) -> str:
    """The YAML of a card whose data lie in data/raw/<name>/own; `void` is each value's share of all pixels."""
    lines = [
        f"# Written by `losslab datasets new` from {pairs} pairs; the comments tell each value's share of their pixels.",
        f"title: {_scalar(title)}",
        "licence: not stated",
        "citation: none",
        "home: null",
        f"source: {{own: null}} # data/raw/{name}/own, tracked with dvc add",
        "layout: folders",
    ]
    if suffix:
        lines.append(f"mask_suffix: {_scalar(suffix)}")
    lines.append("classes:")
    for each in classes:
        fields = f"name: {_scalar(each.name)}, color: {list(each.color)}, values: [{_value(each.value)}]"
        lines.append(f"  - {{{fields}}} # {format_share(each.share)}")
    told = f" # {format_share(sum(void.values()))}" if void else ""
    lines.append(f"void: [{', '.join(map(_value, void))}]{told}")
    if group is not None:
        lines.append(f"group: {_quoted(group)}")
    return "\n".join(lines) + "\n"


def _value(value: RawValue) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _scalar(text: str) -> str:
    """As it is where YAML reads it so, else in quotes: no, 1e3 and - are something else to it."""
    as_it_is = _read(f"key: {text}") == _read(f"{{key: {text}}}") == {"key": text}
    return text if as_it_is else _quoted(text)


def _quoted(text: str) -> str:
    return yaml.safe_dump(text, default_style="'", allow_unicode=True, width=10**6).strip()


def _read(text: str) -> Any:
    try:
        return parse_yaml(text)
    except yaml.YAMLError:
        return None
