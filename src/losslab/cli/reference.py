"""Tables of the reference that are made from the schemas, for `losslab docs` and for the site."""

import ast
import html
import inspect
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from losslab import bands, cards, params
from losslab.project.template import list_carried

MARK = re.compile(r"^<!-- generated: (\w+) -->$.*?^<!-- end -->$", re.MULTILINE | re.DOTALL)
"""A part of a page that is made from the code; what stands there is for readers of the bare Markdown."""
COMMENTED = re.compile(r"^( *)(\w+):(?: ([^#]*?))?(?: +# (.*))?$")
BRACES = re.compile(r"(?<!`)\{(?:[^{}]|\{[^{}]*\})*\}")
"""A mapping in a comment, which Markdown would take for attributes."""


def describe_params() -> str:
    """Return a table, in Markdown, of the keys of params.yaml: shipped value, what is allowed, meaning."""
    defaults = read_commented(list_carried()["params.yaml"])
    meanings = read_field_docs(Path(params.__file__))
    rows = []
    for key, owner, name, schema in list_fields(params.Params):
        value, comment = defaults.get(key, ("", ""))  # what lies in a section that is not there
        meaning = BRACES.sub(r"`\g<0>`", meanings.get((owner, name)) or comment[:1].upper() + comment[1:])
        rows.append((f"`{key}`", f"`{value}`" if key in defaults else "–", format_schema(schema), meaning))
    return format_table(("key", "shipped value", "allowed", "meaning"), rows)


def describe_cards() -> str:
    """Return a table, in Markdown, of the keys of a dataset's card."""
    meanings = read_field_docs(Path(bands.__file__)) | read_field_docs(Path(cards.__file__))
    rows = []
    for key, owner, name, schema in list_fields(cards.Card):
        needed = "yes" if schema.get("required") else "no"
        rows.append((f"`{key}`", needed, format_schema(schema), meanings.get((owner, name), "")))
    return format_table(("key", "needed", "allowed", "meaning"), rows)


TABLES = {"params": describe_params, "cards": describe_cards}


def list_fields(model: type[BaseModel]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Yield the dotted key, the class, the name and the JSON schema of each field, of sections in sections too.

    Where a field may be one of several sections, the fields of each follow.
    """
    whole = model.model_json_schema()
    definitions = whole.get("$defs", {})

    def walk(name: str, schema: dict[str, Any], prefix: str) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
        for key, field in schema.get("properties", {}).items():
            inner = resolve(field)
            if "properties" in inner:
                yield from walk(inner["title"], inner, f"{prefix}{key}.")
                continue
            yield f"{prefix}{key}", name, key, inner | {"required": key in schema.get("required", [])}
            choices = inner.get("anyOf") or inner.get("oneOf") or []
            for each, dot in [(inner.get("items", {}), "[]."), *((choice, ".") for choice in choices)]:
                if "properties" in (section := resolve(each)):
                    yield from walk(section["title"], section, f"{prefix}{key}{dot}")

    def resolve(schema: dict[str, Any]) -> dict[str, Any]:
        return definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema

    yield from walk(model.__name__, whole, "")


def format_schema(schema: dict[str, Any]) -> str:
    """Say in words what values a field may have."""
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return ", or ".join(dict.fromkeys(format_schema(choice) for choice in choices))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type")
    if kind == "array":
        inner = schema.get("prefixItems") or [schema.get("items", {})]
        words = "; ".join(dict.fromkeys(format_schema(item) for item in inner))
        return f"a list of {len(inner)}: {words}" if "prefixItems" in schema else f"a list: {words}"
    kinds = {"integer": "integer", "number": "number", "string": "text", "null": "null", "object": "a mapping"}
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    limits = [f"≥ {low}"] if low is not None else [f"> {above}"] if above is not None else []
    limits += [f"≤ {high}"] if high is not None else [f"< {below}"] if below is not None else []
    if pattern := schema.get("pattern"):
        limits.append(f"matching `{pattern}`")
    return " ".join([kinds.get(kind or "", "a mapping"), " and ".join(limits)]).strip()


def read_commented(path: Path) -> dict[str, tuple[str, str]]:
    """Read the value and the comment of each dotted key of a YAML file that has one key a line."""
    found: dict[str, tuple[str, str]] = {}
    above: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := COMMENTED.match(line):
            indent, key, value, comment = match.groups()
            above = [*above[: len(indent) // 2], key]
            found[".".join(above)] = (value or "", comment or "")
    return found


def read_field_docs(path: Path) -> dict[tuple[str, str], str]:
    """Read the strings below the fields of classes, by class and field."""
    docs = {}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for owner in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for field, text in pairwise(owner.body):
            match (field, text):
                case (ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words)))):
                    docs[owner.name, name] = re.sub(r"\bNone\b", "null", inspect.cleandoc(words))
    return docs


def format_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ("---",) * len(header), *(tuple(map(escape, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def escape(text: str) -> str:
    """Keep what is not code from being taken for Markdown or HTML."""
    parts = " ".join(text.split()).split("`")
    plain = [re.sub(r"([\\*_|\[\]])", r"\\\1", html.escape(part, quote=False)) for part in parts]
    return "`".join(part if index % 2 else plain[index] for index, part in enumerate(parts))
