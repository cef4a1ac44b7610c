"""Pages from the templates of losslab.reporting."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

LOADER = PackageLoader("losslab", "reporting")


def render_template(template: str, **values: Any) -> str:
    """Render a page from a template; everything in `values` but `Markup` is escaped."""
    environment = Environment(
        loader=LOADER, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["verbatim"] = _read_verbatim
    return environment.get_template(template).render(**values)


def _read_verbatim(name: str) -> Markup:
    """Read a file as it is, such as a script whose braces are not a template's."""
    source, _, _ = LOADER.get_source(Environment(loader=LOADER), name)
    return Markup(source)
