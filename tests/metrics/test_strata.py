import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, label

from losslab.metrics.strata import BORDER_LIMITS_PX, OBJECT_LIMITS, SIZE_LIMITS, StratifiedErrors, compute_border_strata


def count(prediction: torch.Tensor, target: torch.Tensor, ignore: int | None = None) -> dict[str, dict[str, list[int]]]:
    """Count class 1: {by: {stratum: counts}}."""
    metric = StratifiedErrors(2, ignore)
    metric.update(prediction, target)
    names = {"sizes": SIZE_LIMITS, "counts": OBJECT_LIMITS, "borders": BORDER_LIMITS_PX}
    return {by: dict(zip(names[by], counts[1].tolist(), strict=True)) for by, counts in metric.compute().items()}


def test_objects_are_sorted_by_their_share_of_the_image() -> None:
    target = torch.zeros(1, 40, 50, dtype=torch.int64)
    target[0, 0, 0] = 1  # 1 of 2000 pixels: tiny
    target[0, 5, 5:7] = 1  # 2: 0.1 % is small
    target[0, 10:30, 10:30] = 1  # 400: large
    target[0, 7, 7:10] = 1  # 3: small
    prediction = target.clone()
    prediction[0, 0, 0] = prediction[0, 5, 5] = 0
    prediction[0, 10:20, 10:30] = 0
    result = count(prediction, target)["sizes"]
    # objects, images, pixels, found
    assert result == {"tiny": [1, 1, 1, 0], "small": [2, 1, 5, 4], "medium": [0] * 4, "large": [1, 1, 400, 200]}


def test_void_is_no_part_of_the_image() -> None:
    target = torch.full((1, 40, 50), 255)
    target[0, :, :10] = 0
    target[0, 3, 3] = 1  # 1 of 400: small
    result = count(torch.zeros(1, 40, 50, dtype=torch.int64), target, ignore=255)["sizes"]
    assert result["small"] == [1, 1, 1, 0] and result["tiny"] == [0] * 4


def test_images_are_sorted_by_their_number_of_objects() -> None:
    target = torch.zeros(4, 10, 30, dtype=torch.int64)
    target[1, 2, 2] = 1
    for index, objects in ((2, 3), (3, 9)):
        target[index, 4, 1 : 1 + 3 * objects : 3] = 1
    prediction = target.clone()
    prediction[0, 0, :5] = 1
    prediction[3] = 0
    result = count(prediction, target)["counts"]
    # objects, images, pixels, found, union
    assert result == {
        "0": [0, 1, 0, 0, 5],
        "1": [1, 1, 1, 1, 1],
        "2-3": [3, 1, 3, 3, 3],
        "4-7": [0] * 5,
        "8+": [9, 1, 9, 0, 9],
    }


def test_parts_that_touch_at_a_corner_are_one_object() -> None:
    target = torch.zeros(1, 10, 10, dtype=torch.int64)
    target[0, 2, 2] = target[0, 3, 3] = 1
    assert count(target, target)["counts"]["1"] == [1, 1, 2, 2, 2]


def test_pixels_are_sorted_by_distance_to_the_other_class() -> None:
    target = torch.zeros(1, 4, 60, dtype=torch.int64)
    target[..., 30:] = 1
    prediction = target.clone()
    prediction[..., 30:33] = 0
    result = count(prediction, target)["borders"]
    # pixels, wrong
    columns = {"1": [1, 1], "2": [1, 1], "3-4": [2, 1], "5-8": [4, 0], "9-16": [8, 0], ">16": [14, 0]}
    assert result == {stratum: [4 * pixels, 4 * wrong] for stratum, (pixels, wrong) in columns.items()}


def test_border_strata_are_exact(rng: np.random.Generator) -> None:
    """The reference is one more than the distance to the nearest pixel that has a neighbour of another class."""
    small = rng.integers(0, 3, (6, 8), dtype=np.uint8)
    truth = np.asarray(np.kron(small > 0, np.ones((21, 21))), np.uint8)
    touches = np.zeros(truth.shape, bool)
    for axis in (0, 1):
        for step in (1, -1):
            differs = truth != np.roll(truth, step, axis)
            np.moveaxis(differs, axis, 0)[0 if step == 1 else -1] = False
            touches |= differs
    distance = distance_transform_edt(~touches) + 1
    expected = np.searchsorted(list(BORDER_LIMITS_PX.values()), distance)
    assert np.unique(expected).tolist() == [0, 1, 2, 3, 4, 5]
    assert np.array_equal(compute_border_strata(truth), expected)


def test_border_within_void_is_in_its_middle() -> None:
    truth = np.zeros((3, 20), np.uint8)
    truth[:, 8:12], truth[:, 12:] = 255, 1
    assert compute_border_strata(truth)[1].tolist() == [4, 4, 3, 3, 3, 3, 2, 2, 1, 0, 0, 1, 2, 2, 3, 3, 3, 3, 4, 4]


def test_one_class_alone_has_no_border() -> None:
    for truth in (np.ones((5, 5), np.uint8), np.full((5, 5), 255, np.uint8)):
        assert (compute_border_strata(truth) == len(BORDER_LIMITS_PX) - 1).all()


def test_objects_and_pixels_add_up(rng: np.random.Generator) -> None:
    target = torch.from_numpy(rng.integers(0, 2, (3, 20, 20)))
    prediction = torch.from_numpy(rng.integers(0, 2, (3, 20, 20)))
    result = count(prediction, target)
    objects = sum(label(mask.numpy(), np.ones((3, 3)))[1] for mask in target)
    pixels, hit = int(target.sum()), int((target & prediction).sum())
    for by in ("sizes", "counts"):
        sums = np.sum([counts[:4] for counts in result[by].values()], axis=0)
        assert [sums[0], sums[2], sums[3]] == [objects, pixels, hit]
    assert np.sum(list(result["borders"].values()), axis=0).tolist() == [pixels, pixels - hit]
