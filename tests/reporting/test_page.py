import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from losslab.data.preparing.audit import write_up
from losslab.data.preparing.findings import Finding
from losslab.files import write_csv, write_json
from losslab.reporting.page import ERROR_COLOUR, write_report

CLASSES = ["sky & sea", "road"]
SPLIT = {"method": "kfold", "val": 0.2, "test": 0.2, "seed": 3, "folds": 5, "fold": 1}


@pytest.fixture
def outs(tmp_path: Path) -> Path:
    """The outs of train and evaluate of a made-up run, with an evil class name."""
    reports = tmp_path / "reports"
    train = {
        "epochs": 2,
        "batch_size": 4,
        "lr": 0.001,
        "augmentation": "flip",
        "precision": "auto",
        "device": "auto",
        "workers": 0,
    }
    run = {"dataset": "roads", "seed": 0, "loss": "focal", "loss_options": {"gamma": 3.0}, "encoder": "resnet18"}
    model = {
        "arch": "unet",
        "classes": CLASSES,
        "palette": [[0, 0, 255], [90, 90, 90]],
        "ignore_index": 255,
        "size": 32,
        "precision": "32-true",
        "data_md5": "abc.dir",
        "run": run | {"encoder_weights": None, "train": train},
    }
    write_json(tmp_path / "models/model.json", model)
    scores = {"miou": 0.5, "mdice": 0.6, "pixel_accuracy": 0.7, "mean_accuracy": 0.8, "miou_per_image": 0.9}
    write_json(
        reports / "metrics.json", {s: scores | {"iou": {"sky & sea": 0.75, "road": None}} for s in ("test", "val")}
    )
    epochs = [
        {"epoch": e + 1, "lr": 0.001, "train_loss": 1 / (e + 1), "val_loss": 2.0, "val_miou": m, "val_iou_road": m}
        for e, m in enumerate([0.4, 0.3])
    ]
    write_csv(reports / "history.csv", epochs)
    rows: list[dict[str, Any]] = [
        {"split": s, "class": c, "iou": 0.5, "dice": float("nan"), "accuracy": 0.5, "support": 10}
        for s in ("val", "test")
        for c in CLASSES
    ]
    write_csv(reports / "per_class.csv", rows)
    write_csv(reports / "per_image.csv", [{"split": "test", "image": f"im{i}", "iou": i / 6} for i in range(6)])
    write_csv(reports / "confusion.csv", [{"split": "test", "truth": c, CLASSES[0]: 3, CLASSES[1]: 1} for c in CLASSES])
    (reports / "predictions").mkdir()
    for i in range(6):
        Image.new("RGB", (32, 32), (40, 40, 40)).save(reports / f"predictions/test-{i}.image.png")
        for kind, labels in (("truth", [0, 1, 255, 255]), ("prediction", [0, 0, 0, 1])):
            image = Image.fromarray(np.repeat(np.array(labels, np.uint8), 8)[None].repeat(32, axis=0))
            image.putpalette([0, 0, 255, 90, 90, 90] + [0] * 762)
            image.save(reports / f"predictions/test-{i}.{kind}.png")
    examples = [{"file": f"test-{i}", "image": f"im{i}", "rank": i + 1, "of": 6, "iou": 1 - i / 6} for i in range(6)]
    write_csv(reports / "predictions/examples.csv", examples)
    audited(tmp_path / "prepared", pairs=8)
    return tmp_path


def audited(prepared: Path, pairs: int) -> None:
    """What prepare leaves for the page, with pairs of images that look alike."""
    coverage = {"sky & sea": {"share": 0.9, "images": 6}, "road": {"share": 0.00012, "images": 1}, "void": {"share": 0}}
    alike = [
        {
            "first": {"split": "train", "image": f"im{i}", "index": i},
            "second": {"split": "test", "image": "im0", "index": 0},
            "correlation": 0.99,
        }
        for i in range(pairs)
    ]
    findings = [Finding("hidden file", f"images/._{i}<b>") for i in range(9)] if pairs else []
    audit = {
        "settings": {"fit": "stretch", "audit": "warn", "limit": 60, "split": SPLIT},
        "images": {"train": 1234, "val": 2, "test": 1},
        "coverage": dict.fromkeys(("train", "val", "test"), coverage),
        "near_duplicates": {"count": pairs, "pairs": alike},
    }
    write_json(prepared / "audit.json", audit | write_up(findings))
    for split in ("train", "test"):
        (prepared / split).mkdir(exist_ok=True)
        np.save(prepared / split / "images.npy", np.zeros((8, 32, 32, 3), np.uint8))


def report_of(outs: Path, examples: int = 6) -> str:
    write_report(outs / "models", outs / "reports", outs / "prepared", examples)
    return (outs / "reports/report.html").read_text(encoding="utf-8")


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attributes if name in ("src", "href")]


def test_page_needs_no_other_file(outs: Path) -> None:
    page = report_of(outs)
    parser = Links()
    parser.feed(page)
    assert parser.links and all(link.startswith("data:") for link in parser.links)
    assert "<script" not in page and "url(" not in page and "@import" not in page


def test_page_shows_what_was_run_and_how_well(outs: Path) -> None:
    page = report_of(outs)
    for text in (
        "focal (gamma = 3.0)",
        "resnet18, from scratch",
        "abc.dir",
        "Mean IoU 0.500 on the test images",
        "im5",
    ):
        assert text in page
    assert "sky &amp; sea" in page and "sky & sea" not in page
    assert "the weights kept are those of epoch 1" in page
    assert [title for title in ("Best", "Between", "Worst") if f"<h3>{title}</h3>" in page] == [
        "Best",
        "Between",
        "Worst",
    ]


def test_best_and_worst_images_are_the_ends_of_the_ranking(outs: Path) -> None:
    page = report_of(outs, examples=3)
    assert re.findall(r"<p>(im\d): mIoU", page) == ["im0", "im2", "im5"]
    assert re.findall(r"<h3>(\w+)</h3>\s*<div[^>]*>\s*<p>(im\d)", report_of(outs, examples=2)) == [
        ("Best", "im0"),
        ("Worst", "im5"),
    ]


def test_errors_are_marked_but_not_in_void(outs: Path) -> None:
    from losslab.reporting.page import _errors

    truth, prediction = np.array([[0, 1, 255]], np.uint8), np.array([[0, 0, 0]], np.uint8)
    shown = _errors(np.zeros((1, 3, 3), np.uint8), truth, prediction, 255)
    assert [tuple(pixel) == ERROR_COLOUR for pixel in shown[0]] == [False, True, False]


def test_same_input_gives_the_same_bytes(outs: Path) -> None:
    page = report_of(outs)
    figures = {path.name: path.read_bytes() for path in (outs / "reports/figures").iterdir()}
    assert set(figures) == {"curves.png", "confusion.png", "iou_by_class.png", "iou_by_image.png"}
    assert report_of(outs) == page
    assert {path.name: path.read_bytes() for path in (outs / "reports/figures").iterdir()} == figures


def test_page_without_examples_says_so(outs: Path) -> None:
    assert "No predictions were kept" in report_of(outs, examples=0)
    write_csv(outs / "reports/predictions/examples.csv", [])
    assert "No predictions were kept" in report_of(outs)


def test_data_and_what_the_audit_found_are_shown(outs: Path) -> None:
    page = report_of(outs)
    assert (
        "split: kfold, split seed: 3, val: 0.2, test: 0.2, fold: 1 of 5, fit: stretch, audit: warn, limit: 60" in page
    )
    assert "train, 1,234 images" in page and "0.012" in page and "<td>void</td>" not in page
    assert (
        "images/._0&lt;b&gt;; images/._1&lt;b&gt;; images/._2&lt;b&gt;; …" in page and "9</td><td>hidden file" in page
    )
    assert "6 of 8, the most alike first" in page and page.count("and test/im0, correlation 0.990") == 6


def test_data_without_a_finding_are_called_so(outs: Path) -> None:
    audited(outs / "prepared", pairs=0)
    page = report_of(outs)
    assert "The audit found nothing wrong." in page and "look alike" not in page
