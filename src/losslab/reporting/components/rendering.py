"""Pages from the templates of this folder."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

LOADER = PackageLoader("losslab", "reporting")


def render_template(template: str, **values: Any) -> str:
    """A page from a template; everything in `values` is escaped but `Markup`."""
    environment = Environment(
        loader=LOADER,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["verbatim"] = _verbatim
    return environment.get_template(template).render(**values)


def _verbatim(name: str) -> Markup:
    """A file of ours as it stands, such as a script: its braces are no template's."""
    source, _, _ = LOADER.get_source(Environment(loader=LOADER), name)
    return Markup(source)
