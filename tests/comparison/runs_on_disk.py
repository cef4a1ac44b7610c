"""Runs on disk with invented numbers, which are quick to make and whose truth is known."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from losslab.comparison.evidence import RunEvidence, read_evidence
from losslab.io.files import write_csv, write_json

CLASSES = ["skin", "hair"]


def write_run(
    folder: Path,
    quality: float,
    seed: int,
    images: int = 40,
    size: int = 64,
    first: int = 0,
    resolution: str = "prepared",
    fit: str = "stretch",
    hairy: int | None = None,
    groups: Sequence[int] = (),
) -> None:
    """Write the outs of a run that finds a share `quality` of each class in each image, give or take.

    Args:
        first: number of the first test image; another makes another test set.
        size: pixels of a side; another makes other true pixels.
        hairy: number of images that have hair at all; None: all.
        groups: number of the group of each image, whose images are alike; none: the table names no groups.
    """
    truth_rng, rng = np.random.default_rng(first), np.random.default_rng([seed, int(1000 * quality)])
    rows = []
    for number in range(first, first + images):
        hair = int(truth_rng.integers(size, size * size // 4))
        hair = hair if hairy is None or number - first < hairy else 0
        truth = np.array([size * size - hair, hair])
        hit = np.floor(truth * np.clip(quality + truth_rng.normal(0, 0.05) + rng.normal(0, 0.01, 2), 0, 1)).astype(int)
        predicted = hit + (truth - hit)[::-1]
        ious = hit / np.maximum(truth + predicted - hit, 1)
        row: dict[str, Any] = {
            "split": "test",
            "image": f"test/{number:04}",
            "iou": ious.mean(),
        }
        if groups:
            row["group"] = f"patient {groups[number - first]}"
        for label, name in enumerate(CLASSES):
            row |= {f"overlap_{name}": hit[label], f"band_{name}": truth[label], f"hd95_{name}": 9 * (1 - quality)}
            row |= {f"hit_{name}": hit[label], f"truth_{name}": truth[label], f"predicted_{name}": predicted[label]}
        rows.append(row)
    scores: dict[str, Any] = {
        "miou": 0.5,
        "mdice": 0.5,
        "miou_per_image": 0.5,
        "hd95": 5.0,
        "ece": 1 - quality,
        "classes_scored": 2,
    }
    scores |= {"iou": dict.fromkeys(CLASSES, 0.5)}
    strata = [
        {
            "split": "test",
            "by": "border_distance",
            "class": "all",
            "stratum": name,
            "position": place,
            "pixels": 100,
            "wrong": 5,
        }
        for place, name in enumerate(("1", "2"))
    ]
    history = [
        {"epoch": epoch, "train_loss": 1 / epoch, "val_loss": 1 / epoch, "val_miou": 0.5 - 0.1 * (epoch - 2) ** 2}
        for epoch in (1, 2, 3)
    ]
    model: dict[str, Any] = {"classes": CLASSES, "palette": [[0, 0, 0], [9, 9, 9]], "ignore_index": None, "size": size}
    model["fit"] = fit
    model |= {"arch": "simple_cnn", "encoder": None, "num_classes": 1, "parameters": 7217, "data_md5": f"{size}.dir"}
    write_json(folder / "models/model.json", model)
    write_json(folder / "reports/scores.json", {"test": scores, "val": scores})
    write_json(folder / "reports/evaluation.json", {"resolution": resolution, "tta": "none", "tolerances": [1]})
    tables: dict[str, list[dict[str, Any]]] = {"per_image": rows, "history": history}
    tables["strata"] = [row | {"iou": ""} for row in strata]
    for name, table in tables.items():
        write_csv(folder / f"reports/{name}.csv", table)


def make_run(folder: Path, labels: Mapping[str, str], quality: float, seed: int, **options: Any) -> RunEvidence:
    """Write such a run, and read its evidence."""
    name = "-".join([*labels.values(), f"s{seed}"])
    write_run(folder / name, quality, seed, **options)
    params = {"seed": seed, "dataset": "drawn", "prepare": {"size": 64, "fold": labels.get("fold")}}
    return read_evidence(folder / name, name, labels, params, name, train_seconds=60.0)
