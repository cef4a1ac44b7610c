"""Strict YAML files: read as DVC reads them, checked against a schema, all faults reported on one line."""

import re
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Tag, ValidationError

from losslab.errors import InputError, quote

Schema = TypeVar("Schema", bound=BaseModel)


class Section(BaseModel):
    """A section of a file in which unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def read_yaml(path: Path) -> Any:
    """Read a YAML file. Raises InputError if it is not YAML, FileNotFoundError if it does not exist."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as YAML: {error}") from None


def parse_yaml(text: str) -> Any:
    """Parse YAML as DVC does: 1e-3 is a number, which PyYAML takes for a string, and a duplicate key is an error.

    >>> parse_yaml("{lr: 1e-3, arch: unet}")
    {'lr': 0.001, 'arch': 'unet'}
    """
    return yaml.load(text, _Yaml12Loader)


def validate(schema: type[Schema], content: Any, path: Path | str) -> Schema:
    """Check content against a schema. Raises InputError that names the file and each fault: key, value, rule."""
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no keys; it must have {', '.join(schema.model_fields)}")
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {'; '.join(_explain(fault, schema) for fault in error.errors())}") from None


def _explain(fault: Any, schema: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    message = re.sub("^(Value error, |[A-Z][a-z]+ should )", "", fault["msg"])
    if fault["type"] == "extra_forbidden":
        allowed = _list_keys(schema, fault["loc"][:-1])
        return f"{key}: unknown key" + (f"; allowed here: {', '.join(allowed)}" if allowed else "")
    if fault["type"] == "missing":
        return f"{key}: missing"
    if fault["type"] in ("value_error", "wrong_source"):
        return f"{key}: {message}" if key else message
    return f"{key} is {quote(fault['input'])}; it must {message}"


def _list_keys(annotation: Any, location: tuple[int | str, ...]) -> list[str]:
    """List the keys of the section at a location, reached through fields, lists and alternatives marked with a Tag."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not location:
            return list(annotation.model_fields)
        field = annotation.model_fields.get(str(location[0]))
        return _list_keys(field.annotation, location[1:]) if field else []
    tags = [mark.tag for mark in getattr(annotation, "__metadata__", ()) if isinstance(mark, Tag)]
    if tags:
        return _list_keys(annotation.__origin__, location[1:]) if location[:1] == (tags[0],) else []
    rest = location[1:] if location and isinstance(location[0], int) else location
    return next((keys for option in get_args(annotation) if (keys := _list_keys(option, rest))), [])


class _Yaml12Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a plain value", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Yaml12Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"(?:[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"),
    list("-+0123456789."),
)
