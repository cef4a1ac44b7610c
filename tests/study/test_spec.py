"""Studies' files: what is wrong is told in one line that names the file and the key."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from losslab.errors import InputError
from losslab.study.spec import format_label, list_studies, make_slug, read_spec
from tests.conftest import ROOT, merge
from tests.study.repository import STUDY

PUBLISHED = {"source": "s", "how": "h", "metric": "m"}
ROW = {"cell": {"net": "unet"}, "values": {"iou": 0.5}}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"titel": "x"}, "titel: unknown key; allowed here: title"),
    ({"seeds": []}, "seeds is empty; it must have at least 1"),
    ({"seeds": [0, 0]}, "seeds is [0, 0]; list each seed once"),
    ({"seeds": ["a"]}, "seeds.0 is 'a'"),
    ({"grid": None}, "grid is null; it must have keys with values"),
    ({"grid": {"lr": [1.0]}}, "grid.lr: no such key: lr; params.yaml has dataset, seed"),
    ({"grid": {"train.lrr": [1.0]}}, "grid.train.lrr: no such key: train.lrr; train has epochs"),
    ({"grid": {"loss.gamma": [1.0]}}, "grid.loss.gamma: loss.gamma: loss has no keys of its own"),
    ({"grid": {"loss": []}}, "grid.loss is empty; it needs at least one value"),
    ({"grid": {"loss": ["dice", "dice"]}}, "grid.loss is ['dice', 'dice']; list each value once"),
    ({"grid": {"loss": ["bce+dice", "bce*dice_", "bce_dice"]}}, "would give experiments the same name"),
    ({"grid": {"loss": ["+"]}}, "grid.loss: the label '+' has no letter or digit"),
    (
        {"grid": {"arch_options": [{"width": 4}]}},
        "grid: arch_options lists a mapping; list the values of one key, such as",
    ),
    ({"grid": {"net": {"a": {"archh": "unet"}}}}, "grid.net.a: no such key: archh; params.yaml has"),
    ({"grid": {"seed": [1, 2]}}, "seed is set by both seeds and grid.seed"),
    ({"params": {"train": {"epoch": 3}}}, "params: no such key: train.epoch; train has"),
    ({"params": {"train": 3}}, "params: train is 3; it must have keys with values"),
    ({"params": {"loss": "dice"}}, "loss is set by both params and grid.loss"),
    ({"params": {"train": {"lr": 1.0}, "train.lr": 2.0}}, "params: train.lr and train.lr set the same key"),
    ({"tune": {"train.lr": [1.0], "train.momentum": [0.1]}}, "tune has 2 keys; it must have one"),
    (
        {"tune": {}},
        "tune has 0 keys; it must have one, such as train.lr; several are searched together by tune: {budget",
    ),
    ({"tune": 3}, "tune is 3; it must"),
    (
        {"tune": {"train.lr": {"low": 1, "high": 2}}},
        "tune: train.lr has a range, which needs a number of trials: tune: {budget: 12, params: {train.lr: {low: 1, high: 2}}}",
    ),
    *(
        ({"tune": {"budget": 4, "params": {"train.lr": [0.1, 0.2, 0.3, 0.4]}, **change}}, complaint)
        for change, complaint in (
            ({"budget": 0}, "tune.budget is 0; it must be greater than or equal to 1"),
            ({"budget": 2.5}, "tune.budget is 2.5; it must"),
            ({"budget": 5}, "tune.budget is 5; it must be at most 4, as there are no more settings to try"),
            (
                {"params": {"train.batch_size": {"low": 1, "high": 3}}},
                "tune.budget is 4; it must be at most 3, as there are no more settings to try",
            ),
            ({"bugdet": 3}, "tune.bugdet: unknown key; allowed here: budget, params, repeats, prune"),
            ({"repeats": 0}, "tune.repeats is 0; it must be greater than or equal to 1"),
            ({"repeats": 3}, "tune.repeats is 3; it must be at most the number of seeds, 2, which share them out"),
            ({"params": {}}, "tune.params is empty"),
            ({"params": {"train.lrr": [1]}}, "tune.params.train.lrr: no such key: train.lrr; train has epochs"),
            ({"params": {"train.lr": []}}, "tune.params.train.lr is empty; it needs at least one value"),
            ({"params": {"train.lr": [1, 1.0]}}, "tune.params.train.lr is [1, 1.0]; list each value once"),
            ({"params": {"train": [1]}}, "tune.params.train: train is None; it must have keys with values"),
            ({"params": {"loss": ["a", "b", "c", "d"]}}, "loss is set by both grid.loss and tune.params.loss"),
            ({"params": {"train.lr": {"low": 1}}}, "tune.params.train.lr.high: missing"),
            (
                {"params": {"train.lr": {"low": 1, "hihg": 2}}},
                "tune.params.train.lr.hihg: unknown key; allowed here: low, high, log; did",
            ),
            ({"params": {"train.lr": {"low": "a", "high": 2}}}, "tune.params.train.lr.low is 'a'; it must"),
            (
                {"params": {"train.lr": 3}},
                "tune.params.train.lr: must be a list of values, or a range, such as {low: 1, high: 4}",
            ),
            (
                {"params": {"train.lr": {"low": 2, "high": 2}}},
                "tune.params.train.lr: low is 2 and high 2; low must be below",
            ),
            (
                {"params": {"train.lr": {"low": 0, "high": 1, "log": True}}},
                "tune.params.train.lr: low is 0; with log: true it must be above 0",
            ),
            ({"prune": {"epochs": 1, "keep": 4}}, "tune.prune.keep is 4; it must be below tune.budget, 4"),
            ({"prune": {"epochs": 0, "keep": 1}}, "tune.prune.epochs is 0; it must be greater"),
            (
                {"prune": {"epochs": 1, "keep": 1}, "params": {"train.epochs": [2, 3, 4, 5]}},
                "train.epochs is set by both tune.prune and tune.params",
            ),
        )
    ),
    ({"tune": {"loss": ["focal"]}}, "loss is set by both grid.loss and tune.loss"),
    ({"skip": [{"los": "dice"}]}, "skip.0.los: no such axis; the grid has loss, net"),
    ({"skip": [{"loss": "focal"}]}, "skip.0.loss is 'focal'; it must be one of cross_entropy, dice"),
    ({"published": {**PUBLISHED, "rows": []}}, "published.rows is empty"),
    (
        {"published": {**PUBLISHED, "rows": [{"cell": {"net": "x"}, "values": {"iou": 0.5}}]}},
        "published.rows.0.cell.net is 'x'; it must be one of unet, segnet",
    ),
    ({"published": {**PUBLISHED, "images": 0}}, "published.images is 0"),
    ({"published": {**PUBLISHED, "rows": [{**ROW, "sd": {"dice": 0.1}}]}}, "published.rows.0.sd.dice: values has iou"),
    ({"published": {**PUBLISHED, "rows": [{**ROW, "sd": {"iou": -1.0}}]}}, "published.rows.0.sd.iou is -1.0"),
]


@pytest.mark.parametrize(("change", "complaint"), BAD, ids=[complaint[:40] for _, complaint in BAD])
def test_fault_is_one_line_with_file_and_key(change: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    content = merge(STUDY, change) if "grid" not in change else {**STUDY, **change}
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(InputError) as error:
        read_spec("bad", tmp_path)
    assert str(error.value).startswith(f"{tmp_path}/bad.yaml: ") and complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_study_lists_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("")
    with pytest.raises(InputError, match=r"no such study: two \(.* has one\)$"):
        read_spec("two", tmp_path)
    with pytest.raises(InputError, match=r"one.yaml: holds no keys; it must have title"):
        read_spec("one", tmp_path)


def test_name_with_a_hyphen_is_refused_because_it_ends_the_studys_in_an_experiments(tmp_path: Path) -> None:
    (tmp_path / "a-b.yaml").write_text(yaml.safe_dump(STUDY))
    with pytest.raises(InputError, match=r"letters, digits, _ and \."):
        read_spec("a-b", tmp_path)


def test_axis_is_a_key_with_values_or_labels_of_several_params(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(STUDY))
    axes = read_spec("s", tmp_path).axes
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
    assert (read_spec(name, ROOT / "studies").published is not None) == header.startswith("# Seed 00")
