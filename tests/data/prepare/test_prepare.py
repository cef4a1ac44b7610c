"""The prepare stage, from a folder of images and masks to arrays: sizes, readers of real folders, and the same bytes every time."""

import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from losslab.cards import read_card
from losslab.data.images.class_masks import build_label_reader
from losslab.data.images.labels import LabelMapping
from losslab.data.prepare.prepare import prepare
from losslab.data.readers import read_layout
from losslab.errors import InputError
from losslab.io.files import read_csv
from losslab.io.hashing import compute_folder_md5
from tests.conftest import ROOT, SHARED
from tests.data.own_data import files_by_kind, find_pixels, how, make_folders, own_card, prepared_from, save

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared is not there")


def test_arrays_index_and_description_agree(tmp_path: Path) -> None:
    make_folders(tmp_path)
    audit, prepared = prepared_from(tmp_path)
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
    assert list(rows[0]) == ["split", "index", "image", "width", "height"] and prepared.groups("test") is None
    assert (rows[0]["width"], rows[0]["height"]) == ("60", "40")
    assert not list((tmp_path / "out").glob("*.spool"))


def test_images_shrink_by_area_and_masks_take_the_nearest(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    _, prepared = prepared_from(tmp_path)
    image, mask = (np.asarray(Image.open(own / f"{kind}/im0.png")) for kind in ("images", "masks"))
    small, labels = find_pixels(prepared, "im0")
    assert np.array_equal(small, cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA))
    rows, columns = ((np.arange(32) + 0.5) * 40 / 32).astype(int), ((np.arange(32) + 0.5) * 60 / 32).astype(int)
    assert np.array_equal(labels, np.where(mask == 9, 255, mask)[rows][:, columns])


def test_letterbox_keeps_the_shape_and_pads_with_void(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    _, stretched = prepared_from(tmp_path)
    audit, prepared = prepared_from(tmp_path, fit="letterbox")
    image, mask = find_pixels(prepared, "im0")
    height = round(40 * 32 / 60)
    top = (32 - height) // 2
    outside = np.r_[0:top, top + height : 32]
    assert (mask[outside] == 255).all() and (image[outside] == 0).all()
    stored = np.asarray(Image.open(own / "images/im0.png"))
    inside = image[top : top + height]
    assert np.array_equal(inside, cv2.resize(stored, (32, height), interpolation=cv2.INTER_AREA))
    # What is painted on is no part of the data: the colours' mean and the shares do not change with it.
    assert prepared.describe()["mean"] == pytest.approx(stretched.describe()["mean"], abs=0.01)
    assert audit["coverage"]["train"]["void"]["share"] < 0.5


def test_letterbox_has_an_ignore_index_though_the_card_has_no_void(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    for path in (own / "masks").iterdir():
        save(path, np.asarray(Image.open(path)) % 2)
    card = own_card(tmp_path, void=[])
    assert prepared_from(tmp_path, card)[1].describe()["ignore_index"] is None
    assert prepared_from(tmp_path, card, fit="letterbox")[1].describe()["ignore_index"] == 255


def test_bytes_depend_neither_on_the_number_of_workers_nor_on_the_run(tmp_path: Path) -> None:
    make_folders(tmp_path, 20)
    card = own_card(tmp_path)
    md5s = set()
    for workers in (1, 3, 8):
        prepare(card, tmp_path / "raw", how(), tmp_path / "out", workers)
        md5s.add(compute_folder_md5(tmp_path / "out"))
    assert len(md5s) == 1


def test_limit_prepares_no_more_images(tmp_path: Path) -> None:
    make_folders(tmp_path)
    audit, _ = prepared_from(tmp_path, limit=5)
    assert sum(audit["images"].values()) == 5 and min(audit["images"].values()) >= 1


def test_suffix_of_masks_is_taken_off(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    for path in list((own / "masks").iterdir()):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    with pytest.raises(
        InputError, match=r"no image with a mask in the layout folders; skipped: images/im0\.png \(image without a mask"
    ):
        prepared_from(tmp_path)
    audit, _ = prepared_from(tmp_path, own_card(tmp_path, mask_suffix="_mask"))
    assert sum(audit["images"].values()) == 8


def test_colour_coded_masks_are_mapped_by_colour(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    colours = np.array([[0, 0, 0], [200, 0, 10], [255, 255, 255]], np.uint8)
    numbers = {0: 0, 1: 1, 9: 2}
    for path in (own / "masks").iterdir():
        values = np.asarray(Image.open(path))
        save(path, colours[np.vectorize(numbers.__getitem__)(values)])
    _, as_numbers = prepared_from(make_numbers(tmp_path / "numbers"))
    classes = [
        {"name": "back", "color": [0, 0, 0], "values": [[0, 0, 0]]},
        {"name": "front", "color": [9, 9, 9], "values": [[200, 0, 10]]},
    ]
    _, prepared = prepared_from(tmp_path, own_card(tmp_path, classes=classes, void=[[255, 255, 255]]))
    for split in ("train", "val", "test"):
        assert np.array_equal(prepared.masks(split), as_numbers.masks(split))


def test_nonzero_is_every_value_that_the_card_does_not_name(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    for number, path in enumerate((own / "masks").iterdir()):
        values = np.asarray(Image.open(path)).astype(np.uint16)
        save(path, np.where(values == 1, 700 + number, values).astype(np.uint16))
    _, as_numbers = prepared_from(make_numbers(tmp_path / "numbers"))
    classes = [
        {"name": "back", "color": [0, 0, 0], "values": [0]},
        {"name": "front", "color": [9, 9, 9], "values": ["nonzero"]},
    ]
    _, prepared = prepared_from(tmp_path, own_card(tmp_path, classes=classes), audit="strict")
    for split in ("train", "val", "test"):
        assert np.array_equal(prepared.masks(split), as_numbers.masks(split))


def test_nonzero_colours_are_all_but_black_and_void(tmp_path: Path) -> None:
    classes = [
        {"name": "back", "color": [0, 0, 0], "values": [[0, 0, 0]]},
        {"name": "front", "color": [9, 9, 9], "values": ["nonzero"]},
    ]
    mapping = build_label_reader(own_card(tmp_path, classes=classes, void=[[255, 255, 255]]))
    assert isinstance(mapping, LabelMapping)
    colours = np.array([[[0, 0, 0], [0, 0, 1], [255, 255, 255], [255, 255, 254]]], np.uint8)
    assert mapping.map_values(colours).tolist() == [[0, 1, 255, 1]]


def make_numbers(folder: Path) -> Path:
    make_folders(folder)
    return folder


def test_names_that_repeat_between_folders_stay_apart(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for name in ("000", "001"):
            save(tmp_path / f"raw/own/{split}/images/{name}.png", generator.integers(0, 256, (40, 40, 3), np.uint8))
            save(tmp_path / f"raw/own/{split}/masks/{name}.png", generator.integers(0, 2, (40, 40), np.uint8))
    audit, _ = prepared_from(tmp_path, own_card(tmp_path, layout="split_folders"))
    names = [row["image"] for row in read_csv(tmp_path / "out/index.csv")]
    assert sorted(names) == ["test/000", "test/001", "train/000", "train/001", "val/000", "val/001"]
    assert sum(audit["images"].values()) == 6


def test_pet_layout_pairs_lists_and_trimaps(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    fetched = tmp_path / "raw/fetched"
    for name in ("cat_1", "cat_2", "cat_3", "dog_1"):
        save(fetched / f"images/{name}.jpg", generator.integers(0, 256, (40, 40, 3), np.uint8))
        save(
            fetched / f"annotations/trimaps/{name}.png",
            np.repeat(np.arange(1, 5, dtype=np.uint8) % 3 + 1, 400).reshape(40, 40),
        )
    (fetched / "images/cat_1.mat").write_bytes(b"x")
    (fetched / "annotations/trimaps/._cat_1.png").write_bytes(b"x")
    (fetched / "annotations/trainval.txt").write_text("#Image\ncat_1 1 1 1\ncat_2 1 1 1\ncat_9 1 1 1\n")
    (fetched / "annotations/test.txt").write_text("cat_3 1 1 1\n")
    card = read_card("oxford_pet", ROOT / "data/catalog")
    audit, _ = prepared_from(tmp_path, card, method="official")
    assert audit["images"] == {"train": 1, "val": 1, "test": 1}
    assert files_by_kind(audit) == {
        "hidden file": ["annotations/trimaps/._cat_1.png"],
        "not an image": ["images/cat_1.mat"],
        "in no official list": ["dog_1"],
        "listed, but not on disk": ["cat_9"],
        "fewer images than published": ["Oxford-IIIT Pet"],
    }


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize(
    ("layout", "image", "mask"),
    [
        ("folders", "images/{}.png", "masks/{}_fläche.png"),
        ("split_folders", "train/images/{}.png", "train/masks/{}_fläche.png"),
        ("oxford_pet", "images/{}.png", "annotations/trimaps/{}.png"),
        ("camvid", "train/{}.png", "trainannot/{}.png"),
        (
            "ph2",
            "PH2 Dataset images/{0}/{0}_Dermoscopic_Image/{0}.png",
            "PH2 Dataset images/{0}/{0}_lesion/{0}_lesion.png",
        ),
    ],
)
def test_accents_in_two_spellings_pair_up_in_each_layout(
    tmp_path: Path, layout: str, image: str, mask: str, forms: tuple[Any, Any]
) -> None:
    own, names = tmp_path / "raw/own", ["Zürich-é1", "Zürich-é2", "Zürich-é3"]
    for folder in ("valannot", "testannot", "val", "test"):
        if layout == "camvid":
            (own / folder).mkdir(parents=True)
    for name in names:
        spelled = (
            [unicodedata.normalize(forms[0], name)] * 3 if layout == "ph2" else [name] * 3
        )  # a folder has one name
        place, _, file = image.format(*spelled).rpartition("/")
        save(own / place / unicodedata.normalize(forms[0], file), np.zeros((8, 8, 3), np.uint8))
        place, _, file = mask.format(*spelled).rpartition("/")
        save(own / place / unicodedata.normalize(forms[1], file), np.ones((8, 8), np.uint8))
    if layout == "oxford_pet":
        lists = {"trainval.txt": names[:2], "test.txt": names[2:]}
        for file, listed in lists.items():
            text = "".join(f"{unicodedata.normalize(forms[1], name)} 1 1 1\n" for name in listed)
            (own / "annotations" / file).write_text(text, encoding="utf-8")
    suffix = unicodedata.normalize(forms[0], "_fläche") if "folders" in layout else ""
    listing = read_layout(own_card(tmp_path, layout=layout, mask_suffix=suffix), own)
    assert [sample.name.removeprefix("train/") for sample in listing.samples] == names
    assert not {kind for kind, _ in listing.skipped} - {"split without a folder"}
    if layout == "oxford_pet":
        assert [sample.split for sample in listing.samples] == ["train", "train", "test"]


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_names_that_differ_only_in_their_spelling_are_the_same_name(tmp_path: Path, kind: str) -> None:
    own = make_folders(tmp_path)
    for folder in ("images", "masks"):
        (own / folder / "im0.png").rename(own / folder / unicodedata.normalize("NFC", "é.png"))
    other = f"{kind}/{unicodedata.normalize('NFD', 'é.png')}"
    (own / other).write_bytes((own / f"{kind}/im1.png").read_bytes())
    (twice,) = files_by_kind(prepared_from(tmp_path)[0])["same name as another"]
    assert unicodedata.normalize("NFC", twice) == f"{kind}/é.png"
    with pytest.raises(InputError, match="same name as another"):
        prepared_from(tmp_path, audit="strict")


@needs_shared
def test_real_pets_are_read_and_their_junk_named() -> None:
    listing = read_layout(read_card("oxford_pet", ROOT / "data/catalog"), SHARED / "datasets/oxford_pet")
    assert Counter(sample.split for sample in listing.samples) == {"train": 300, "test": 298, None: 2}
    assert [kind for kind, _ in listing.skipped] == ["not an image"] * 3


@needs_shared
@pytest.mark.parametrize("dataset", ["camvid", "camvid6"])
def test_real_camvid_has_its_official_split(dataset: str) -> None:
    listing = read_layout(read_card(dataset, ROOT / "data/catalog"), SHARED / "datasets/camvid")
    assert Counter(sample.split for sample in listing.samples) == {"train": 184, "val": 51, "test": 59}
    assert listing.skipped == []


def test_camvid6_maps_the_classes_of_camvid_by_name() -> None:
    eleven, six = (read_card(name, ROOT / "data/catalog") for name in ("camvid", "camvid6"))
    values = {one.name: one.values for one in eleven.classes}
    for one in six.classes[1:]:
        assert one.values == values[one.name]
    rest = sorted(value[0] for name, value in values.items() if name not in {one.name for one in six.classes})
    assert sorted(six.classes[0].values) == rest and six.void == eleven.void
    assert [one.name for one in six.classes] == ["background", "road", "building", "car", "sky", "pedestrian"]


def test_split_without_a_folder_is_drawn_and_half_of_one_is_an_error(tmp_path: Path) -> None:
    own = make_folders(tmp_path)
    (own / "train").mkdir()
    for kind in ("images", "masks"):
        (own / kind).rename(own / "train" / kind)
    card = own_card(tmp_path, layout="split_folders")
    audit, _ = prepared_from(tmp_path, card, method="official", audit="strict")
    assert audit["images"] == {"train": 4, "val": 2, "test": 2}
    assert files_by_kind(audit) == {"split without a folder": ["val", "test"]}
    (own / "val/images").mkdir(parents=True)
    with pytest.raises(InputError, match=r"own/val: lacks masks$"):
        prepared_from(tmp_path, card, method="official")


def test_names_that_repeat_between_cases_and_splits_stay_apart(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    cases = [f"PH2 Dataset images/c{n}/c{n}_{{}}/{stem}{{}}.png" for n in range(3) for stem in ("x", f"c{n}")]
    frames = [f"{split}{{}}/000{{}}.png" for split in ("train", "val", "test")]
    for card_name, paths, kinds in (
        ("ph2", cases, (("Dermoscopic_Image", ""), ("lesion", "_lesion"))),
        ("camvid", frames, (("", ""), ("annot", ""))),
    ):
        fetched = tmp_path / card_name / "raw/fetched"
        for path in paths:
            save(fetched / path.format(*kinds[0]), generator.integers(0, 256, (40, 40, 3), np.uint8))
            save(fetched / path.format(*kinds[1]), generator.integers(0, 2, (40, 40), np.uint8))
        audit, prepared = prepared_from(tmp_path / card_name, read_card(card_name, ROOT / "data/catalog"))
        names = {name for split in ("train", "val", "test") for name in prepared.names(split)}
        images = [image.tobytes() for split in ("train", "val", "test") for image in prepared.images(split)]
        assert len(names) == len(set(images)) == len(paths), card_name
        assert "duplicate across splits" not in files_by_kind(audit)
    assert names == {"train/000", "val/000", "test/000"}


@needs_shared
def test_real_ph2_case_is_prepared_right_three_times_over_and_alone_cannot_be_split(tmp_path: Path) -> None:
    card = read_card("ph2", ROOT / "data/catalog")
    case = SHARED / "datasets/ph2/PH2 Dataset images/IMD002"
    for name in ("IMD002", "IMD003", "IMD004"):
        for kind, suffix in (("_Dermoscopic_Image", ""), ("_lesion", "_lesion")):
            target = tmp_path / f"raw/fetched/PH2 Dataset images/{name}/{name}{kind}/{name}{suffix}.bmp"
            target.parent.mkdir(parents=True)
            target.write_bytes((case / f"IMD002{kind}/IMD002{suffix}.bmp").read_bytes())
    audit, prepared = prepared_from(tmp_path, card, size=128)
    assert audit["images"] == {"train": 1, "val": 1, "test": 1}
    assert list(files_by_kind(audit)) == ["duplicate across splits", "fewer images than published"]
    image, mask = find_pixels(prepared, "IMD002")
    stored, truth = (
        np.asarray(Image.open(next(case.glob(f"{pattern}/*.bmp"))).convert(mode))
        for pattern, mode in (("*_Dermoscopic_Image", "RGB"), ("*_lesion", "L"))
    )
    assert np.array_equal(image, cv2.resize(stored, (128, 128), interpolation=cv2.INTER_AREA))
    assert (mask == 1).mean() == pytest.approx((truth > 0).mean(), abs=0.005) and set(np.unique(mask)) == {0, 1}
    for name in ("IMD003", "IMD004"):
        (tmp_path / f"raw/fetched/PH2 Dataset images/{name}").rename(tmp_path / name)
    with pytest.raises(InputError, match="1 image cannot be split in three"):
        prepared_from(tmp_path, card, size=128)
