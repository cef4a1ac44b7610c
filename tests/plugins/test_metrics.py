"""Metrics of plug-ins: in the tables of evaluate, and judged by images when runs are compared."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from losslab.comparison.metrics import read_counts
from losslab.data.loading.arrays import PreparedData
from losslab.errors import InputError
from losslab.evaluation import describe_evaluation, evaluate_split, write_tables
from losslab.evaluation.tables import PIXEL_COUNTS
from losslab.io.files import read_csv, read_json
from losslab.io.windows import read_whole
from losslab.metrics.plugin_metric import load_metric
from losslab.params import Params, check_params
from losslab.plugins import manifest
from losslab.plugins.usage import describe_usage
from losslab.stage_inputs import check_evaluation
from tests.comparison.runs_on_disk import make_run
from tests.comparison.test_compare import compare
from tests.conftest import ROOT, merge
from tests.evaluation.conftest import Brightness, build_description

METRICS = """
import numpy as np
from losslab.plugins import metric

@metric(title="Tversky index", source="Tversky 1977")
def tversky_index(hit, truth, predicted, *, alpha: float = 0.5):
    return hit / (alpha * predicted + (1 - alpha) * truth)

@metric(higher_is_better=False, unit="pixels")
def missed(prediction, target, valid, classes):
    assert len(classes) == 3 and prediction.dtype == target.dtype == np.uint8 and valid.dtype == bool
    return float("nan") if not (target == 1).any() else ((prediction != target) & valid).sum()

@metric
def sureness(probabilities):
    return 123456.0 + float(probabilities.max(axis=0).mean())  # more digits than float32 has
"""
AXES = {"loss": ["dice", "bce"]}
CHOSEN: dict[str, dict[str, Any]] = {"tversky_index": {}, "missed": {}, "sureness": {}}


def test_tables_have_the_metrics(
    write: Callable[[str, str], Path],
    tiny_data: PreparedData,
    tiny_params: Params,
    tmp_path: Path,
) -> None:
    write("own.py", METRICS)
    description = build_description(tiny_data)
    metrics = [load_metric(name, options) for name, options in CHOSEN.items()]
    results: dict[Any, Any] = {
        split: evaluate_split(Brightness(), description, tiny_data, split, 2, metrics=metrics)
        for split in ("val", "test")
    }
    write_tables(results, tmp_path)
    test, images = read_json(tmp_path / "scores.json")["test"], read_csv(tmp_path / "per_image.csv")
    classes = [row for row in read_csv(tmp_path / "per_class.csv") if row["split"] == "test"]
    assert test["tversky_index"] == pytest.approx(test["mdice"]) and list(test)[-1] == "iou"
    assert [row["tversky_index"] for row in classes] == [row["dice"] for row in classes]
    details = results["test"].details
    missed = [row["missed"] for row in images if row["split"] == "test"]
    guesses = np.stack([read_whole(details.predictions[index]) for index in range(len(details.predictions))])
    wrong = guesses != tiny_data.masks("test")
    expected = [
        str(float(wrong[index].sum())) if (tiny_data.masks("test")[index] == 1).any() else ""
        for index in range(len(missed))
    ]
    assert missed == expected and test["missed"] == pytest.approx(np.mean([float(text) for text in missed if text]))
    sure = [float(row["sureness"]) for row in images if row["split"] == "test"]
    assert test["sureness"] == pytest.approx(np.mean(sure), abs=2e-6) and 1 / 3 < test["sureness"] - 123456 <= 1
    params = tiny_params.model_copy(update={"evaluate": tiny_params.evaluate.model_copy(update={"metrics": CHOSEN})})
    about = describe_evaluation(params.evaluate, results)
    assert about["metrics"] == CHOSEN and about["metric_facts"]["missed"]["unit"] == "pixels"
    assert list(about["metric_facts"]["missed"]["code"]) == ["plugins/own.py"]
    check_evaluation(about, params)
    about["metrics"] = {}
    with pytest.raises(InputError, match=r"evaluation\.json: the scores were computed with evaluate\.metrics"):
        check_evaluation(about, params)


def test_metric_that_changes_its_inputs_changes_no_score(
    write: Callable[[str, str], Path], tiny_data: PreparedData
) -> None:
    spoil = "    for array in (prediction, target, valid, probabilities): array[:] = 0\n    return 1\n"
    spoil += "@metric\ndef drain(hit, truth, predicted):\n    hit[:] = truth[:] = predicted[:] = 5\n    return hit\n"
    write("own.py", f"{METRICS}\n@metric\ndef spoil(prediction, target, valid, probabilities):\n{spoil}")
    details = []
    for names in (["missed", "tversky_index"], ["spoil", "drain", "missed", "tversky_index"]):
        metrics = [load_metric(name, {}) for name in names]
        result = evaluate_split(Brightness(), build_description(tiny_data), tiny_data, "test", 2, metrics=metrics)
        assert result.details is not None
        _, missed = result.details.own["missed"]
        counts = {name: result.pixels.compute()[key].numpy() for name, key in PIXEL_COUNTS.items()}
        scores = [metric.score_classes(counts) for metric in metrics if metric.is_of_classes][-1]
        details.append((str(missed), scores.tolist(), result.pixels.confusion.tolist()))
    assert details[0] == details[1]


def test_params_name_metrics_and_their_options(write: Callable[[str, str], Path], tiny_params: Params) -> None:
    write("own.py", METRICS.replace("def sureness", "def iou_hair"))
    content = merge(tiny_params.model_dump(), {"dataset": "synthetic_lesions"})

    def check(metrics: dict[str, Any]) -> Params:
        content["evaluate"]["metrics"] = metrics
        return check_params(content, "params.yaml", ROOT / "data/catalog")

    used = describe_usage(check({"tversky_index": {"alpha": 0.3}, "missed": {}}).model_dump())
    assert set(json.loads(used["evaluate"])) == {"metric missed", "metric tversky_index"} and used["train"] == "{}\n"
    wrong: list[tuple[dict[str, Any], str]] = [
        (
            {"missd": {}},
            r"evaluate\.metrics: 'missd' is not one of tversky_index, missed, iou_hair; did you mean missed\?",
        ),
        (
            {"tversky_index": {"alpha": "a"}},
            r"evaluate\.metrics\.tversky_index: alpha is 'a'; it must be a number",
        ),
        (
            {"tversky_index": {"size": 1}},
            r"evaluate\.metrics: size is a key that DVC's run cache overlooks; rename it",
        ),
        ({"missed": {"alpha": 1}}, r"evaluate\.metrics\.missed: alpha: unknown key"),
        ({"iou_hair": {}}, r"plugins/own\.py:14: iou_hair is a score or column of losslab; give yours another name"),
    ]
    for metrics, line in wrong:
        with pytest.raises(InputError, match=line):
            check(metrics)


def test_runs_are_compared_by_the_metrics(write: Callable[[str, str], Path], tmp_path: Path) -> None:
    path = write("own.py", METRICS)
    runs = []
    for loss, quality in (("dice", 0.8), ("bce", 0.7)):
        for seed in range(3):
            run = make_run(tmp_path, {"loss": loss}, quality, seed)
            counts = {name: part.sum(axis=0) for name, part in read_counts(run.images, run.classes).items()}
            tversky = load_metric("tversky_index", {}).score_classes(counts).mean()
            facts = {name: load_metric(name, {}).describe() for name in ("tversky_index", "missed")}
            evaluation = run.evaluation | {"metrics": {key: {} for key in facts}, "metric_facts": facts}
            images = [{**row, "missed": f"{100 * (1 - quality) + place}"} for place, row in enumerate(run.images)]
            scores = run.metrics | {"tversky_index": round(tversky, 6), "missed": 100 * (1 - quality) + 19.5}
            runs.append(replace(run, evaluation=evaluation, images=images, metrics=scores))
    own, dice, missed = (compare(runs, metric, AXES) for metric in ("tversky_index", "mdice", "missed"))
    assert own.metric.title == "Tversky index" and own.verdict is not None and dice.verdict is not None
    assert own.sentences == dice.sentences and "dice beats bce by" in own.sentences[0]  # Dice's at alpha 0.5
    assert "dice beats bce by 10.0 pixels" in missed.sentences[0]
    path.write_text(METRICS.replace("hit / (", "0.9 * hit / ("))
    manifest._describe_folder.cache_clear()
    sys.modules.pop("losslab_plugins.own")
    with pytest.raises(
        InputError, match=r"own\.py:5: tversky_index has changed: dice-s0 was scored 0\.\d+, now it is 0"
    ):
        compare(runs, "tversky_index", AXES)
    other = replace(runs[0], evaluation=runs[0].evaluation | {"metrics": {"missed": {"weight": 2}}})
    with pytest.raises(
        InputError, match=r"dice-s0 and dice-s1 have missed by other code or options; evaluate one again"
    ):
        compare([other, *runs[1:]], "missed", AXES)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("(hit, target): return 1", r"own\.py:2: own takes hit of classes and target of images; a metric is of one or"),
        (
            "(hit): return 1.0",
            r"own\.py:2: own returned float64 \[\] for counts of shape \[3\]; a metric of classes returns",
        ),
        (
            "(hit): return hit > 0",
            r"returned bool \[3\] for counts of shape \[3\]; a metric of classes returns numbers",
        ),
        ("(hit): return 1 / (hit - 1)", r"own\.py:2: own returned inf; NaN stands for no score"),
        ("(target): return float('inf')", r"own\.py:2: own returned inf; NaN stands for no score"),
        ("(target): return '0.5'", r"own\.py:2: own returned str; a metric of an image is a number"),
        ("(target): return True", r"own\.py:2: own returned bool; a metric of an image is a number"),
        ("(target): raise SystemExit(3)", r"own\.py:3: SystemExit: 3"),
        ("(hit): return hit / {}", r"own\.py:3: TypeError: unsupported operand"),
        ("(target): return 'much'", r"own\.py:2: own returned str; a metric of an image is a number"),
        ("(target): return target[99]", r"own\.py:3: IndexError: index 99"),
    ],
)
def test_fault_of_a_metric_is_named(write: Callable[[str, str], Path], text: str, line: str) -> None:
    write("own.py", f"from losslab.plugins import *\n@metric\ndef own{text}\n")
    with pytest.raises(InputError, match=line):
        metric = load_metric("own", {})
        if metric.is_of_classes:
            metric.score_classes(dict.fromkeys(("hit", "truth", "predicted"), np.ones(3)))
        else:
            metric.score_image({"target": np.zeros((2, 2), np.uint8)})
