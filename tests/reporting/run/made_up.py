"""A made-up run: what prepare, train and evaluate leave, small and in their formats, for the tests of the page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from losslab.data.findings import Finding
from losslab.data.prepare.audit import describe_findings
from losslab.io.files import write_csv, write_json

SPLITS = ("train", "val", "test")
PALETTE = [[60, 100, 150], [230, 120, 60], [250, 230, 120], [60, 40, 222], [192, 128, 128], [128, 64, 128]]
NAN = float("nan")


@dataclass(frozen=True)
class MadeUp:
    classes: tuple[str, ...] = ("sky & sea", "road", "tree <b>")
    epochs: int = 6
    images: int = 40
    side: int = 32
    examples: int = 8
    ignore_index: int | None = 255
    near_duplicates: int = 0
    findings: int = 0
    terms: tuple[str, ...] = ("cross_entropy", "dice")
    rich: bool = True
    """Whether calibration, thresholds and strata have rows."""
    detail: int = 4
    """Side of a block of noise, in pixels; the smaller, the worse a picture compresses."""


def write_outs(folder: Path, run: MadeUp = MadeUp()) -> Path:
    """Write models/, reports/ and prepared/ below `folder`."""
    reports = folder / "reports"
    write_json(folder / "models/model.json", build_model_json(run))
    _write_prepared(folder / "prepared", run)
    write_csv(reports / "history.csv", build_history(run))
    write_json(reports / "scores.json", {"test": build_scores(run), "val": build_scores(run)})
    write_csv(reports / "per_class.csv", build_per_class(run))
    write_csv(reports / "per_image.csv", build_per_image(run))
    pixels = np.eye(len(run.classes), dtype=int) * 900 + 50
    write_csv(
        reports / "confusion.csv",
        [
            {"split": split, "truth": name, **dict(zip(run.classes, row.tolist(), strict=True))}
            for split in ("val", "test")
            for name, row in zip(run.classes, pixels, strict=True)
        ],
    )
    write_json(reports / "evaluation.json", {"resolution": "original", "tta": "flip", "tolerances": [1, 3]})
    for name, rows in (
        ("calibration", _build_calibration()),
        ("thresholds", _build_thresholds(run)),
        ("strata", _build_strata(run)),
    ):
        write_csv(reports / f"{name}.csv", rows if run.rich else [])
    _write_predictions(reports / "predictions", run)
    return folder


def build_model_json(run: MadeUp) -> dict[str, Any]:
    train = {
        "epochs": run.epochs,
        "batch_size": 4,
        "lr": 0.001,
        "schedule_options": {"rise": 0.15},
        "clip_grad_norm": None,
        "augmentation": "flip",
        "device": "auto",
        "workers": 0,
    }
    return {
        "arch": "unet",
        "classes": list(run.classes),
        "palette": [PALETTE[index % len(PALETTE)] for index in range(len(run.classes))],
        "ignore_index": run.ignore_index,
        "size": run.side,
        "fit": "stretch",
        "parameters": 14_328_209,
        "precision": "32-true",
        "data_md5": "abc.dir",
        "encoder_weights_sha256": "0123456789abcdef" * 4,
        "run": {
            "dataset": "roads",
            "seed": 0,
            "loss": "+".join(run.terms),
            "loss_options": {"gamma": 3.0},
            "encoder": "resnet18",
            "encoder_weights": "/home/me/weights/lite0.safetensors",
            "train": train,
        },
    }


def build_history(run: MadeUp) -> list[dict[str, Any]]:
    rows = []
    for epoch in range(1, run.epochs + 1):
        best = min(epoch, max(run.epochs - 1, 1))
        row: dict[str, Any] = {
            "epoch": epoch,
            "lr": 0.001 / epoch,
            "train_loss": 1 / epoch,
            "val_loss": 1.1 / epoch + 0.1,
        }
        row |= {"val_miou": round(0.8 - 0.5 / best - (0.01 if best < epoch else 0), 6)}
        row |= {f"val_iou_{name}": round(0.8 - 0.1 * i - 0.4 / epoch, 6) for i, name in enumerate(run.classes)}
        if len(run.terms) > 1:
            row |= {f"{phase}_loss_{term}": 0.5 / epoch for phase in ("train", "val") for term in run.terms}
        rows.append(row)
    return rows


def build_scores(run: MadeUp) -> dict[str, Any]:
    names = ("miou", "mdice", "mprecision", "mean_accuracy", "fwiou", "pixel_accuracy", "mcc", "miou_per_image")
    scores: dict[str, Any] = {name: 0.75 - 0.01 * index for index, name in enumerate(names)}
    scores |= {
        "boundary_iou": 0.4,
        "surface_dice_1": 0.5,
        "hd95": 6.25,
        "ece": 0.021,
        "classes_scored": len(run.classes),
    }
    return scores | {"iou": {name: 0.8 - 0.1 * index for index, name in enumerate(run.classes)}}


def build_per_class(run: MadeUp) -> list[dict[str, Any]]:
    rows = []
    for split in SPLITS:
        for index, name in enumerate(run.classes):
            iou = 0.82 - 0.1 * index + (0.04 if split == "train" else 0)
            row: dict[str, Any] = {"split": split, "class": name, "iou": iou, "dice": iou + 0.08}
            row |= {
                "precision": iou + 0.1,
                "recall": iou + 0.05,
                "support": 950,
                "predicted": 940,
                "images": run.images,
            }
            contours = (iou - 0.3, iou - 0.1, 5.5, 9)
            keys = ("boundary_iou", "surface_dice_1", "hd95", "hd95_images")
            rows.append(row | dict(zip(keys, [NAN] * 4 if split == "train" else contours, strict=True)))
    return rows


def build_per_image(run: MadeUp) -> list[dict[str, Any]]:
    return [
        {
            "split": split,
            "image": f"im{index}",
            "iou": round(0.6 + 0.3 * index / run.images, 6),
            "dice": 0.8,
            "pixel_accuracy": 0.9,
            "boundary_iou": 0.4,
            "hd95": NAN,
            **{f"iou_{name}": 0.7 for name in run.classes},
        }
        for split in ("val", "test")
        for index in range(run.images)
    ]


def _build_calibration() -> list[dict[str, Any]]:
    rows = []
    for split in ("val", "test"):
        for number in range(15):
            lower, upper = round(number / 15, 6), round((number + 1) / 15, 6)
            row: dict[str, Any] = {"split": split, "bin": number, "lower": lower, "upper": upper}
            known = number >= 5
            row |= {"confidence": round((lower + upper) / 2, 6) if known else NAN, "accuracy": lower if known else NAN}
            rows.append(row | {"pixels": 100 * number if known else 0})
    return rows


def _build_thresholds(run: MadeUp) -> list[dict[str, Any]]:
    rows = []
    for split in ("val", "test"):
        for name in run.classes if len(run.classes) > 2 else run.classes[1:]:
            for percent in range(1, 100):
                t = percent / 100
                row: dict[str, Any] = {
                    "split": split,
                    "class": name,
                    "threshold": t,
                    "precision": round(0.5 + 0.5 * t, 6),
                }
                row |= {"recall": round(1 - t * t, 6), "dice": round(0.9 - (t - 0.4) ** 2, 6)}
                rows.append(row | {"iou": round(0.8 - (t - 0.4) ** 2, 6), "chosen": int(percent == 40)})
    return rows


def _build_strata(run: MadeUp) -> list[dict[str, Any]]:
    rows = []
    empty = dict.fromkeys(("objects", "images", "pixels", "wrong", "error_rate", "recall", "iou"), NAN)
    for split in ("val", "test"):
        for name in ("all", *run.classes):
            for position, stratum in enumerate(("1", "2", "3-4", "5-8", "9-16", "> 16")):
                cells: dict[str, Any] = {
                    "pixels": 1000,
                    "wrong": 400 - 60 * position,
                    "error_rate": 0.4 - 0.06 * position,
                }
                rows.append(_build_stratum(split, "border_distance", name, stratum, position, empty | cells))
        for name in run.classes:
            for position, stratum in enumerate(("tiny", "small", "medium", "large")):
                some: dict[str, Any] = {
                    "objects": 5,
                    "images": 3,
                    "pixels": 200,
                    "wrong": 40,
                    "recall": 0.2 + 0.2 * position,
                }
                none = {"objects": 0, "images": 0, "pixels": 0, "wrong": 0}
                cells = none if position == 3 else some
                rows.append(_build_stratum(split, "object_size", name, stratum, position, empty | cells))
            for position, stratum in enumerate(("0", "1", "2-3", "4-7", "8+")):
                cells = {"images": 4, "iou": 0.8 - 0.1 * position}
                rows.append(_build_stratum(split, "object_count", name, stratum, position, empty | cells))
    return rows


def _build_stratum(
    split: str, by: str, name: str, stratum: str, position: int, cells: dict[str, Any]
) -> dict[str, Any]:
    return {"split": split, "by": by, "class": name, "stratum": stratum, "position": position} | cells


def _write_predictions(folder: Path, run: MadeUp) -> None:
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    rows = []
    for index in range(run.examples):
        photo = random.integers(0, 255, (run.side // run.detail + 1, run.side // run.detail + 1, 3), dtype=np.uint8)
        Image.fromarray(photo).resize((run.side, run.side), Image.Resampling.BICUBIC).save(
            folder / f"test-{index}.image.png"
        )
        truth = random.integers(0, len(run.classes), (run.side // run.detail + 1,) * 2, dtype=np.uint8)
        truth = np.kron(truth, np.ones((run.detail, run.detail), np.uint8))[: run.side, : run.side]
        prediction = np.roll(truth, 1 + index, axis=1)
        if run.ignore_index is not None:
            truth[: run.side // 8] = run.ignore_index
        _save(truth, run, folder / f"test-{index}.truth.png")
        _save(prediction, run, folder / f"test-{index}.prediction.png")
        group, rank = ("best", "median", "worst", "random")[index % 4], index // 4
        place = {"best": rank + 1, "median": run.images // 2 + rank, "worst": run.images - rank, "random": 7 + rank}[
            group
        ]
        row: dict[str, Any] = {"file": f"test-{index}", "image": f"im{place}", "group": group, "rank": place}
        rows.append(row | {"of": run.images, "iou": round(1 - place / run.images / 2, 6)})
    write_csv(folder / "examples.csv", rows)


def _save(labels: npt.NDArray[np.uint8], run: MadeUp, path: Path) -> None:
    image = Image.fromarray(labels)
    image.putpalette(
        [channel for colour in build_model_json(run)["palette"] for channel in colour]
        + [0] * (768 - 3 * len(run.classes))
    )
    image.save(path)


def _write_prepared(prepared: Path, run: MadeUp) -> None:
    coverage = {name: {"share": 0.9 / len(run.classes), "images": run.images} for name in run.classes}
    pairs = [
        {
            "first": {"split": "train", "image": f"im{index}", "index": index},
            "second": {"split": "test", "image": "im0", "index": 0},
            "correlation": 0.99,
        }
        for index in range(min(run.near_duplicates, 8))
    ]
    findings = [Finding("hidden file", f"images/._{index}<b>") for index in range(run.findings)]
    findings += [Finding("near-duplicate across splits", f"train/im{index}") for index in range(run.near_duplicates)]
    split = {"method": "kfold", "val": 0.2, "test": 0.2, "seed": 3, "folds": 5, "fold": 1}
    audit = {
        "settings": {"size": 128, "fit": "stretch", "audit": "warn", "limit": 60, "split": split},
        "images": {"train": 1234, "val": run.images, "test": run.images},
        "coverage": dict.fromkeys(SPLITS, coverage | {"void": {"share": 0.1 if run.ignore_index else 0}}),
        "ceiling": dict.fromkeys(run.classes, 0.95),
        "near_duplicates": {"count": run.near_duplicates, "pairs": pairs},
    }
    write_json(prepared / "audit.json", audit | describe_findings(findings))
    dataset = {"title": "Roads & <b>seas", "classes": list(run.classes), "fit": "stretch"}
    write_json(prepared / "dataset.json", dataset)
    for name in ("train", "test"):
        (prepared / name).mkdir(parents=True, exist_ok=True)
        np.save(prepared / name / "images.npy", np.zeros((8, 32, 32, 3), np.uint8))
