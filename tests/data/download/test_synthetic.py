import hashlib
from pathlib import Path

import numpy as np
import pytest

from losslab.cards import GeneratorSource, read_card
from losslab.data.download.synthetic import HAIR, LESION, SKIN, RandomStream, draw_lesion, generate_dataset
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def drawn() -> list[tuple[np.ndarray, np.ndarray]]:
    return [draw_lesion(RandomStream(1, number), 128) for number in range(16)]


def test_same_bytes_on_every_machine(tmp_path: Path) -> None:
    """The sum was taken once; another numpy, OpenCV or processor must give it too."""
    generate_dataset(GeneratorSource(generator="lesions", seed=1, pixels=128, images={"train": 2, "val": 1}), tmp_path)
    files = sorted(path for path in tmp_path.rglob("*.bmp"))
    assert [str(path.relative_to(tmp_path)) for path in files][:2] == ["train/images/0000.bmp", "train/images/0001.bmp"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    assert digest == "b3be79e3dce976c5175191b4a0e34fd2dd9f9de4073461473938aa6ab3a3c1f2"


def test_image_depends_on_seed_and_number_only() -> None:
    image, _ = draw_lesion(RandomStream(1, 7), 64)
    assert np.array_equal(image, draw_lesion(RandomStream(1, 7), 64)[0])
    assert not np.array_equal(image, draw_lesion(RandomStream(1, 8), 64)[0])
    assert not np.array_equal(image, draw_lesion(RandomStream(2, 7), 64)[0])


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


def test_shipped_card_draws_160_40_40_images_of_128() -> None:
    source = read_card("synthetic_lesions", ROOT / "data/catalog").source
    assert isinstance(source, GeneratorSource)
    assert (source.images, source.pixels) == ({"train": 160, "val": 40, "test": 40}, 128)
