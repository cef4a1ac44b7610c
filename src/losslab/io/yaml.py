"""Strict YAML files: read as DVC reads them, checked against a schema, all faults reported on one line."""

import re
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from losslab.errors import InputError, quote, shorten
from losslab.io.faults import explain_faults
from losslab.io.files import MAX_DEPTH

Schema = TypeVar("Schema", bound=BaseModel)
MAX_FILE_BYTES = 1 << 20
MAX_ALIASED = 10_000
"""Values that all aliases of a file may stand for together."""
MAX_KEY, MAX_DIGITS = 1000, 100
"""Characters of a key, and of a number."""


class Section(BaseModel):
    """A section of a file in which unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def read_yaml(path: Path) -> Any:
    """Read a YAML file. Raises InputError if it is not YAML or too large, FileNotFoundError if it does not exist."""
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise InputError(f"{path}: more than {MAX_FILE_BYTES} bytes, which is no file for losslab")
    try:
        return parse_yaml(content.decode())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as YAML: {_explain_broken(error)}") from None


def parse_yaml(text: str) -> Any:
    """Parse YAML as DVC does: 1e-3 is a number, which PyYAML takes for a string, and a duplicate key is an error.

    What is nested too deep, grows out of bounds by its aliases, or has endless keys or numbers is a YAMLError too.

    >>> parse_yaml("{lr: 1e-3, arch: unet, answer: no}")
    {'lr': 0.001, 'arch': 'unet', 'answer': 'no'}
    """
    try:
        if _FastLoader is not None and not _NEEDS_BOUNDS.search(text) and len(_BRACKETS.findall(text)) < MAX_DEPTH // 2:
            with suppress(yaml.YAMLError):  # the other loader words what is wrong
                return yaml.load(text, _FastLoader)
        return yaml.load(text, _BoundedLoader)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # from PyYAML's constructors: a date that does not exist, a tag on a value that is none
        reason = f": {error}" if isinstance(error, ValueError) else ""
        raise yaml.YAMLError(f"a value is not what its tag or form says{reason}") from None


def parse_assignment(text: str, example: str) -> tuple[str, Any]:
    """Parse the KEY=VALUE of an option `--set`, whose value is YAML. Raises InputError if it is neither.

    >>> parse_assignment("gamma=3", "gamma=2.5")
    ('gamma', 3)
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"--set {text}: must be key=value, such as {example}")
    try:
        return key, parse_yaml(value)
    except yaml.YAMLError:
        raise InputError(f"--set {text}: {quote(value)} is not YAML") from None


def validate(schema: type[Schema], content: Any, path: Path | str) -> Schema:
    """Check content against a schema. Raises InputError that names the file and each fault: key, value, rule."""
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no keys; it must have {', '.join(schema.model_fields)}")
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {'; '.join(explain_faults(error, schema, content))}") from None


def _explain_broken(error: yaml.YAMLError | UnicodeDecodeError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {shorten(str(error.problem))}"
    return shorten(" ".join(str(error).split()))


class _Yaml12(yaml.constructor.SafeConstructor, yaml.resolver.Resolver):
    """Numbers and booleans of YAML 1.2, and mappings without duplicate keys."""

    @cached_property
    def flat(self) -> set[yaml.Node]:
        """Mappings that are flat already."""
        return set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put the values of `<<` beside the others, whose keys must be plain and not twice there."""
        if node in self.flat:
            return
        self.flat.add(node)
        seen = set()
        for key_node, _ in node.value:
            is_merge = key_node.tag == "tag:yaml.org,2002:merge"
            key = "<<" if is_merge else self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise _build_fault("a key must be a plain value", key_node)
            if len(str(key)) > MAX_KEY:
                raise _build_fault(f"a key of more than {MAX_KEY} characters: {quote(key)}", key_node)
            if key in seen:
                raise _build_fault(f"duplicate key {quote(key)}", key_node)
            seen.add(key)
        super().flatten_mapping(node)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        if len(text) > MAX_DIGITS:
            raise _build_fault(f"a number of {len(text)} digits", node)
        # 017 is seventeen, as in DVC: only YAML 1.1 takes it for octal.
        digits = text.replace("_", "").lower()
        return int(digits, 0 if re.match("[-+]?0[box]", digits) else 10)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        return float(re.sub(r"\.(?=inf|nan)", "", str(self.construct_scalar(node)).replace("_", "").lower()))


def _build_fault(problem: str, place: yaml.Node | yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, place.start_mark)  # type: ignore[arg-type]


_YAML_12 = {
    "bool": (r"(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    "int": (r"[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)$", "-+0123456789"),
    "float": (
        r"(?:[-+]?(\.[0-9][0-9_]*|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$",
        "-+0123456789.",
    ),
}
"""Plain values that are no strings, as DVC reads them: their form, and the characters that they begin with."""
_Yaml12.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in _YAML_12]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, (_form, _first) in _YAML_12.items():
    _Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(_form), list(_first))
_Yaml12.yaml_constructors = {
    **yaml.SafeLoader.yaml_constructors,
    "tag:yaml.org,2002:int": _Yaml12.construct_yaml_int,
    "tag:yaml.org,2002:float": _Yaml12.construct_yaml_float,
}


class _BoundedLoader(_Yaml12, yaml.SafeLoader):
    """PyYAML's own loader, with bounds on what a small file can become."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.open = 0
        """Collections that are begun and not yet ended."""
        self.sizes: dict[yaml.Node, tuple[int, int]] = {}
        """Nodes and levels of each node that is complete, with all that its aliases stand for."""
        self.aliased = 0
        """Nodes that aliases stand for."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        is_alias = self.check_event(yaml.AliasEvent)
        self.open += 1
        if self.open > MAX_DEPTH:
            raise _build_fault(f"nested deeper than {MAX_DEPTH} levels", self.peek_event())  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        self.open -= 1
        if node is None:
            return None
        if not is_alias:
            self.sizes[node] = self._measure(node)
        elif node not in self.sizes:
            raise _build_fault("an alias stands for what it is part of", node)
        size, depth = self.sizes[node]
        self.aliased += size if is_alias else 0
        if depth > MAX_DEPTH:
            raise _build_fault(f"nested deeper than {MAX_DEPTH} levels", node)
        if self.aliased > MAX_ALIASED:
            raise _build_fault(f"its aliases stand for more than {MAX_ALIASED} values", node)
        return node

    def _measure(self, node: yaml.Node) -> tuple[int, int]:
        """Count the nodes and the levels of a node whose parts are measured."""
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        measured = [self.sizes[each] for part in parts for each in (part if isinstance(part, tuple) else (part,))]
        return 1 + sum(size for size, _ in measured), 1 + max((depth for _, depth in measured), default=0)


class _LibyamlLoader(_Yaml12, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The loader of libyaml, several times as fast, where PyYAML has it."""


_FastLoader = _LibyamlLoader if hasattr(yaml, "CSafeLoader") else None
_NEEDS_BOUNDS = re.compile(rf"(?:\A|[\s,\[{{])[&*!]|^[ \t?-]{{{MAX_DEPTH // 2},}}", re.MULTILINE)
"""Anchors, aliases, tags and deep nesting, whose bounds libyaml does not know."""
_BRACKETS = re.compile(r"[\[{]")
