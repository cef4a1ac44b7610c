"""What the truth itself scores at the size of the files, once resized to prepare.size and brought back."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from losslab.data.images.fit import Fit, compute_placement, pad_pair, resize_labels, restore_labels
from losslab.data.prepare import statistics
from losslab.data.prepare.audit import summarize_audit
from losslab.data.prepare.statistics import measure_overlap
from losslab.inference.predictor import restore_size
from tests.data.own_data import files_by_kind, make_folders, own_card, prepared_from, save

Labels = npt.NDArray[np.uint8]


def draw_vessels(seed: int, height: int = 146, width: int = 141) -> Labels:
    """Draw curved lines of one to three pixels, as vessels of a retina are."""
    generator, labels = np.random.default_rng(seed), np.zeros((height, width), np.uint8)
    for _ in range(8):
        places = np.cumsum(generator.normal(0, 6, (30, 2)), axis=0) + generator.uniform(20, 120, 2)
        cv2.polylines(labels, [places.astype(np.int32)], False, 1, int(generator.integers(1, 4)))
    return labels


def save_vessels(folder: Path, count: int = 6) -> None:
    for seed in range(count):
        labels = draw_vessels(seed)
        noise = np.random.default_rng(seed).integers(0, 256, (*labels.shape, 3), np.uint8)
        save(folder / f"raw/own/images/{seed}.png", noise)
        save(folder / f"raw/own/masks/{seed}.png", labels)


def weigh_by_torch(resized: Labels, height: int, width: int, size: int, fit: Fit) -> torch.Tensor:
    """Bring labels back as evaluation brings logits: those of a net that is sure of the resized truth."""
    _, padded = pad_pair(np.zeros((*resized.shape, 3), np.uint8), resized, size)
    logits = F.one_hot(torch.from_numpy(padded).long(), 256).permute(2, 0, 1)[None].float()
    return restore_size(logits, height, width, fit)[0]


def restore_by_torch(resized: Labels, height: int, width: int) -> Labels:
    weights = weigh_by_torch(resized, height, width, len(resized), "stretch")
    return weights.argmax(dim=0).numpy().astype(np.uint8)


@given(
    height=st.integers(5, 90),
    width=st.integers(5, 90),
    size=st.integers(4, 60),
    fit=st.sampled_from(["stretch", "letterbox"]),
    seed=st.integers(0, 99),
)
def test_labels_come_back_as_predictions_of_them_would(height: int, width: int, size: int, fit: Fit, seed: int) -> None:
    generator = np.random.default_rng(seed)
    coarse = generator.choice(np.array([0, 1, 2, 7, 255], np.uint8), (6, 6))
    stored = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
    resized = resize_labels(stored, size, fit)
    place = compute_placement(height, width, size, fit)
    assert resized.shape == (place.height, place.width)
    weights = weigh_by_torch(resized, height, width, size, fit).numpy()
    chosen = np.take_along_axis(weights, restore_labels(resized, height, width)[None].astype(int), axis=0)
    # Weights are whole numbers to 255 in prepare: of labels of equal weight it may choose another.
    assert (weights.max(axis=0) - chosen).max() < 2.5 / 255


@pytest.mark.parametrize("classes", [3, 40])
def test_pixels_are_counted_that_come_back_and_void_counts_nowhere(classes: int) -> None:
    blocks = np.array([[0, 1, 2], [1, 255, 1], [2, 2, 0]], np.uint8)
    stored = blocks.repeat(5, axis=0).repeat(5, axis=1)
    stored[7, 7], stored[0, 3] = 1, 255
    resized = resize_labels(stored, 7, "stretch")
    restored = restore_by_torch(resized, 15, 15)
    counted = (stored != 255) & (restored != 255)
    expected = [
        [int(((stored == label) & (restored == label) & counted).sum()) for label in range(classes)],
        [int((((stored == label) | (restored == label)) & counted).sum()) for label in range(classes)],
    ]
    assert measure_overlap(stored, resized, classes).tolist() == expected
    assert expected[0][1] < expected[1][1]


def test_pixels_of_the_largest_images_are_counted_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "MAX_CLASSES_APART", 0)
    stored = np.zeros((4097, 4097), np.uint8)  # more pixels of one class than a float32 can count
    stored[0, 0] = 1
    assert measure_overlap(stored, stored, 2).tolist() == [[4097 * 4097 - 1, 1]] * 2


def test_audit_states_the_iou_of_the_truth_over_all_images_that_are_used(tmp_path: Path) -> None:
    save_vessels(tmp_path)
    save(tmp_path / "raw/own/masks/5.png", np.full((146, 141), 4, np.uint8))  # a label that is not in the card
    audit, _ = prepared_from(tmp_path)
    kept, either = np.zeros(2, int), np.zeros(2, int)
    for seed in range(5):
        stored = draw_vessels(seed)
        restored = restore_by_torch(resize_labels(stored, 32, "stretch"), *stored.shape)
        for label in range(2):
            kept[label] += ((stored == label) & (restored == label)).sum()
            either[label] += ((stored == label) | (restored == label)).sum()
    assert list(audit["ceiling"]) == ["back", "front"]
    assert list(audit["ceiling"].values()) == pytest.approx((kept / either).tolist(), abs=2e-3)


def test_thin_class_is_a_warning_that_names_a_size_which_is_enough(tmp_path: Path) -> None:
    save_vessels(tmp_path)
    ceilings = {}
    for size in (16, 32, 64, 128):
        audit, _ = prepared_from(tmp_path, size=size)
        ceilings[size] = audit["ceiling"]["front"]
        assert (files_by_kind(audit).get("too fine for prepare.size") == ["front"]) == (ceilings[size] < 0.8)
    assert sorted(ceilings.values()) == list(ceilings.values()) and ceilings[64] < 0.8 < ceilings[128]
    audit, _ = prepared_from(tmp_path, size=64)
    (finding,) = [one for one in audit["findings"] if one["kind"] == "too fine for prepare.size"]
    assert finding["severity"] == "warning" and finding["detail"].startswith("IoU of the truth itself 0.")
    assert finding["detail"].endswith(f"; about {ceilings[128]:.3f} at prepare.size 128")
    lines = summarize_audit(audit)
    assert any(
        line.endswith(f"files' size: back {audit['ceiling']['back']:.3f}; front {ceilings[64]:.3f}") for line in lines
    )
    assert any(
        "too fine for prepare.size: front (IoU of" in line and "Remedy: raise prepare.size" in line for line in lines
    )


def test_class_of_which_nothing_is_left_scores_nothing(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    for path in (own / "masks").iterdir():
        labels = np.zeros((40, 60), np.uint8)
        labels[3, 3] = 1
        save(path, labels)
    audit, _ = prepared_from(tmp_path, size=8)
    assert audit["ceiling"]["front"] == 0 and files_by_kind(audit)["too fine for prepare.size"] == ["front"]


def test_nothing_is_said_where_no_image_was_resized(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    for path in own.glob("*/*"):
        pixels: Any = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), pixels[:32, :32])
    audit, _ = prepared_from(tmp_path)
    assert "ceiling" not in audit and not any("IoU" in line for line in summarize_audit(audit))


def test_class_that_no_file_holds_has_no_score(tmp_path: Path) -> None:
    make_folders(tmp_path)
    classes = [{"name": str(value), "color": [value] * 3, "values": [value]} for value in (0, 1, 2)]
    audit, _ = prepared_from(tmp_path, own_card(tmp_path, classes=classes))
    assert list(audit["ceiling"]) == ["0", "1"]
