import numpy as np
import pytest
from PIL import Image

from losslab.data.download.synthetic import RandomStream, draw_lesion
from losslab.data.prepare.near_duplicates import (
    MAX_PAIRS_LISTED,
    NearDuplicates,
    compute_fingerprint,
    find_near_duplicates,
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
    fingerprints = [compute_fingerprint(image) for image in images]
    thumbnails = np.stack([np.frombuffer(one.thumbnail, np.uint8) for one in fingerprints])
    bits = np.array([one.bits for one in fingerprints], np.uint64)
    return find_near_duplicates(bits, thumbnails.__getitem__, parts, digests)


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


def test_frames_of_one_scene_are_counted_and_the_most_similar_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    scene = picture(3).astype(int)
    frames = [np.clip(scene + generator.normal(0, 1 + n / 4, scene.shape), 0, 255).astype(np.uint8) for n in range(30)]
    parts, digests = [0] * 15 + [1] * 15, np.arange(30)
    gathered = compare(frames, parts, digests)
    assert gathered.count == 225 and len(gathered.pairs) == MAX_PAIRS_LISTED
    values = [pair.correlation for pair in gathered.pairs]
    assert values == sorted(values, reverse=True)
    first, second = (
        np.frombuffer(compute_fingerprint(frames[index]).thumbnail, np.uint8).astype(float) for index in (0, 15)
    )
    (one,) = compare([frames[0], frames[15]], [0, 1], np.arange(2)).pairs
    assert one.correlation == round(float(np.corrcoef(first, second)[0, 1]), 3)
    monkeypatch.setattr("losslab.data.prepare.near_duplicates.MAX_GATHERED_PAIRS", 10)
    assert compare(frames, parts, digests) == gathered


def test_more_images_than_a_block_are_all_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("losslab.data.prepare.near_duplicates.BLOCK_IMAGES", 5)
    images = [picture(number) for number in range(13)]
    images += [changed(images[1], "noisy"), changed(images[12], "noisy")]
    assert sorted(list_pairs(images, [0] * 13 + [1, 2])) == [(1, 13), (12, 14)]
