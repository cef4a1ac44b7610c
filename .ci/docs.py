"""Hooks of MkDocs: they write what the code says into the reference, and keep links to files outside docs/ out of the site.

A part takes the place of what stands from a comment such as `<!-- generated: params -->` to `<!-- end -->`: those lines are for
readers of the bare Markdown, and say where else to look.
"""

import ast
import html
import inspect
import posixpath
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel

ROOT = Path(__file__).parents[1]
MARK = re.compile(r"^<!-- generated: (\w+) -->$.*?^<!-- end -->$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)#]+)\)")
BRACES = re.compile(r"(?<!`)\{(?:[^{}]|\{[^{}]*\})*\}")
"""A mapping in a comment, which Markdown would take for attributes."""
COMMENTED = re.compile(r"^( *)(\w+):(?: ([^#]*?))?(?: +# (.*))?$")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in the generated parts, and turn links that leave docs/ into names of files."""
    folder = posixpath.dirname(page.file.src_uri)

    def keep_inside(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, match[2]))
        return match[0] if path.startswith("docs/") else f"{match[1]} (`{path}` in losslab's repository)"

    return MARK.sub(lambda match: PARTS[match[1]](), LINK.sub(keep_inside, markdown))


def on_post_build(config: Any, **_: Any) -> None:
    """Drop the map for search engines: it holds today's date, and two builds are to be equal."""
    for name in ("sitemap.xml", "sitemap.xml.gz"):
        Path(config["site_dir"], name).unlink(missing_ok=True)


def describe_params() -> str:
    from losslab.params import Params

    defaults = read_commented(ROOT / "params.yaml")
    meanings = read_field_docs(ROOT / "src/losslab/params.py")
    rows = []
    for key, owner, name, schema in list_fields(Params):
        value, comment = defaults[key]
        meaning = BRACES.sub(r"`\g<0>`", meanings.get((owner, name)) or comment[:1].upper() + comment[1:])
        rows.append((f"`{key}`", f"`{value}`", format_schema(schema), meaning))
    return format_table(("key", "shipped value", "allowed", "meaning"), rows)


def describe_cards() -> str:
    from losslab import cards

    meanings = read_field_docs(ROOT / "src/losslab/cards.py")
    models = [("", cards.Card), ("source.", cards.GeneratorSource), ("source.", cards.ArchiveSource)]
    models += [("source.", cards.FolderSource), ("source.", cards.OwnSource)]
    rows = []
    for prefix, model in models:
        for key, owner, name, schema in list_fields(model, prefix):
            needed = "yes" if schema.get("required") else "no"
            rows.append((f"`{key}`", needed, format_schema(schema), meanings.get((owner, name), "")))
    return format_table(("key", "needed", "allowed", "meaning"), rows)


def describe_commands() -> str:
    from typer.main import get_command

    from losslab.cli import app

    return "\n\n".join(describe_command("losslab", get_command(app)))


def describe_api() -> str:
    import losslab.plugins

    names = sorted(losslab.__all__, key=lambda name: (name[0].isupper(), name))
    parts = [("losslab", names), ("losslab.plugins", losslab.plugins.__all__)]
    lines = [line for module, each in parts for line in (f"## {module}", *(f"::: {module}.{name}" for name in each))]
    return "\n\n".join(lines)


PARTS = {"params": describe_params, "cards": describe_cards, "cli": describe_commands, "api": describe_api}


def list_fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Yield the dotted key, the class, the name and the JSON schema of each field, of sections in sections too."""
    whole = model.model_json_schema()
    definitions = whole.get("$defs", {})

    def walk(name: str, schema: dict[str, Any], prefix: str) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
        for key, field in schema.get("properties", {}).items():
            inner = resolve(field)
            listed = resolve(inner.get("items", {}))
            if "properties" in inner:
                yield from walk(inner["title"], inner, f"{prefix}{key}.")
                continue
            yield f"{prefix}{key}", name, key, inner | {"required": key in schema.get("required", [])}
            if "properties" in listed:
                yield from walk(listed["title"], listed, f"{prefix}{key}[].")

    def resolve(schema: dict[str, Any]) -> dict[str, Any]:
        return definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema

    yield from walk(model.__name__, whole, prefix)


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
    found, above = {}, []
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := COMMENTED.match(line):
            indent, key, value, comment = match.groups()
            above = [*above[: len(indent) // 2], key]
            found[".".join(above)] = (value or "", comment or "")
    return found


def read_field_docs(path: Path) -> dict[tuple[str, str], str]:
    """Read the strings below the fields of classes, by class and field."""
    docs = {}
    for owner in ast.parse(path.read_text(encoding="utf-8")).body:
        body = owner.body if isinstance(owner, ast.ClassDef) else []
        for field, text in pairwise(body):
            match (field, text):
                case (ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words)))):
                    docs[owner.name, name] = re.sub(r"\bNone\b", "null", inspect.cleandoc(words))
    return docs


def describe_command(name: str, command: Any) -> Iterator[str]:
    """Yield the parts of what `--help` says of a command, and of those below it."""
    if name != "losslab":
        yield f"## `{name}`"
    yield re.sub(r"\s*\n(?!\n)", "\n", inspect.cleandoc(command.help or ""))
    context = command.context_class(command, info_name=name)
    records = [param.get_help_record(context) for param in command.params if "completion" not in param.name]
    rows = [(f"`{label}`", meaning) for label, meaning in filter(None, records)]
    if rows:
        yield format_table(("argument or option", "meaning"), rows)
    for inner in getattr(command, "commands", {}).values():
        yield from describe_command(f"{name} {inner.name}", inner)


def format_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *(tuple(map(escape, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def escape(text: str) -> str:
    """Keep what is not code from being taken for Markdown or HTML."""
    parts = " ".join(text.split()).split("`")
    plain = [re.sub(r"([\\*_|\[\]])", r"\\\1", html.escape(part, quote=False)) for part in parts]
    return "`".join(part if index % 2 else plain[index] for index, part in enumerate(parts))
