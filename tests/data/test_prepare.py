from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from losslab.data.cards import Card, read_card
from losslab.data.prepare import prepare
from losslab.data.prepared import Prepared
from losslab.data.readers import Sample, read_layout
from losslab.data.splits import split_samples
from losslab.errors import InputError
from losslab.files import read_csv
from losslab.params import Split
from tests.conftest import ROOT, SHARED, TINY_CARD

OFFICIAL = Split(method="official", val=0.25, test=0.25, seed=0)
RANDOM = Split(method="random", val=0.25, test=0.25, seed=0)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Eight images of 40 x 60 with masks of 0, 1 and void 9, in folders of their own."""
    generator = np.random.default_rng(0)
    for number in range(8):
        save(tmp_path / f"raw/images/im{number}.png", generator.integers(0, 256, (40, 60, 3), np.uint8))
        save(tmp_path / f"raw/masks/im{number}.png", generator.choice(np.array([0, 1, 9], np.uint8), (40, 60)))
    return tmp_path / "raw"


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def own_card(folder: Path, **changes: Any) -> Card:
    classes = [
        {"name": "back", "color": [0, 0, 0], "values": [0]},
        {"name": "front", "color": [9, 9, 9], "values": [1]},
    ]
    content = TINY_CARD | {"source": {"folder": None}, "layout": "folders", "classes": classes, "void": [9]} | changes
    (folder / "own.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return read_card("own", folder)


def test_arrays_index_and_description_agree(folders: Path, tmp_path: Path) -> None:
    audit = prepare(own_card(tmp_path), folders, 32, RANDOM, tmp_path / "out")
    prepared = Prepared(tmp_path / "out")
    assert audit["images"] == prepared.describe()["images"] == {"train": 4, "val": 2, "test": 2}
    for split in ("train", "val", "test"):
        images, masks = prepared.images(split), prepared.masks(split)
        assert isinstance(images, np.memmap) and images.dtype == masks.dtype == np.uint8
        assert images.shape == (len(prepared.names(split)), 32, 32, 3)
        assert set(np.unique(masks)) <= {0, 1, 255}
        counts = np.bincount(masks.ravel(), minlength=2)[:2].tolist()
        assert prepared.describe()["pixels"][split] == counts
        having = [sum(int((mask != 255).sum()) for mask in masks if (mask == c).any()) for c in range(len(counts))]
        assert prepared.describe()["pixels_where_present"][split] == having
    assert prepared.describe()["ignore_index"] == 255
    mean, std = prepared.describe()["mean"], prepared.describe()["std"]
    train = prepared.images("train").reshape(-1, 3) / 255
    assert mean == pytest.approx(train.mean(axis=0), abs=1e-6)
    assert std == pytest.approx(train.std(axis=0), abs=1e-6)
    rows = read_csv(tmp_path / "out/index.csv")
    assert {row["image"] for row in rows} == {f"im{number}" for number in range(8)}
    assert (rows[0]["width"], rows[0]["height"]) == ("60", "40")


def test_images_shrink_by_area_and_masks_take_the_nearest(folders: Path, tmp_path: Path) -> None:
    prepare(own_card(tmp_path), folders, 32, RANDOM, tmp_path / "out")
    prepared = Prepared(tmp_path / "out")
    name = prepared.names("train")[0]
    image = np.asarray(Image.open(folders / f"images/{name}.png"))
    assert np.array_equal(prepared.images("train")[0], cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA))
    mask = np.asarray(Image.open(folders / f"masks/{name}.png"))
    rows, columns = ((np.arange(32) + 0.5) * 40 / 32).astype(int), ((np.arange(32) + 0.5) * 60 / 32).astype(int)
    assert np.array_equal(prepared.masks("train")[0], np.where(mask == 9, 255, mask)[rows][:, columns])


def test_junk_is_passed_over_and_counted(folders: Path, tmp_path: Path) -> None:
    (folders / "images/notes.mat").write_bytes(b"x")
    (folders / "images/._im1.png").write_bytes(b"x")
    (folders / "images/broken.png").write_bytes(b"no image")
    (folders / "masks/broken.png").write_bytes((folders / "masks/im0.png").read_bytes())
    save(folders / "images/alone.png", np.zeros((4, 4, 3), np.uint8))
    save(folders / "masks/lonely.png", np.zeros((4, 4), np.uint8))
    save(folders / "images/small.png", np.zeros((4, 4, 3), np.uint8))
    save(folders / "masks/small.png", np.zeros((5, 4), np.uint8))
    save(folders / "images/colour.png", np.zeros((4, 4, 3), np.uint8))
    save(folders / "masks/colour.png", np.zeros((4, 4, 3), np.uint8))
    audit = prepare(own_card(tmp_path), folders, 32, RANDOM, tmp_path / "out")
    assert {reason: found["examples"] for reason, found in audit["skipped"].items()} == {
        "not an image": ["images/notes.mat"],
        "hidden file": ["images/._im1.png"],
        "image that cannot be decoded": ["broken"],
        "image without a mask": ["images/alone.png"],
        "mask without an image": ["masks/lonely.png"],
        "mask and image of different size": ["small"],
        "mask that is not one 8-bit channel": ["colour"],
    }
    prepared = Prepared(tmp_path / "out")
    assert sum(audit["images"].values()) == 8
    for split in ("train", "val", "test"):
        assert len(prepared.images(split)) == len(prepared.masks(split)) == len(prepared.names(split))


def test_images_are_read_whatever_their_name_says(folders: Path, tmp_path: Path) -> None:
    red = Image.new("RGB", (60, 40), (200, 30, 30))
    red.convert("P").save(folders / "images/im0.png", format="GIF")
    red.convert("CMYK").save(folders / "images/im1.png", format="JPEG")
    red.convert("P").save(folders / "images/im2.png")
    red.convert("L").save(folders / "images/im3.png")
    red.convert("RGBA").save(folders / "images/im4.png")
    prepare(own_card(tmp_path), folders, 32, RANDOM, tmp_path / "out")
    prepared = Prepared(tmp_path / "out")
    for split in ("train", "val", "test"):
        for index, name in enumerate(prepared.names(split)):
            if name in ("im0", "im1", "im2", "im4"):
                assert np.abs(prepared.images(split)[index].mean(axis=(0, 1)) - (200, 30, 30)).max() < 12, name


def test_palette_and_one_bit_masks_are_read_as_numbers(folders: Path, tmp_path: Path) -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[:20] = 1
    palette = Image.fromarray(labels)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.save(folders / "masks/im0.png")
    Image.fromarray(labels.astype(bool)).save(folders / "masks/im1.png")
    prepare(own_card(tmp_path), folders, 32, RANDOM, tmp_path / "out")
    prepared = Prepared(tmp_path / "out")
    for split in ("train", "val", "test"):
        for index, name in enumerate(prepared.names(split)):
            if name in ("im0", "im1"):
                assert prepared.masks(split)[index].mean() == 0.5


def test_unexplained_mask_value_is_an_error_that_names_file_and_values(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"im\d.png: holds the values \[9\]; the dataset's card explains \[0, 1\]"):
        prepare(own_card(tmp_path, void=[]), folders, 32, RANDOM, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


def test_duplicates_across_splits_are_found(folders: Path, tmp_path: Path) -> None:
    for number in range(1, 8):
        (folders / f"images/im{number}.png").write_bytes((folders / "images/im0.png").read_bytes())
    audit = prepare(own_card(tmp_path), folders, 32, RANDOM, tmp_path / "out")
    assert (audit["duplicates"]["groups"], audit["duplicates"]["across_splits"]) == (1, 1)


def test_names_that_repeat_between_folders_stay_apart(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "val", "test")):
        for name in ("000", "001"):
            save(tmp_path / f"raw/{split}/images/{name}.png", np.full((40, 40, 3), 50 * number, np.uint8))
            save(tmp_path / f"raw/{split}/masks/{name}.png", np.full((40, 40), number % 2, np.uint8))
    audit = prepare(own_card(tmp_path, layout="split_folders"), tmp_path / "raw", 32, RANDOM, tmp_path / "out")
    names = [row["image"] for row in read_csv(tmp_path / "out/index.csv")]
    assert sorted(names) == ["test/000", "test/001", "train/000", "train/001", "val/000", "val/001"]
    assert sum(audit["images"].values()) == 6


def test_split_of_void_alone_is_an_error(folders: Path, tmp_path: Path) -> None:
    for path in (folders / "masks").iterdir():
        save(path, np.full((40, 60), 9, np.uint8))
    with pytest.raises(InputError, match=r"all 4 images for train are void; the card's void values are \[9\]"):
        prepare(own_card(tmp_path), folders, 32, RANDOM, tmp_path / "out")


def test_dataset_without_lists_needs_a_random_split(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no official split: use random"):
        prepare(own_card(tmp_path), folders, 32, OFFICIAL, tmp_path / "out")


def samples(count: int, official: Any = None) -> list[Sample]:
    return [Sample(f"im{number:03}", Path("i"), Path("m"), official) for number in range(count)]


def test_random_split_depends_on_names_and_its_seed_only() -> None:
    dealt = split_samples(samples(100), RANDOM)
    assert {name: len(part) for name, part in dealt.items()} == {"train": 50, "val": 25, "test": 25}
    assert split_samples(samples(100)[::-1], RANDOM) == dealt
    assert split_samples(samples(100), RANDOM.model_copy(update={"seed": 1})) != dealt
    assert [sample.name for sample in dealt["val"]][:3] == ["im004", "im006", "im007"]


def test_official_split_is_kept_and_val_drawn_from_train() -> None:
    given = samples(20, "train") + [Sample(f"t{n}", Path("i"), Path("m"), "test") for n in range(5)] + samples(2)
    dealt = split_samples(given, OFFICIAL)
    assert {name: len(part) for name, part in dealt.items()} == {"train": 15, "val": 5, "test": 5}
    assert {sample.name for sample in dealt["test"]} == {f"t{n}" for n in range(5)}


def test_split_without_an_image_is_an_error() -> None:
    with pytest.raises(InputError, match="leaves no image for train; there are 2 in all"):
        split_samples(samples(2), RANDOM)


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared is not there")
def test_real_pet_folder_is_read_and_its_junk_counted() -> None:
    listing = read_layout("oxford_pet", SHARED / "datasets/oxford_pet")
    assert Counter(sample.split for sample in listing.samples) == {"train": 300, "test": 298, None: 2}
    assert len(listing.skipped["not an image"]) == 3


def test_pet_layout_pairs_lists_and_trimaps(tmp_path: Path) -> None:
    for name in ("cat_1", "cat_2", "cat_3", "dog_1"):
        save(tmp_path / f"raw/images/{name}.jpg", np.full((40, 40, 3), 90, np.uint8))
        save(tmp_path / f"raw/annotations/trimaps/{name}.png", np.full((40, 40), 1, np.uint8))
    (tmp_path / "raw/images/cat_1.mat").write_bytes(b"x")
    (tmp_path / "raw/annotations/trimaps/._cat_1.png").write_bytes(b"x")
    (tmp_path / "raw/annotations/trainval.txt").write_text("#Image\ncat_1 1 1 1\ncat_2 1 1 1\ncat_9 1 1 1\n")
    (tmp_path / "raw/annotations/test.txt").write_text("cat_3 1 1 1\n")
    card = read_card("oxford_pet", ROOT / "data/catalog")
    audit = prepare(card, tmp_path / "raw", 32, OFFICIAL, tmp_path / "out")
    assert audit["images"] == {"train": 1, "val": 1, "test": 1}
    assert {reason: found["examples"] for reason, found in audit["skipped"].items()} == {
        "hidden file": ["annotations/trimaps/._cat_1.png"],
        "not an image": ["images/cat_1.mat"],
        "in no official list": ["dog_1"],
        "listed, but not on disk": ["cat_9"],
    }
