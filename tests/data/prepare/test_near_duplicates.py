from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from losslab.data.download.synthetic import RandomStream, draw_lesion
from losslab.data.images.decode import read_image
from losslab.data.prepare import near_duplicates
from losslab.data.prepare.near_duplicates import (
    MAX_PAIRS_LISTED,
    NearDuplicates,
    find_near_duplicates,
    shrink_image,
)


def picture(number: int) -> np.ndarray:
    return np.asarray(draw_lesion(RandomStream(7, number), 96)[0])


def changed(image: np.ndarray, how: str) -> np.ndarray:
    if how == "brighter":
        return np.asarray(np.clip(image.astype(int) + 20, 0, 255), np.uint8)
    if how == "noisy":
        grain = np.random.default_rng(0).normal(0, 6, image.shape)
        return np.asarray(np.clip(image + grain, 0, 255), np.uint8)
    return np.asarray(Image.fromarray(image).resize((48, 48)).resize((96, 96)))


def compare(images: list[np.ndarray], parts: list[int], digests: np.ndarray) -> NearDuplicates:
    thumbnails = np.stack([np.frombuffer(shrink_image(image), np.uint8) for image in images])
    return find_near_duplicates(thumbnails.__getitem__, parts, digests)


def list_pairs(images: list[np.ndarray], parts: list[int]) -> list[tuple[int, int]]:
    near = compare(images, parts, np.array([hash(image.tobytes()) for image in images]))
    assert near.count == len(near.pairs)
    return [(pair.first, pair.second) for pair in near.pairs]


@pytest.mark.parametrize("how", ["brighter", "noisy", "scaled"])
def test_the_same_scene_is_detected_across_splits_and_no_other(how: str) -> None:
    images = [picture(number) for number in range(12)]
    images.append(changed(images[4], how))
    assert list_pairs(images, [0] * 6 + [1] * 6 + [2]) == [(4, 12)]


def test_pairs_within_a_split_and_exact_copies_are_left_to_others() -> None:
    images = [picture(0), changed(picture(0), "noisy"), picture(1), picture(1)]
    assert list_pairs(images, [0, 0, 1, 2]) == []
    assert list_pairs(images, [0, 1, 1, 2]) == [(0, 1)]


def test_plain_images_whose_hash_is_noise_are_no_pair() -> None:
    plain = [np.full((64, 64, 3), value, np.uint8) for value in (10, 20, 30, 200)]
    gradient = np.linspace(0, 255, 64).astype(np.uint8)[:, None, None].repeat(64, axis=1).repeat(3, axis=2)
    assert list_pairs([*plain, gradient], [0, 1, 2, 0, 1]) == []


def test_frames_of_one_scene_are_counted_and_the_most_similar_listed() -> None:
    generator = np.random.default_rng(0)
    scene = picture(3).astype(int)
    frames = [np.clip(scene + generator.normal(0, 1 + n / 4, scene.shape), 0, 255).astype(np.uint8) for n in range(30)]
    others = [picture(number) for number in range(10, 40)]
    near = compare(frames + others, [0] * 15 + [1] * 15 + [2] * 30, np.arange(60))
    assert near.count == 225 and len(near.pairs) == MAX_PAIRS_LISTED
    values = [pair.correlation for pair in near.pairs]
    assert values == sorted(values, reverse=True) and values[0] <= 1
    assert all(pair.first < 15 <= pair.second < 30 for pair in near.pairs)


def draw_retina(generator: np.random.Generator) -> np.ndarray:
    """Draw a black surround, a lit disc with its optic disc at the left or the right, and vessels of its own."""
    rows, columns = np.mgrid[:96, :96] / 96 - 0.5
    left, right = (generator.normal(side, 0.02) for side in (-0.22, 0.22))
    disc = left if generator.random() < 0.5 else right
    light = 110 + generator.normal(0, 12) - 90 * (rows**2 + columns**2) + generator.normal(0, 20) * columns
    light = (light + 90 * np.exp(-((columns - disc) ** 2 + rows**2) / 0.0025)).astype(np.float32)
    for _ in range(6):
        steps = 0.02 * np.exp(1j * (generator.uniform(0, 6.3) + generator.normal(0, 0.2, 40).cumsum()))
        path = disc + steps.cumsum()
        points = np.stack([path.real, path.imag], axis=1) * 96 + 48
        cv2.polylines(light, [points.astype(np.int32)], False, 60.0, int(generator.integers(1, 3)))
    light += generator.normal(0, 3, light.shape)
    light[rows**2 + columns**2 > 0.21] = 0
    return np.repeat(np.clip(light, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("seed", range(3))
def test_views_taken_alike_are_no_pairs_and_copies_among_them_are(seed: int) -> None:
    generator = np.random.default_rng(seed)
    images = [draw_retina(generator) for _ in range(150)]
    thumbnails = np.stack([np.frombuffer(shrink_image(image), np.uint8) for image in images])
    apart = np.asarray(np.corrcoef(thumbnails))[np.triu_indices(150, 1)]
    assert np.median(apart) > 0.95  # whatever they show
    images += [changed(images[7 * number], how) for number, how in enumerate(("brighter", "noisy", "scaled"))]
    assert sorted(list_pairs(images, [0] * 150 + [1] * 3)) == [(0, 150), (7, 151), (14, 152)]
    parts = (np.arange(150) % 2).tolist()
    assert list_pairs(images[:150], parts) == []


PETS = Path("../shared/datasets/oxford_pet/images")


@pytest.mark.skipif(not PETS.is_dir(), reason=f"no {PETS}")
def test_the_six_pets_that_are_one_photograph_are_all_that_is_found() -> None:
    paths = sorted(PETS.glob("Abyssinian_*.jpg"))
    images = [cv2.resize(read_image(path).pixels, (128, 128), interpolation=cv2.INTER_AREA) for path in paths]
    near = compare(images, list(range(len(images))), np.arange(len(images)))
    found = {frozenset(int(paths[at].stem.split("_")[1]) for at in (pair.first, pair.second)) for pair in near.pairs}
    assert found == {frozenset(pair) for pair in ((11, 177), (122, 172), (151, 99), (24, 56), (40, 63), (5, 87))}


def test_more_images_than_a_block_are_all_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [picture(number) for number in range(13)]
    images += [changed(images[1], "noisy"), changed(images[12], "noisy"), changed(images[3], "brighter")]
    parts, digests = [0] * 8 + [1] * 5 + [1, 2, 2], np.arange(16)
    whole = compare(images, parts, digests)
    for name, value in (("BLOCK_IMAGES", 5), ("READ_IMAGES", 2), ("HASHES_AT_ONCE", 3)):
        monkeypatch.setattr(near_duplicates, name, value)
    assert compare(images, parts, digests) == whole
    assert sorted((pair.first, pair.second) for pair in whole.pairs) == [(1, 13), (3, 15), (12, 14)]


def test_pairs_that_are_equally_similar_are_listed_in_their_order() -> None:
    images = [picture(number) for number in range(20)]
    near = compare(images * 2, [0] * 20 + [1] * 20, np.arange(40))
    assert [(pair.first, pair.second) for pair in near.pairs[:20]] == [(number, number + 20) for number in range(20)]


def test_only_images_that_may_be_alike_are_read_twice() -> None:
    """Else time grows with the square of their number."""
    images = [picture(number) for number in range(12)] + [changed(picture(4), "noisy")]
    thumbnails = np.stack([np.frombuffer(shrink_image(image), np.uint8) for image in images])
    reads = list[int]()

    def read(numbers: np.ndarray) -> np.ndarray:
        reads.extend(numbers.tolist())
        return np.asarray(thumbnails[numbers])

    assert find_near_duplicates(read, [0] * 12 + [1], np.arange(13)).count == 1
    assert sorted(number for number in range(13) if reads.count(number) > 2) == [4, 12]
