"""Hooks of MkDocs: they write what the code says into the reference, and keep links to files outside docs/ out of the site.

A part takes the place of what stands from a comment such as `<!-- generated: params -->` to `<!-- end -->`: those lines are for
readers of the bare Markdown, and say where else to look.
"""

import inspect
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from losslab.cli.reference import MARK, TABLES, format_table

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)#]+)\)")


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


PARTS = {**TABLES, "cli": describe_commands, "api": describe_api}


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
