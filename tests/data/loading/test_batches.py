from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from losslab.data.loading.arrays import (
    ArrayRows,
    EvaluationDataset,
    ImageRow,
    OrderedBatchSampler,
    PreparedData,
    build_batch_loader,
    build_evaluation_loader,
)
from losslab.data.loading.augmentation import RECIPES_WITHOUT_VOID
from losslab.data.loading.batches import EpochBatchSampler, build_training_loader
from losslab.data.loading.crops import CropSampler
from losslab.data.loading.tiles import TileGrid, compute_starts
from losslab.errors import InputError

RECIPES = ["none", "flip", "seed_lab7", "affine", "strong"]


def load_batches(data: PreparedData, epoch: int, **changes: Any) -> list[torch.Tensor]:
    """Each batch as one row per sample: its pixels, then its labels."""
    options: dict[str, Any] = {"augmentation": "flip", "batch_size": 2, "workers": 0, "seed": 0} | changes
    loader = build_training_loader(data, **options)
    loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
    return [torch.cat([images.flatten(1), target.flatten(1)], dim=1) for images, target in loader]


def sample_crops(data: PreparedData) -> CropSampler:
    return CropSampler(data.rows("train", "masks"), 32, "balanced", None, seed=0)


@pytest.mark.parametrize(("augmentation", "crops"), [*((recipe, False) for recipe in RECIPES), ("flip", True)])
def test_samples_depend_on_seed_epoch_and_index_only(tiny_data: PreparedData, augmentation: str, crops: bool) -> None:
    how: dict[str, Any] = {"augmentation": augmentation, "crops": sample_crops(tiny_data) if crops else None}
    once = torch.cat(load_batches(tiny_data, 3, **how))
    for same in ({"workers": 1}, {"workers": 2}, {"batch_size": 3}):
        assert torch.equal(once, torch.cat(load_batches(tiny_data, 3, **how, **same)))
    assert not torch.equal(once, torch.cat(load_batches(tiny_data, 4, **how)))
    assert not torch.equal(once, torch.cat(load_batches(tiny_data, 3, **how, seed=1)))


def test_crops_are_parts_of_the_images_as_many_as_cover_them(tiny_data: PreparedData) -> None:
    samples = torch.cat(load_batches(tiny_data, 0, augmentation="none", crops=sample_crops(tiny_data))).numpy()
    assert len(samples) == 4 * len(tiny_data.names("train")) and samples.shape[1] == 32 * 32 * 4
    found = 0
    windows = [np.lib.stride_tricks.sliding_window_view(mask, (32, 32)) for mask in tiny_data.masks("train")]
    for sample in samples:
        image, mask = sample[: 3 * 32 * 32].reshape(32, 32, 3), sample[3 * 32 * 32 :].reshape(32, 32)
        for number, places in enumerate(windows):
            for top, left in np.argwhere((places == mask).all(axis=(2, 3))):
                whole = tiny_data.images("train")[number]
                found += np.array_equal(whole[top : top + 32, left : left + 32], image)
    assert found == len(samples)


def store_masks(folder: Path, masks: list[np.ndarray[Any, Any]]) -> ArrayRows:
    """Write masks of several sizes one behind the other, as prepare does."""
    np.save(folder / "masks.npy", np.concatenate([mask.ravel() for mask in masks]))
    return ArrayRows(folder / "masks.npy", [(mask.shape[0], mask.shape[1]) for mask in masks])


@given(data=st.data())
@settings(max_examples=30)
def test_crop_lies_within_the_image_and_holds_what_its_sampling_says(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    side, (height, width) = data.draw(st.integers(1, 12)), data.draw(st.tuples(st.integers(8, 14), st.integers(8, 14)))
    mask = np.full((height, width), data.draw(st.sampled_from([0, 255])), np.uint8)
    for label in (1, 2):
        places = st.tuples(st.integers(0, height - 1), st.integers(0, width - 1))
        for y, x in data.draw(st.lists(places, max_size=3)):
            mask[y, x] = label
    masks = store_masks(tmp_path_factory.mktemp("masks"), [np.zeros((5, 7), np.uint8), mask])
    for sampling in ("uniform", "foreground", "balanced"):
        crops, per_strip = (CropSampler(masks, side, sampling, 255, seed=0) for _ in range(2))
        with mock.patch("losslab.data.loading.crops.STRIP_PIXELS", 2 * width):
            in_strips = [per_strip.place(key // len(crops), key % len(crops)) for key in range(60)]
        assert in_strips == [crops.place(key // len(crops), key % len(crops)) for key in range(60)]
        held = []
        for image, top, left in in_strips[-40:]:
            assert 0 <= top <= max(height - side, 0) and 0 <= left <= max(width - side, 0)
            held.append(set(mask[top : top + side, left : left + side].ravel().tolist()) if image else None)
        own = [crop for crop in held if crop is not None]
        classes = set(mask.ravel().tolist()) - {255}
        if sampling == "balanced" and classes:
            assert all(crop & classes for crop in own)
        if sampling == "foreground" and classes - {0}:
            assert sum(bool(crop & {1, 2}) for crop in own) >= len(own) // 5


def test_each_class_is_as_often_the_centre_of_a_balanced_crop(tmp_path: Path) -> None:
    mask = np.zeros((200, 300), np.uint8)
    mask[10, 20], mask[150:170, 250:270] = 1, 2
    crops = CropSampler(store_masks(tmp_path, [mask]), 4, "balanced", 255, seed=0)
    assert len(crops) == 3750
    held = [mask[top : top + 4, left : left + 4] for _, top, left in map(crops.place, [0] * 300, range(300))]
    assert all(sum((crop == label).any() for crop in held) >= 80 for label in (1, 2))


def test_uniform_crops_lie_anywhere_and_avoid_void_alone(tmp_path: Path) -> None:
    mask = np.zeros((16, 16), np.uint8)
    crops = CropSampler(store_masks(tmp_path, [mask]), 8, "uniform", 255, seed=0)
    places = {crops.place(epoch, 0) for epoch in range(2000)}
    assert len({place[1:] for place in places}) == 9 * 9
    mask[:, 4:] = 255  # letterbox: bars that are void
    crops = CropSampler(store_masks(tmp_path, [mask]), 8, "uniform", 255, seed=0)
    lefts = [crops.place(epoch, 0)[2] for epoch in range(500)]
    assert sum(left >= 4 for left in lefts) <= 5


def test_windows_of_stored_images_are_those_of_the_arrays(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 65536, (*size, 5), np.uint16) for size in ((7, 90), (30, 20), (1, 1))]
    np.save(tmp_path / "images.npy", np.concatenate([image.reshape(-1, 5) for image in images]))
    rows = ArrayRows(tmp_path / "images.npy", [(image.shape[0], image.shape[1]) for image in images])
    for index, image in enumerate(images):
        for _ in range(20):
            top, left = (int(rng.integers(length)) for length in image.shape[:2])
            height, width = (
                int(rng.integers(1, length + 1)) for length in (image.shape[0] - top, image.shape[1] - left)
            )
            window = image[top : top + height, left : left + width]
            assert np.array_equal(rows.read_window(index, top, left, height, width), window)
            assert np.array_equal(ImageRow(rows, index).read(top, left, height, width), window)
            square = rows.read_square(index, top, left, 8, 3)
            part = image[top : top + 8, left : left + 8]
            assert np.array_equal(square[: part.shape[0], : part.shape[1]], part)
            assert (square[part.shape[0] :] == 3).all() and (square[:, part.shape[1] :] == 3).all()
    assert rows.dtype == np.uint16 and len(rows) == 3


@given(st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=4), st.integers(8, 40))
@settings(max_examples=40)
def test_tiles_cover_each_pixel_and_count_it_once(sizes: list[tuple[int, int]], side: int) -> None:
    grid = TileGrid(sizes, side)
    covered, counted = ([np.zeros(size, int) for size in sizes] for _ in range(2))
    for tile in grid:
        window = covered[tile.image][tile.top : tile.top + side, tile.left : tile.left + side]
        window += 1
        own = counted[tile.image][
            tile.top + tile.seen_rows : tile.top + side, tile.left + tile.seen_columns : tile.left + side
        ]
        own += 1
        assert window.size == min(side, sizes[tile.image][0]) * min(side, sizes[tile.image][1])
    assert all((pixels >= 1).all() for pixels in covered) and all((pixels == 1).all() for pixels in counted)
    for size in sizes:
        for length in size:
            starts = compute_starts(length, side)
            assert all(start + side - after >= side // 8 for start, after in pairwise(starts))


@pytest.mark.parametrize(("batch_size", "world"), [(2, 2), (4, 2), (6, 3), (4, 3)])
def test_processes_draw_together_what_one_draws_alone(tiny_data: PreparedData, batch_size: int, world: int) -> None:
    """Batch by batch; six images in batches of four leave two, of which a third process gets none."""
    alone = load_batches(tiny_data, 2, batch_size=batch_size, augmentation="strong")
    shares = [
        load_batches(tiny_data, 2, batch_size=batch_size, augmentation="strong", rank=rank, world=world)
        for rank in range(world)
    ]
    assert {len(share) for share in shares} == {len(alone)}
    for number, batch in enumerate(alone):
        dealt: list[Any] = [None] * len(batch)
        for rank in range(world):
            for place, sample in zip(range(rank, len(batch), world), shares[rank][number], strict=False):
                dealt[place] = sample
        assert torch.equal(torch.stack(dealt), batch)


def test_weights_of_the_shares_make_the_mean_over_samples(tiny_data: PreparedData) -> None:
    for world in (1, 2, 3):
        for number, size in enumerate((4, 2)):
            samplers = [
                build_training_loader(tiny_data, "none", 4, 0, 0, rank, world).batch_sampler for rank in range(world)
            ]
            weights = [sampler.compute_weight(number) for sampler in samplers]  # type: ignore[union-attr]
            counts = [len(range(rank, size, world)) for rank in range(world)]
            assert [weight * size / world for weight in weights] == pytest.approx(counts)


def test_flip_turns_image_and_mask_together_and_not_always(tiny_data: PreparedData) -> None:
    images, masks = tiny_data.images("train"), tiny_data.masks("train")
    known = {}
    for flipped in (False, True):
        for image, mask in zip(images, masks, strict=True):
            pair = (image[:, ::-1], mask[:, ::-1]) if flipped else (image, mask)
            known[b"".join(np.ascontiguousarray(part).tobytes() for part in pair)] = flipped
    turned = [
        known[sample.numpy().tobytes()] for epoch in range(4) for sample in torch.cat(load_batches(tiny_data, epoch))
    ]
    assert 6 <= sum(turned) <= 18


@pytest.mark.parametrize("augmentation", RECIPES)
def test_labels_stay_in_the_label_set_and_what_comes_in_is_void(tiny_data: PreparedData, augmentation: str) -> None:
    pixels = 64 * 64 * 3
    labels = torch.cat([torch.cat(load_batches(tiny_data, epoch, augmentation=augmentation)) for epoch in range(5)])
    border_labels = set(labels[:, pixels:].flatten().tolist())
    assert border_labels == ({0, 1, 2} if augmentation in RECIPES_WITHOUT_VOID else {0, 1, 2, 255})


@pytest.mark.parametrize("augmentation", ["flip", "affine"])
def test_image_and_mask_move_together(tmp_path: Path, augmentation: str, tiny_data: PreparedData) -> None:
    """An image that is bright where its mask is 1 is so after every transform, but for the seam that is interpolated."""
    data = tmp_path / "data"
    (data / "train").mkdir(parents=True)
    (data / "dataset.json").write_bytes((tiny_data.folder / "dataset.json").read_bytes())
    masks = np.zeros((8, 64, 64), np.uint8)
    masks[:, 10:40, 5:30] = 1
    np.save(data / "train/masks.npy", masks)
    np.save(data / "train/images.npy", np.repeat(masks[..., None] * np.uint8(200), 3, axis=3))
    for images, target in build_training_loader(PreparedData(data), augmentation, 8, 0, seed=0):
        known = target != 255
        agrees = ((images[..., 0] > 100) == (target == 1))[known]
        assert agrees.float().mean() > 0.97
        assert not torch.equal(target, torch.from_numpy(masks))


def test_last_batch_of_one_image_is_left_out_of_training(tiny_data: PreparedData) -> None:
    assert [len(batch) for batch in load_batches(tiny_data, 0, batch_size=5)] == [5]
    assert [len(batch) for batch in load_batches(tiny_data, 0, batch_size=4)] == [4, 2]
    assert [len(batch) for batch in load_batches(tiny_data, 0, batch_size=9)] == [6]


@pytest.mark.parametrize(
    ("count", "batch_size", "world", "fewest"),
    [(6, 3, 1, 3), (7, 3, 1, 3), (8, 3, 1, 2), (1, 3, 1, 1), (6, 4, 2, 1), (9, 4, 2, 2), (7, 4, 2, 1), (5, 6, 3, 1)],
)
def test_fewest_samples_of_a_process_in_a_step(count: int, batch_size: int, world: int, fewest: int) -> None:
    batches = [EpochBatchSampler(count, batch_size, 0, rank, world) for rank in range(world)]
    assert min(len(batch) for rank in batches for batch in rank) == fewest
    assert {rank.count_fewest() for rank in batches} == {fewest}


def test_every_image_is_drawn_once_in_an_epoch(tiny_data: PreparedData) -> None:
    drawn = {sample.numpy().tobytes() for sample in torch.cat(load_batches(tiny_data, 1, augmentation="none"))}
    assert len(drawn) == 6


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_evaluate_every_batch_once_and_equally_many(tiny_data: PreparedData, world: int) -> None:
    alone = [images for images, _ in build_evaluation_loader(tiny_data, "test", 1)]
    counted: dict[int, torch.Tensor] = {}
    for rank in range(world):
        loader = build_evaluation_loader(tiny_data, "test", 1, rank, world)
        mine = [images for images, _ in loader]
        assert len(mine) == len(loader) == -(-len(alone) // world)
        counted |= {rank + position * world: images for position, images in enumerate(mine)}
    assert all(torch.equal(counted[number], images) for number, images in enumerate(alone))


def test_rows_are_those_of_the_array(tiny_data: PreparedData) -> None:
    rows = tiny_data.rows("train", "images")
    assert len(rows) == 6
    assert np.array_equal(rows.read([4, 0, 4]), tiny_data.images("train")[[4, 0, 4]])


def test_array_that_is_cut_off_is_reported(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((4, 8, 8, 3), np.uint8))
    content = (tmp_path / "images.npy").read_bytes()
    (tmp_path / "images.npy").write_bytes(content[:-100])
    with pytest.raises(InputError, match=r"images.npy: shorter than its header says; run dvc repro prepare"):
        ArrayRows(tmp_path / "images.npy").read([3])


def test_workers_send_batches_where_shared_memory_is_full(
    tiny_data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is that of a thread in the worker: without another way training would wait for ever."""

    def fail(*_: object) -> None:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr("torch.UntypedStorage._share_fd_cpu_", fail)
    dataset = EvaluationDataset(tiny_data, "train")
    here, sent = (build_batch_loader(dataset, OrderedBatchSampler(6, 2), workers) for workers in (0, 1))
    sent.timeout = 60
    for expected, batch in zip(here, sent, strict=True):
        assert all(torch.equal(*pair) for pair in zip(expected, batch, strict=True))
