"""Studies' files: what is wrong is told in one line that names the file and the key."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from losslab.errors import InputError
from losslab.study.spec import build_axes, format_label, list_studies, make_slug, read_spec
from tests.conftest import ROOT, merge
from tests.study.repository import STUDY

PUBLISHED = {"source": "s", "how": "h", "metric": "m"}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"titel": "x"}, "titel: unknown key; allowed here: title"),
    ({"seeds": []}, "seeds is []; it must"),
    ({"seeds": [0, 0]}, "seeds is [0, 0]; each must stand once"),
    ({"seeds": ["a"]}, "seeds.0 is 'a'"),
    ({"grid": None}, "grid is None"),
    ({"grid": {"lr": [1.0]}}, "grid.lr: lr is no key of params.yaml; params.yaml has dataset, seed"),
    ({"grid": {"train.lrr": [1.0]}}, "grid.train.lrr: train.lrr is no key of params.yaml; train has epochs"),
    ({"grid": {"loss.gamma": [1.0]}}, "grid.loss.gamma: loss.gamma: loss has no keys of its own"),
    ({"grid": {"loss": []}}, "grid.loss: is empty"),
    ({"grid": {"loss": ["dice", "dice"]}}, "grid.loss is ['dice', 'dice']; each must stand once"),
    ({"grid": {"loss": ["bce+dice", "bce*dice_", "bce_dice"]}}, "too alike for names of experiments"),
    ({"grid": {"loss": ["+"]}}, "grid.loss: the label '+' has no letter or digit"),
    ({"grid": {"net": {"a": {"archh": "unet"}}}}, "grid.net.a: archh is no key of params.yaml"),
    ({"grid": {"seed": [1, 2]}}, "seed stands in seeds and in grid.seed"),
    ({"params": {"train": {"epoch": 3}}}, "params: train.epoch is no key of params.yaml"),
    ({"params": {"train": 3}}, "params: train is 3; it must be keys with values"),
    ({"params": {"loss": "dice"}}, "loss stands in params and in grid.loss"),
    ({"params": {"train": {"lr": 1.0}, "train.lr": 2.0}}, "params: train.lr and train.lr say the same key twice"),
    ({"tune": {"train.lr": [1.0], "train.momentum": [0.1]}}, "tune: has 2 keys; it must have one"),
    ({"tune": {"loss": ["focal"]}}, "loss stands in grid.loss and in tune.loss"),
    ({"skip": [{"los": "dice"}]}, "skip.0.los: no axis of the grid, which has loss, net"),
    ({"skip": [{"loss": "focal"}]}, "skip.0.loss is 'focal'; it must be one of cross_entropy, dice"),
    ({"published": {**PUBLISHED, "rows": []}}, "published.rows is []"),
    (
        {"published": {**PUBLISHED, "rows": [{"cell": {"net": "x"}, "values": {"iou": 0.5}}]}},
        "published.rows.0.cell.net is 'x'; it must be one of unet, segnet",
    ),
]


@pytest.mark.parametrize(("change", "complaint"), BAD, ids=[complaint[:40] for _, complaint in BAD])
def test_fault_is_told_in_one_line_with_file_and_key(change: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    content = merge(STUDY, change) if "grid" not in change else {**STUDY, **change}
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(InputError) as told:
        read_spec("bad", tmp_path)
    assert str(told.value).startswith(f"{tmp_path}/bad.yaml: ") and complaint in str(told.value)
    assert "\n" not in str(told.value)


def test_unknown_study_lists_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("")
    with pytest.raises(InputError, match=r"'two' is no study; .* has one$"):
        read_spec("two", tmp_path)
    with pytest.raises(InputError, match=r"one.yaml: holds no keys; it must have title"):
        read_spec("one", tmp_path)


def test_name_with_a_hyphen_is_refused_because_it_ends_the_studys_in_an_experiments(tmp_path: Path) -> None:
    (tmp_path / "a-b.yaml").write_text(yaml.safe_dump(STUDY))
    with pytest.raises(InputError, match=r"letters, digits, _ and \. alone"):
        read_spec("a-b", tmp_path)


def test_axis_is_a_key_with_values_or_labels_of_several_params(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(STUDY))
    axes = build_axes(read_spec("s", tmp_path))
    assert axes["loss"]["dice"] == {("loss",): "dice"}
    assert axes["net"]["segnet"] == {("arch",): "segnet", ("encoder",): None}


def test_labels_are_written_as_in_yaml() -> None:
    assert [format_label(value) for value in (None, True, 1, 0.0003, 1.0, "a+b")] == [
        "null",
        "true",
        "1",
        "0.0003",
        "1",
        "a+b",
    ]


@pytest.mark.parametrize(
    ("text", "part"),
    [("0.5*bce+0.5*dice", "0.5bce_0.5dice"), ("1:0*dice", "1_0dice"), ("a..b~^: /é.", "a.b"), ("null", "null")],
)
def test_slug_is_a_valid_part_of_a_ref(text: str, part: str) -> None:
    assert make_slug(text) == part


@pytest.mark.parametrize("name", list_studies(ROOT / "studies"))
def test_shipped_study_has_a_header_that_says_command_and_cost(name: str) -> None:
    text = (ROOT / "studies" / f"{name}.yaml").read_text(encoding="utf-8")
    header = text[: text.index("title:")]
    assert f"losslab study run {name}" in header and "Cost: " in header
    assert read_spec(name, ROOT / "studies").published is not None or name == "demo"
