"""YAML from anywhere: read as DVC reads it, bounded in what it becomes, and quoted in short."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from dvc.utils.serialize import loads_yaml

import losslab.io.yaml
from losslab import params
from losslab.cards import read_card
from losslab.errors import InputError
from losslab.io.yaml import MAX_FILE_BYTES, parse_yaml, read_yaml
from losslab.study.spec import read_spec
from tests.conftest import ROOT, TINY_CARD, TINY_CHANGES, write_params

Reader = Callable[[str], object]


PLAIN = """yes no on off true False null ~ 017 0o17 0x1F 0b101 1_000 08 -017 1:30 12:30:45 1e3 1E+3 1.5e-3 .5 5. +1 -.inf
.5e-3 1_000.5 1__0 2001-01-01 'a' << nan inf e5 ="""


@pytest.mark.parametrize("value", [*PLAIN.split(), "", "!!str 5", "!!int '5'", "!!float 1", "!!binary aGFsbG8="])
def test_value_is_read_as_dvc_reads_it(value: str) -> None:
    text = f"key: {value}"
    ours, theirs = _try(parse_yaml, text), _try(loads_yaml, text)
    assert (type(ours), ours) == (type(theirs), theirs)
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize(
    "text",
    [
        "b: &b {x: 1, y: 2}\nc: {<<: *b, x: 5}",
        "b: &b {x: 1, y: 2}\nc: {x: 5, <<: *b}",
        "b: &b {x: 1}\nc: &c {x: 2, z: 3}\nd: {<<: [*b, *c]}",
        "b: &b {x: 1}\nc: &c {<<: *b, y: 2}\nd: {<<: *c, x: 9}",
        "b: &b {x: 1}\na: {inner: &c {<<: *b, x: 5}}\nd: {<<: *c}",
        "b: &b {x: {p: 1}}\nc: {<<: *b, x: {q: 2}}",
        "d: {<<: {a: 1}, a: 2}",
        "d: {<<: []}",
        "d: {'<<': 5}",
        "d: {<<: 5}",
        "d: {<<: [1]}",
        "b: &b {x: 1}\nd: {<<: *b, <<: *b}",
        "b: &b {x: 1, x: 2}\nd: {<<: *b}",
        "{1: a, '1': b}",
        "{1: a, true: b}",
    ],
)
def test_merge_gives_what_dvc_makes_of_it(text: str) -> None:
    assert _try(parse_yaml, text) == _try(loads_yaml, text)


def _try(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except Exception:  # of two libraries, each with its own
        return "an error"


BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{f'*a{n - 1}, ' * 9}]}}\n" for n in range(1, 12))
HOSTILE = [
    (BOMB, "its aliases stand for more than 10000 values"),
    (MERGES, "its aliases stand for more than 10000 values"),
    ("a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 99)), "nested deeper than 50 levels"),
    ("a: &a [*a]", "line 1: an alias stands for what it is part of"),
    ("a: &a {<<: *a}", "an alias stands for what it is part of"),
    ("a: " + "[" * 3000 + "]" * 3000, "line 1: nested deeper than 50 levels"),
    ("[" * 10_000, "nested deeper than 50 levels"),
    ("{a: " * 3000, "nested deeper than 50 levels"),
    ("- " * 3000 + "1", "nested deeper than 50 levels"),
    ("seed: " + "9" * 5000, "line 1: a number of 5000 digits"),
    ("seed: 0x" + "f" * 5000, "a number of 5002 digits"),
    ("seed: 2001-99-99", "a value is not what its tag or form says: month must be in 1..12"),
    ("seed: !!bool maybe", "a value is not what its tag or form says"),
    ("seed: !!timestamp no", "a value is not what its tag or form says"),
    ("seed: !!python/object/apply:os.system [ls]", "could not determine a constructor for the tag"),
    ("seed: !" + "y" * 5000 + " 1", "could not determine a constructor for the tag '!yyy"),
    ("? '" + "k" * 5000 + "'\n: 1", "a key of more than 1000 characters: 'kkk"),
    ("seed: \0", "unacceptable character"),
    ("#" * (MAX_FILE_BYTES + 1), f"more than {MAX_FILE_BYTES} bytes"),
]


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    """Return what reads each kind of file, from the text that it shall hold."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "studies").mkdir()
    path = write_params(folder, TINY_CHANGES)

    def read(file: Path, text: str, reader: Callable[[], object]) -> object:
        file.write_text(text, encoding="utf-8")
        return reader()

    return {
        "params.yaml": lambda text: read(path, text, lambda: params.load(path)),
        "card.yaml": lambda text: read(folder / "card.yaml", text, lambda: read_card("card", folder)),
        "study.yaml": lambda text: read(
            folder / "studies/study.yaml", text, lambda: read_spec("study", folder / "studies")
        ),
    }


@pytest.mark.parametrize(("text", "complaint"), HOSTILE)
def test_file_that_would_grow_out_of_bounds_is_refused(text: str, complaint: str, readers: dict[str, Reader]) -> None:
    for name, read in readers.items():
        with pytest.raises(InputError) as refused:
            read(text)
        line = str(refused.value)
        assert f"{name}: " in line and complaint in line and "\n" not in line and len(line) < 500, line


CONTENTS = {
    "params.yaml": yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")),
    "card.yaml": TINY_CARD | {"void": [3], "group": "^([a-z]+)"},
    "study.yaml": yaml.safe_load((ROOT / "studies/camvid_weights.yaml").read_text(encoding="utf-8")),
}


@pytest.mark.parametrize("value", ["long " * 1000, {"long" * 40: ["long" * 100] * 10}])
@pytest.mark.parametrize("name", CONTENTS)
def test_value_is_quoted_in_short_wherever_it_stands(name: str, value: Any, readers: dict[str, Reader]) -> None:
    refused = 0
    for place in _list_places(CONTENTS[name], ()):
        try:
            readers[name](json.dumps(_replace(CONTENTS[name], place, value)))
        except InputError as error:
            refused += 1
            assert str(error).count("long") < 700, (place, str(error))
    assert refused > 10


def _list_places(content: Any, above: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*above, key)
        yield from _list_places(value, (*above, key))


def _replace(content: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    items = content.items() if isinstance(content, dict) else enumerate(content)
    changed = {key: _replace(item, place[1:], value) if key == place[0] else item for key, item in items}
    return changed if isinstance(content, dict) else list(changed.values())


def test_faults_are_listed_up_to_ten(readers: dict[str, Reader]) -> None:
    with pytest.raises(InputError, match=r"key5: unknown key; .*; 95[0-9] more$"):
        readers["study.yaml"](json.dumps({f"key{number}": 1 for number in range(960)}))


def test_endless_file_is_not_read_to_its_end() -> None:
    with pytest.raises(InputError, match="/dev/zero: more than"):
        read_yaml(Path("/dev/zero"))


def test_both_loaders_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.yaml"), *ROOT.glob("data/catalog/*.yaml")]]
    texts += [
        "a: 1e-3\nb: [no, 017, 0o17, .5, 1_000, .inf]\nc: 2026-01-01\n",
        "'é': \"\\u00e9\"\n",
        "? a\n: b\n",
        "",
        "# c\n",
        "a:\n",
    ]
    fast = [parse_yaml(text) for text in texts]
    monkeypatch.setattr(losslab.io.yaml, "_FastLoader", None)
    assert [parse_yaml(text) for text in texts] == fast


@pytest.mark.parametrize("text", ["*a", "- *a", "{x: &a 1}", "x: !!int 3", f"{'[' * 30}{']' * 30}", f"{'- ' * 30}1"])
def test_text_that_may_grow_out_of_bounds_is_read_by_the_loader_that_counts(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(text: str) -> NoReturn:
        pytest.fail("libyaml does not know the bounds")

    monkeypatch.setattr(losslab.io.yaml, "_FastLoader", refuse)
    _try(parse_yaml, text)
