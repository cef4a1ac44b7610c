"""The outs of prepare, train and evaluate that the report reads."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from losslab.cards import has_overlapping_labels
from losslab.io.files import JsonObject, parse_number, read_csv, read_json
from losslab.label_sets import list_picture_labels

Line = Mapping[str, str]
Table = Sequence[Line]


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    model: JsonObject
    metrics: JsonObject
    """Split → score → value; null where the score means nothing."""
    evaluation: JsonObject
    """How the images were scored."""
    audit: JsonObject
    dataset: JsonObject
    history: Table
    per_class: Table
    per_image: Table
    confusion: Table
    calibration: Table
    thresholds: Table
    strata: Table
    examples: Table
    predictions: Path
    prepared: Path

    @property
    def classes(self) -> list[str]:
        return list(self.model["classes"])

    @property
    def has_overlapping_classes(self) -> bool:
        return has_overlapping_labels(self.model)

    @cached_property
    def picture_labels(self) -> tuple[list[str], list[tuple[int, int, int]]]:
        """Names and colours of the labels that pictures have."""
        return list_picture_labels(self.model)

    @property
    def own_metrics(self) -> JsonObject:
        """Facts about the metrics of plug-ins, by name."""
        facts: JsonObject = self.evaluation.get("metric_facts", {})
        return facts

    @cached_property
    def kept(self) -> int:
        """Index in `history` of the epoch whose weights were kept: the first with the best val mIoU."""
        scores = read_column(self.history, "val_miou")
        return max(range(len(scores)), key=lambda index: -1.0 if math.isnan(scores[index]) else scores[index])

    def read_score(self, split: str, name: str) -> float:
        """Read a score of scores.json; NaN if it has none."""
        value = self.metrics[split].get(name)
        return math.nan if value is None else float(value)

    def read_class(self, split: str, name: str) -> dict[str, float]:
        """Read the numbers of a class in per_class.csv; none if the split was not scored."""
        for row in self.per_class:
            if row["split"] == split and row["class"] == name:
                return {key: parse_number(cell) for key, cell in row.items() if key not in ("split", "class")}
        return {}

    def read_class_scores(self, split: str, key: str = "iou") -> dict[str, float]:
        """Read class → score, of the classes that have one."""
        scores = {name: self.read_class(split, name).get(key, math.nan) for name in self.classes}
        return {name: value for name, value in scores.items() if not math.isnan(value)}

    def find_weakest(self, most: int) -> list[str]:
        """Find the `most` classes with the lowest test IoU, in the card's order."""
        scores = self.read_class_scores("test")
        chosen = sorted(self.classes, key=lambda name: scores.get(name, math.inf))[:most]
        return [name for name in self.classes if name in chosen]

    def compute_miou(self, split: str, classes: Sequence[str]) -> float:
        """Average the IoU of at least one class, each scored in the split; train is a sample of the training images."""
        scores = self.read_class_scores(split)
        return sum(scores[name] for name in classes) / len(classes)

    def read_image_scores(self, split: str) -> list[float]:
        """Read the mIoU of each image that has one."""
        scores = read_column(select_split(self.per_image, split), "iou")
        return [score for score in scores if not math.isnan(score)]


def read_report_inputs(models: Path, reports: Path, prepared: Path) -> ReportInputs:
    predictions = reports / "predictions"
    names = ("history", "per_class", "per_image", "confusion", "calibration", "thresholds", "strata")
    return ReportInputs(
        model=read_json(models / "model.json"),
        metrics=read_json(reports / "scores.json"),
        evaluation=read_json(reports / "evaluation.json"),
        audit=read_json(prepared / "audit.json"),
        dataset=read_json(prepared / "dataset.json"),
        examples=read_csv(predictions / "examples.csv"),
        predictions=predictions,
        prepared=prepared,
        **{name: read_csv(reports / f"{name}.csv") for name in names},
    )


def read_column(table: Table, name: str) -> list[float]:
    return [parse_number(row.get(name)) for row in table]


def select_split(table: Table, split: str) -> list[Line]:
    return [row for row in table if row["split"] == split]
