"""The schema of params.yaml: strict, so that a typo is told before any work is done.

Every key must be there and none has a default here: DVC sees what it may compare, and this file can change without
changing any result.
"""

import re
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from losslab.errors import InputError
from losslab.losses.expression import parse
from losslab.losses.registry import check_options
from losslab.models.registry import find

CATALOG = Path("data/catalog")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Download(Section):
    source: str | None
    """A folder in the dataset's layout, or one holding its archives; None: the network, or the generator."""


class Split(Section):
    method: Literal["official", "random"]
    val: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError(
                f"val {self.val} and test {self.test} leave nothing to train on; their sum must be below 1"
            )
        return self


class Prepare(Section):
    size: int = Field(gt=0, le=4096)
    split: Split


class Train(Section):
    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    lr: float = Field(gt=0)
    augmentation: Literal["none", "flip"]
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
    device: Literal["auto", "cpu", "cuda"]
    workers: int = Field(ge=0)


class Evaluate(Section):
    batch_size: int = Field(gt=0)
    predictions: int = Field(ge=0)


class Report(Section):
    examples: int = Field(ge=0)


class Params(Section):
    """One run: what params.yaml says, checked."""

    dataset: str
    seed: int = Field(ge=0, lt=2**32)
    loss: str
    loss_options: dict[str, Any]
    arch: str
    encoder: str | None
    encoder_weights: str | None
    download: Download
    prepare: Prepare
    train: Train
    evaluate: Evaluate
    report: Report


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check params.yaml; the catalog of datasets lies beside it.

    Raises:
        InputError: one line that names every key at fault, its value, and what is allowed.
    """
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Yaml12Loader)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run from the root of the repository") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as YAML: {error}") from None
    try:
        params = Params.model_validate(content)
        _check_across(params, path.parent / CATALOG)
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error, Params)}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return params


def explain(error: ValidationError, schema: type[BaseModel]) -> str:
    """All faults that pydantic found, in one line: key, value, what is allowed."""
    lines = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if fault["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key; allowed here: {', '.join(_keys(schema, fault['loc'][:-1]))}")
        elif fault["type"] == "missing":
            lines.append(f"{key}: missing")
        elif fault["type"] == "value_error":
            lines.append(f"{key}: {message}" if key else message)
        else:
            lines.append(f"{key} is {fault['input']!r}; it must be {message}")
    return "; ".join(lines)


def _check_across(params: Params, catalog: Path) -> None:
    """What one field alone cannot tell: names out of registries and the catalog, and values that must fit each other."""
    datasets = sorted(card.stem for card in catalog.glob("*.yaml"))
    if params.dataset not in datasets:
        raise InputError(f"dataset: {params.dataset!r} is not one of {', '.join(datasets)} (the cards in {CATALOG})")
    check_options([term.name for term in parse(params.loss)], params.loss_options)
    arch = find(params.arch)
    if arch.takes_encoder and params.encoder is None:
        raise InputError(f"encoder is null; arch {arch.name} needs one, such as resnet18")
    if not arch.takes_encoder and params.encoder is not None:
        raise InputError(f"encoder is {params.encoder!r}; arch {arch.name} takes none: null")
    if params.encoder is None and params.encoder_weights is not None:
        raise InputError(f"encoder_weights is {params.encoder_weights!r}; without an encoder it must be null")
    size, stride = params.prepare.size, arch.stride
    if size % stride:
        near = [value for value in (size // stride * stride, (size // stride + 1) * stride) if value]
        raise InputError(
            f"prepare.size is {size}; arch {arch.name} needs a multiple of {stride}, such as {' or '.join(map(str, near))}"
        )
    if params.train.batch_size == 1 and size == stride:
        raise InputError(
            f"train.batch_size is 1 at prepare.size {size}: batch norm needs more than one value; make one of them larger"
        )


def _keys(schema: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        annotation = schema.model_fields[str(part)].annotation
        assert isinstance(annotation, type) and issubclass(
            annotation, BaseModel
        )  # only a section can hold unknown keys
        schema = annotation
    return list(schema.model_fields)


class _Yaml12Loader(yaml.SafeLoader):
    """YAML as DVC reads it: 1e-3 is a number (to PyYAML, a string), and no key may stand twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
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
