"""Made-up rows of an odyssey: kinds of data with known measures, and losses with known scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from losslab.data.measures import DatasetMeasures
from losslab.io.files import write_csv

MEASURES: dict[str, Any] = {
    "classes": 2,
    "images": 100,
    "side_px": 64.0,
    "rarest_share": 0.1,
    "effective_classes": 1.4,
    "foreground_share": 0.1,
    "empty_share": 0.0,
    "objects_per_image": 1.0,
    "object_share": 0.1,
    "tiny_share": 0.0,
    "small_share": 0.0,
    "width_px": 12.0,
    "thinnest_px": 12.0,
    "border_share": 0.1,
}
THIN = MEASURES | {"width_px": 1.6, "object_share": 0.01, "small_share": 0.5}
MANY = MEASURES | {"objects_per_image": 30.0, "object_share": 0.002, "small_share": 1.0, "rarest_share": 0.05}
KINDS = {
    "lesions": (
        MEASURES,
        {"dice+cross_entropy": 80.0, "dice": 81.0, "focal": 76.0, "cross_entropy": 79.0, "bce": 78.9},
    ),
    "vessels": (THIN, {"dice+cross_entropy": 60.0, "dice": 58.0, "focal": 55.0, "cross_entropy": 57.0, "bce": 63.0}),
    "nuclei": (MANY, {"dice+cross_entropy": 70.0, "dice": 69.0, "focal": 74.0, "cross_entropy": 71.0, "bce": 70.0}),
}


def measure(**changes: Any) -> DatasetMeasures:
    return DatasetMeasures(**MEASURES | changes)


def write_rows(folder: Path, kinds: Mapping[str, tuple[dict[str, Any], dict[str, float]]] = KINDS) -> Path:
    """Write tables in which each loss has these points on two nets with two seeds each, 0.2 apart."""
    folder.mkdir(parents=True)
    about = [
        {"kind": kind, "dataset": kind, "title": kind.title(), **measures} for kind, (measures, _) in kinds.items()
    ]
    write_csv(folder / "datasets.csv", about)
    for kind, (_, points) in kinds.items():
        rows = [
            {"run": f"{kind}-{loss}-{net}-{seed}", "loss": loss, "net": net, "seed": seed, "chosen": "yes"}
            | {"state": "done", "miou": (value + step + (0.1 if seed else -0.1)) / 100}
            for loss, value in points.items()
            for net, step in (("small", -5), ("large", 5))
            for seed in (0, 1)
        ]
        trial = dict(rows[0], chosen="no", miou=0.99)
        failed = dict(rows[0], state="failed", miou="")
        write_csv(folder / f"{kind}.runs.csv", [*rows, trial, failed])
    return folder
