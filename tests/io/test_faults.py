"""Faults of a file are told in plain words: no type of Python or pydantic, and one line for a value of several kinds."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import Discriminator, Field, Tag

from losslab.errors import InputError
from losslab.io.yaml import Section, parse_yaml, validate

Plain = str | int | float | bool | None


class Inner(Section):
    low: float = 0.0
    level: Literal["a", "b"] = "a"


class Outer(Section):
    text: Annotated[str, Field(min_length=1)] = "t"
    whole: int = 1
    number: Annotated[float, Field(gt=0)] = 1.0
    switch: bool = True
    nothing: None = None
    numbers: Annotated[list[int], Field(min_length=2, max_length=3)] = Field(default=[1, 2])
    inner: Inner | None = None
    sections: dict[str, Inner] = Field(default={})
    values: dict[str, list[Plain] | dict[str, dict[str, Any]]] = Field(default={})
    marked: dict[
        str,
        Annotated[
            Annotated[list[Plain], Tag("(list)")] | Annotated[Inner, Tag("(inner)")],
            Discriminator(lambda content: "(list)" if isinstance(content, list) else "(inner)"),
        ],
    ] = Field(default={})


FAULTS = [
    ("text: 3", "text is 3; it must be text"),
    ("text: null", "text is null; it must be text"),
    ("text: 2020-01-01", "text is 2020-01-01; it must be text"),
    ("text: ''", "text is empty; it must not be"),
    ("whole: 1.5", "whole is 1.5; it must be a whole number"),
    ("whole: true", "whole is true; it must be a whole number"),
    ("whole: '4'", "whole is '4'; it must be a whole number"),
    ("number: a", "number is 'a'; it must be a number"),
    ("number: .nan", "number is nan; it must be a finite number"),
    ("number: 0", "number is 0; it must be greater than 0"),
    ("switch: 1", "switch is 1; it must be true or false"),
    ("nothing: a", "nothing is 'a'; it must be null"),
    ("numbers: 3", "numbers is 3; it must be a list"),
    ("numbers: []", "numbers is empty; it must have at least 2"),
    ("numbers: [1]", "numbers has 1 entry; it must have at least 2"),
    ("numbers: [1, 2, 3, 4]", "numbers has 4 entries; it must have at most 3"),
    ("numbers: [1, a]", "numbers.1 is 'a'; it must be a whole number"),
    ("inner: 3", "inner is 3; it must have keys with values"),
    ("inner: {level: c}", "inner.level is 'c'; it must be 'a' or 'b'"),
    ("inner: {lwo: 1}", "inner.lwo: unknown key; allowed here: low, level; did you mean low?"),
    ("sections: {a: {step: 1}}", "sections.a.step: unknown key; allowed here: low, level"),
    ("sections: {1: {}}", "sections.1: the key must be text; put it in quotes"),
    ("values: {a: b}", "values.a is 'b'; it must be a list or have keys with values"),
    ("values: {a: {b: 3}}", "values.a.b is 3; it must have keys with values"),
    ("values: {a: [1, {b: null}]}", "values.a.1 is {b: null}; it must be text or a number or true or false"),
    ("marked: {a: {step: 1}}", "marked.a.step: unknown key; allowed here: low, level"),
    ("marked: {a.b: [[1]]}", "marked.a.b.0 is [1]; it must be text or a number or true or false"),
    ("{text: 3, whole: a}", "text is 3; it must be text; whole is 'a'; it must be a whole number"),
]


@pytest.mark.parametrize(("text", "message"), FAULTS, ids=[text for text, _ in FAULTS])
def test_fault_is_told_in_plain_words(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        validate(Outer, parse_yaml(text), "f.yaml")
    assert str(caught.value) == f"f.yaml: {message}"


def test_many_faults_and_long_values_are_counted_and_cut() -> None:
    with pytest.raises(InputError) as caught:
        validate(Outer, {f"key {number}": {} for number in range(20_000)}, "f.yaml")
    assert str(caught.value).count("unknown key") == 10 and str(caught.value).endswith("; 19990 more")
    with pytest.raises(InputError, match=r"text is \[0, 1, 2, .*…; it must be text") as caught:
        validate(Outer, {"text": list(range(100_000))}, "f.yaml")
    assert len(str(caught.value)) < 300
