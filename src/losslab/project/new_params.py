"""Keys that a new losslab has in params.yaml, put into one that its user has changed."""

import re
from typing import Any

import yaml

from losslab.io.files import flatten
from losslab.io.yaml import parse_yaml

KEY = re.compile(r"( *)([\w]+):")


def add_missing_keys(text: str, ours: str) -> str:
    r"""Insert the lines of the keys that a params.yaml lacks, with our values and comments; the rest stays as it is.

    The text comes back unchanged where that cannot be done by lines, as in `evaluate: {batch_size: 16}`.

    >>> add_missing_keys("seed: 3 # mine\n", "seed: 0\nloss: dice # a name\n")
    'seed: 3 # mine\nloss: dice # a name\n'
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    body, theirs = text.removesuffix(newline), ours.split("\n")
    lines = body.split(newline)
    places = _find_keys(theirs)
    for path, place in places.items():
        known = _find_keys(lines)
        if path in known:
            continue
        before = [other for other in places if other[:-1] == path[:-1] and places[other] < place and other in known]
        anchor = known.get(before[-1] if before else path[:-1], -1)
        lines.insert(_find_end(lines, anchor) if before else anchor + 1, theirs[place])
    merged = newline.join(lines) + text[len(body) :]
    try:
        old, new = flatten(parse_yaml(text)), flatten(parse_yaml(merged))
    except yaml.YAMLError:
        return text
    return merged if _fill(old, flatten(parse_yaml(ours))) == new else text


def _find_keys(lines: list[str]) -> dict[tuple[str, ...], int]:
    """Return the line of each key that begins one, by the path to it."""
    found: dict[tuple[str, ...], int] = {}
    above: list[tuple[int, str]] = []
    for place, line in enumerate(lines):
        if match := KEY.match(line):
            depth = len(match[1])
            above = [(other, key) for other, key in above if other < depth] + [(depth, match[2])]
            found[tuple(key for _, key in above)] = place
    return found


def _find_end(lines: list[str], start: int) -> int:
    """Return the line after a key's own, and after those within it."""
    depth, end = len(lines[start]) - len(lines[start].lstrip()), start + 1
    for place in range(start + 1, len(lines)):
        line = lines[place]
        if line.strip() and not line.lstrip().startswith("#"):
            if len(line) - len(line.lstrip()) <= depth and not line.lstrip().startswith("- "):
                break
            end = place + 1
    return end


def _fill(values: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """Return the leaves of params with those of ours whose key, or what lies below it, they do not set."""
    return values | {
        key: value
        for key, value in ours.items()
        if not any(key == other or key.startswith(f"{other}.") or other.startswith(f"{key}.") for other in values)
    }
