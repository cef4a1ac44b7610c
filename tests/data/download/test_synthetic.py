import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from losslab.cards import GeneratorSource, read_card
from losslab.data.download.synthetic.dataset import DRAWERS, generate_dataset
from losslab.data.download.synthetic.lesions import HAIR, LESION, SKIN, draw_lesion
from losslab.data.download.synthetic.nuclei import draw_nuclei
from losslab.data.download.synthetic.road_scene import CLASSES, PEDESTRIAN, SIGN
from losslab.data.download.synthetic.roads import draw_road
from losslab.data.download.synthetic.stream import RandomStream
from losslab.data.download.synthetic.vessels import draw_vessels
from losslab.errors import InputError
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def drawn() -> list[tuple[np.ndarray, np.ndarray]]:
    return [draw_lesion(RandomStream(1, number), 128) for number in range(16)]


@pytest.mark.parametrize(
    ("generator", "difficulty", "expected"),
    [
        ("lesions", 0.5, "b3be79e3dce976c5175191b4a0e34fd2dd9f9de4073461473938aa6ab3a3c1f2"),
        ("overlapping_lesions", 0.5, "74b74587824a5f816da128ae0f74dca5eeb5f6faf9c84527228147bdd03b347e"),
        ("lesions", 0.9, "6d2ab295ab0469b64d72df7884cab181b2e777734d67d6a351e234082081c81c"),
        ("nuclei", 0.5, "5cc8ea0e6ed610fa3741db54378b0215a72a593096ad270f1739ad676d0c3e5c"),
        ("vessels", 0.5, "5e04b130e2bc952093fc63fee4abd5e839197bce659cfcbb06fb427462b05517"),
        ("roads", 0.5, "bab2f9b6485ec592aa8ea35761989b5fde4b36f8001f38329c44b6a2635d7777"),
    ],
)
def test_same_bytes_on_every_machine(tmp_path: Path, generator: Any, difficulty: float, expected: str) -> None:
    """The sums were taken once; another numpy, OpenCV or processor must give them too."""
    source = GeneratorSource(
        generator=generator, difficulty=difficulty, seed=1, pixels=128, images={"train": 2, "val": 1}
    )
    generate_dataset(source, tmp_path)
    files = sorted(path for path in tmp_path.rglob("*.bmp"))
    assert [str(path.relative_to(tmp_path)) for path in files][:2] == ["train/images/0000.bmp", "train/images/0001.bmp"]
    assert hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest() == expected


@pytest.mark.parametrize("generator", DRAWERS)
def test_image_depends_on_seed_and_number_only(generator: str) -> None:
    draw = DRAWERS[generator]
    image, _ = draw(RandomStream(1, 7), 64, 0.5)
    assert np.array_equal(image, draw(RandomStream(1, 7), 64, 0.5)[0])
    assert not np.array_equal(image, draw(RandomStream(1, 8), 64, 0.5)[0])
    assert not np.array_equal(image, draw(RandomStream(2, 7), 64, 0.5)[0])


@pytest.mark.parametrize("generator", DRAWERS)
def test_contrast_falls_with_the_difficulty(generator: str) -> None:
    """Contrast between the second class and what of the first is within 3 pixels of it."""
    contrasts = []
    for difficulty in (0.0, 0.5, 1.0):
        inside, around = [], []
        for number in range(4):
            image, mask = DRAWERS[generator](RandomStream(1, number), 96, difficulty)
            near = cv2.dilate((mask == 1).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
            inside.append(image[mask == 1])
            around.append(image[near & (mask == 0)])
        colours = (np.concatenate(each).mean(axis=0) for each in (inside, around))
        contrasts.append(np.abs(np.subtract(*colours)).sum())
    assert contrasts[0] > 1.1 * contrasts[1] > 1.21 * contrasts[2]


@pytest.mark.parametrize("generator", DRAWERS)
@pytest.mark.parametrize("pixels", [16, 200])
def test_any_size_can_be_drawn(generator: str, pixels: int) -> None:
    image, mask = DRAWERS[generator](RandomStream(1, 0), pixels, 1.0)
    assert (image.shape, mask.shape) == ((pixels, pixels, 3), (pixels, pixels))


def test_impossible_difficulty_is_refused(tmp_path: Path) -> None:
    card = (ROOT / "data/catalog/synthetic_faint_lesions.yaml").read_text(encoding="utf-8")
    for wrong in ("1.5", "-0.1", ".nan", "hard"):
        (tmp_path / "mine.yaml").write_text(card.replace("difficulty: 0.9", f"difficulty: {wrong}"), encoding="utf-8")
        with pytest.raises(InputError, match=r"^\S*mine\.yaml: source\.difficulty [^\n]*$"):
            read_card("mine", tmp_path)


def test_quarter_of_faint_images_has_no_lesion() -> None:
    empty = [not (draw_lesion(RandomStream(1, number), 32, 0.9)[1] == LESION).any() for number in range(120)]
    assert 0.18 < np.mean(empty) < 0.32


def test_nuclei_are_many_and_small() -> None:
    for number in range(4):
        _, mask = draw_nuclei(RandomStream(1, number), 128)
        count, _, boxes, _ = cv2.connectedComponentsWithStats(mask)
        assert 8 < count - 1 < 60
        assert np.median(boxes[1:, cv2.CC_STAT_AREA]) < 154  # a disc of radius 7


def test_vessels_are_thin_and_unbroken() -> None:
    for number in range(4):
        _, mask = draw_vessels(RandomStream(1, number), 128)
        areas = cv2.connectedComponentsWithStats(mask)[2][1:, cv2.CC_STAT_AREA]
        assert max(areas) > 0.97 * sum(areas)
        assert cv2.distanceTransform(mask, cv2.DIST_L2, 5)[mask > 0].mean() < 1.6


def test_road_classes_are_unequal_and_often_absent() -> None:
    masks = np.stack([draw_road(RandomStream(1, number), 128)[1] for number in range(20)])
    shares = np.bincount(masks.ravel(), minlength=len(CLASSES)) / masks.size
    assert len(shares) == len(CLASSES) and shares.min() > 0 and shares.max() > 100 * shares.min()
    for rare in (PEDESTRIAN, SIGN):
        assert 0.2 < (masks == rare).any(axis=(1, 2)).mean() < 0.8


def test_three_classes_badly_imbalanced(drawn: list[tuple[np.ndarray, np.ndarray]]) -> None:
    shares = np.bincount(np.concatenate([mask.ravel() for _, mask in drawn]), minlength=3) / (16 * 128 * 128)
    assert 0.7 < shares[SKIN] < 0.9
    assert 0.08 < shares[LESION] < 0.25
    assert 0.02 < shares[HAIR] < 0.07
    assert all(len(np.unique(mask)) == 3 for _, mask in drawn)


def test_hairs_are_one_or_two_pixels_wide(drawn: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """A square of 4 x 4 pixels of hair is a crossing, and rare."""
    for _, mask in drawn:
        hair = mask == HAIR
        squares = np.lib.stride_tricks.sliding_window_view(hair, (4, 4)).all(axis=(2, 3))
        assert squares.sum() < 0.03 * hair.sum()


def test_brightness_alone_does_not_tell_the_classes_apart(drawn: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """The best threshold pair on grey values, chosen on the images themselves, must stay far from solving the task."""
    best = 0.0
    grey = np.stack([image.mean(axis=2) for image, _ in drawn])
    masks = np.stack([mask for _, mask in drawn])
    for low in range(20, 120, 10):
        for high in range(low + 10, 200, 10):
            guess = np.where(grey < low, HAIR, np.where(grey < high, LESION, SKIN))
            overlap = [((guess == c) & (masks == c)).sum() / ((guess == c) | (masks == c)).sum() for c in range(3)]
            best = max(best, float(np.mean(overlap)))
    assert 0.3 < best < 0.75


@pytest.mark.parametrize("name", ["lesions", "overlapping", "faint_lesions", "nuclei", "vessels", "roads"])
def test_shipped_cards_draw_images_of_128(name: str) -> None:
    card = read_card(f"synthetic_{name}", ROOT / "data/catalog")
    assert isinstance(card.source, GeneratorSource)
    test = 40 if name in ("lesions", "overlapping") else 100
    assert (card.source.images, card.source.pixels) == ({"train": 160, "val": 40, "test": test}, 128)
    assert card.images == 200 + test


def test_card_of_roads_has_the_classes_that_are_drawn() -> None:
    assert tuple(one.name for one in read_card("synthetic_roads", ROOT / "data/catalog").classes) == CLASSES
