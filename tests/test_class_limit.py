"""One limit on the number of classes, wherever it is met: what is below it works, what is above it gets one message."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from losslab.cards import CLASS_LIMIT, MAX_CLASSES, read_card
from losslab.data.images.class_masks import build_label_reader
from losslab.data.images.decode import read_mask
from losslab.data.images.labels import LabelMapping
from losslab.data.new_dataset.create import create_dataset
from losslab.data.new_dataset.options import NewDatasetOptions
from losslab.metrics import SegmentationMetrics
from losslab.metrics.calibration import CalibrationMetrics
from losslab.metrics.contours import ContourMetrics
from losslab.metrics.strata import StratifiedErrors
from losslab.models.description import read_description
from losslab.prediction.outputs import save_mask
from losslab.reporting.components.pictures import encode_labels
from tests.conftest import TINY_CARD
from tests.export.small_model import DESCRIPTION


def list_colours(count: int) -> list[list[int]]:
    return [[label, 255 - label, 7] for label in np.arange(count).astype(np.uint8).tolist()]


def read(folder: Path, count: int) -> None:
    classes = [{"name": f"class {n}", "color": c, "values": [n]} for n, c in enumerate(list_colours(count))]
    changes = {"classes": classes, "void": [1000]}
    (folder / "many.yaml").write_text(yaml.safe_dump(TINY_CARD | changes), encoding="utf-8")
    card = read_card("many", folder)
    raw = np.array([[0, 1, count - 1, 1000]], np.uint16)
    mapping = build_label_reader(card)
    assert isinstance(mapping, LabelMapping)
    assert card.num_outputs == count and mapping.map_values(raw).tolist() == [[0, 1, count - 1, 255]]


def describe(folder: Path, count: int) -> None:
    many = {"num_classes": count, "classes": list(map(str, range(count))), "palette": list_colours(count)}
    (folder / "model.json").write_text(json.dumps(DESCRIPTION | many), encoding="utf-8")
    assert read_description(folder).num_classes == count


def create(folder: Path, count: int) -> None:
    """Write a card for masks of so many values besides two that are void."""
    (folder / "data/catalog").mkdir(parents=True)
    values = np.arange(3 * 20 * 30).reshape(3, 20, 30) % (count + 2)
    for number, mask in enumerate(np.where(values >= count, values + 1000, values).astype(np.uint16)):
        for kind, pixels in (("images", np.zeros((20, 30, 3), np.uint8)), ("masks", mask)):
            (folder / kind).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")
    options = NewDatasetOptions(
        name="many", images=folder / "images", masks=folder / "masks", void=[count + 1000, count + 1001]
    )
    create_dataset(options, folder)
    assert len(read_card("many", folder / "data/catalog").classes) == count


def measure(folder: Path, count: int) -> None:
    labels = torch.tensor([[[0, count - 1, 300]]])
    for metric in (ContourMetrics(count, ignore_index=300), StratifiedErrors(count, ignore_index=300)):
        metric.update(labels.where(labels < 300, 0), labels)
    calibration = CalibrationMetrics(count, ignore_index=300)
    calibration.update(torch.full((1, count, 1, 3), 1 / count), labels)
    scores = SegmentationMetrics(count, ignore_index=300)
    scores.update(labels.where(labels < 300, 0), labels)
    assert scores.compute()["miou"] == 1 and calibration.compute()["pixels"].sum() == 2


@pytest.mark.parametrize("use", [read, describe, create, measure])
def test_as_many_classes_as_a_byte_holds_beside_void_work(tmp_path: Path, use: Callable[[Path, int], None]) -> None:
    assert MAX_CLASSES == 255
    use(tmp_path, 255)


@pytest.mark.parametrize("count", [256, 257])
@pytest.mark.parametrize("use", [read, describe, create, measure])
def test_more_get_one_message(tmp_path: Path, use: Callable[[Path, int], None], count: int) -> None:
    with pytest.raises(ValueError, match=rf"\b({count}|{count + 2}) .*{CLASS_LIMIT}") as caught:
        use(tmp_path, count)
    assert "\n" not in str(caught.value)


def test_masks_and_pictures_hold_all_labels(tmp_path: Path) -> None:
    palette, labels = list_colours(255), np.arange(256, dtype=np.uint8).reshape(16, 16)
    save_mask(labels, palette, tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png", in_colours=False), labels)
    picture = base64.b64decode(encode_labels(labels, palette, [9, 9, 9]).partition(",")[2])
    for content in ((tmp_path / "mask.png").read_bytes(), picture):
        with Image.open(io.BytesIO(content)) as opened:
            assert np.array_equal(np.asarray(opened), labels)
            assert np.asarray(opened.convert("RGB")).reshape(-1, 3)[:255].tolist() == palette
