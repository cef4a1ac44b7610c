"""`datasets new --overlapping`: a mask for each class, from folders, bands or annotations."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from losslab.cards import Card, read_card
from losslab.data.images.class_masks import build_label_reader
from losslab.data.new_dataset.create import NewDataset, create_dataset
from losslab.data.new_dataset.options import NewDatasetOptions
from losslab.data.new_dataset.overlays import draw_overlays
from losslab.data.readers import read_layout
from losslab.errors import InputError
from tests.data.annotations.scenes import write_json
from tests.data.own_data import save

COUNT, HEIGHT, WIDTH = 4, 24, 32
PLANES = {}
for _number in range(COUNT):
    _cell, _nucleus = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    _cell[4:16, 4 + _number : 20] = 255
    _nucleus[8:12, 10:24] = 255
    PLANES[f"im{_number}"] = {"cell": _cell, "nucleus": _nucleus}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "repo/data/catalog").mkdir(parents=True)
    for name in PLANES:
        save(tmp_path / f"images/{name}.png", np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
    return tmp_path / "repo"


def put_class_folders(folder: Path) -> None:
    for name, planes in PLANES.items():
        for label, plane in planes.items():
            save(folder / label / f"{name}_mask.png", plane)


def put_image_folders(folder: Path) -> None:
    for name, planes in PLANES.items():
        for label, plane in planes.items():
            save(folder / name / f"{label}.png", plane)


def put_bands(folder: Path) -> None:
    folder.mkdir()
    for name, planes in PLANES.items():
        bands = np.stack(list(planes.values()))
        tifffile.imwrite(
            folder / f"{name}.tif", bands, photometric="minisblack", planarconfig="separate", metadata=None
        )


def describe_coco() -> dict[str, Any]:
    annotations, number = list[dict[str, Any]](), 0
    for image, planes in enumerate(PLANES.values(), start=1):
        for category, plane in enumerate(planes.values(), start=1):
            rows, columns = np.nonzero(plane)
            left, top, right, bottom = (
                int(end) for end in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            )
            outline = [left, top, right, top, right, bottom, left, bottom]
            number += 1
            annotations.append(
                {"id": number, "image_id": image, "category_id": category, "segmentation": [outline], "iscrowd": 0}
            )
    images = [
        {"id": number, "file_name": f"{name}.png", "width": WIDTH, "height": HEIGHT}
        for number, name in enumerate(PLANES, start=1)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(("cell", "nucleus"), start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def make(root: Path, **said: Any) -> tuple[NewDataset, Card]:
    options = NewDatasetOptions(name="cells", images=root.parent / "images", overlapping=True, **said)
    return create_dataset(options, root), read_card("cells", root / "data/catalog")


def check(root: Path, card: Card) -> None:
    samples = read_layout(card, root / "data/raw/cells/own").samples
    assert [sample.name for sample in samples] == list(PLANES)
    assert card.labels == "overlapping" and [one.name for one in card.classes] == ["cell", "nucleus"]
    reader = build_label_reader(card)
    for sample in samples:
        expected = np.stack([plane // 255 for plane in PLANES[sample.name].values()], axis=2)
        assert np.array_equal(reader.read(sample), expected)


@pytest.mark.parametrize("put", [put_class_folders, put_image_folders, put_bands])
def test_masks_are_found_and_copied_however_they_lie(root: Path, put: Callable[[Path], None]) -> None:
    put(root.parent / "masks")
    classes = ["cell", "nucleus"] if put is put_bands else None
    made, card = make(root, masks=root.parent / "masks", classes=classes)
    check(root, card)
    shares = [np.mean([planes[name] > 0 for planes in PLANES.values()]) for name in ("cell", "nucleus")]
    assert [one.share for one in made.classes] == pytest.approx(shares)
    assert draw_overlays(card, made.own, root / "sheet.png") == COUNT


@pytest.mark.parametrize("put", [put_class_folders, put_image_folders, put_bands])
def test_official_splits_are_kept(root: Path, put: Callable[[Path], None]) -> None:
    images, masks = root.parent / "images", root.parent / "masks"
    put(masks)
    for number, name in enumerate(PLANES):
        split = "train" if number < 2 else "val"
        (images / split).mkdir(exist_ok=True)
        (images / f"{name}.png").rename(images / split / f"{name}.png")
        for path in sorted(masks.glob(f"*/{name}_mask.png" if put is put_class_folders else f"{name}*")):
            (path.parent / split).mkdir(exist_ok=True)
            path.rename(path.parent / split / path.name)
    made, card = make(root, masks=masks, classes=["cell", "nucleus"])
    samples = read_layout(card, made.own).samples
    assert [(sample.name, sample.split) for sample in samples] == [
        *((f"train/{name}", "train") for name in ("im0", "im1")),
        *((f"val/{name}", "val") for name in ("im2", "im3")),
    ]
    reader = build_label_reader(card)
    for sample in samples:
        expected = np.stack([plane // 255 for plane in PLANES[sample.name[-3:]].values()], axis=2)
        assert np.array_equal(reader.read(sample), expected)


def test_shapes_of_annotations_that_overlap_hide_nothing(root: Path) -> None:
    write_json(root.parent / "coco.json", describe_coco())
    made, card = make(root, annotations=root.parent / "coco.json")
    check(root, card)
    assert made.drawn is not None and made.drawn.shapes == 2 * COUNT


def test_crowd_is_void_for_all_classes(root: Path) -> None:
    content = describe_coco()
    crowd = {"size": [HEIGHT, WIDTH], "counts": [0, 2 * HEIGHT, (WIDTH - 2) * HEIGHT]}
    content["annotations"].append({"id": 99, "image_id": 1, "category_id": 1, "segmentation": crowd, "iscrowd": 1})
    write_json(root.parent / "coco.json", content)
    _, card = make(root, annotations=root.parent / "coco.json")
    sample = read_layout(card, root / "data/raw/cells/own").samples[0]
    labels = build_label_reader(card).read(sample)
    assert (labels[:, :2] == 255).all() and (labels[:, 2:] < 255).all() and card.void == [255]


def test_data_in_place_stay_there(root: Path) -> None:
    own = root / "data/raw/cells/own"
    put_image_folders(own / "masks")
    for name in PLANES:
        save(own / f"images/{name}.png", np.full((HEIGHT, WIDTH, 3), 9, np.uint8))
    options = NewDatasetOptions(name="cells", images=own / "images", masks=own / "masks", overlapping=True)
    made = create_dataset(options, root)
    assert made.copied is None
    check(root, read_card("cells", root / "data/catalog"))


def test_folders_of_classes_cannot_stay_in_place(root: Path) -> None:
    own = root / "data/raw/cells/own"
    put_class_folders(own / "masks")
    for name in PLANES:
        save(own / f"images/{name}.png", np.full((HEIGHT, WIDTH, 3), 9, np.uint8))
    options = NewDatasetOptions(name="cells", images=own / "images", masks=own / "masks", overlapping=True)
    with pytest.raises(InputError, match="no folder with the name of an image"):
        create_dataset(options, root)
    assert not list((root / "data/catalog").iterdir()) and (own / "masks/cell").is_dir()


def put_splits_before_classes(folder: Path) -> None:
    for split in ("train", "val"):
        put_class_folders(folder / split)


def put_other_file(folder: Path) -> None:
    put_image_folders(folder)
    save(folder / "im0/nucleos.png", PLANES["im0"]["cell"])


@pytest.mark.parametrize(
    ("put", "said", "message"),
    [
        (put_bands, {}, "holds files, not folders; name the classes of their bands with --classes"),
        (put_bands, {"classes": ["a", "b", "c"]}, "holds 2 bands of uint8; the card has 3 overlapping classes"),
        (put_image_folders, {"classes": ["cell"]}, "--classes lacks nucleus, of which .*masks has masks"),
        (put_other_file, {"classes": ["cell", "nucleus"]}, "--classes lacks nucleos"),
        (put_class_folders, {"classes": ["cell", "wall"]}, "--classes: .*masks has no folder wall"),
        (put_splits_before_classes, {}, "folders of classes come first: cell/train/im1.png"),
        (lambda folder: None, {}, "--masks: .*masks does not exist"),
        (lambda folder: folder.write_bytes(b""), {}, "--masks: .*masks is not a folder"),
        (put_class_folders, {"classes": ["cell"]}, "--overlapping takes two classes or more"),
        (put_class_folders, {"values": [[1]]}, "--overlapping takes no --values"),
        (put_class_folders, {"void": [(255, 0, 0)]}, "--void: masks of overlapping classes hold numbers"),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_is_left(
    root: Path, put: Callable[[Path], None], said: Any, message: str
) -> None:
    put(root.parent / "masks")
    with pytest.raises(InputError, match=message):
        make(root, masks=root.parent / "masks", **said)
    assert not list((root / "data/catalog").iterdir()) and not (root / "data/raw/cells").exists()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"classes": ["cell"]}, "--classes lacks nucleus"),
        ({"classes": ["cell", "wall"]}, "--classes: no annotation has the label wall"),
        ({"classes": ["both=cell+nucleus"]}, "--overlapping takes two classes or more"),
    ],
)
def test_labels_that_do_not_fit_are_told(root: Path, said: Any, message: str) -> None:
    write_json(root.parent / "coco.json", describe_coco())
    with pytest.raises(InputError, match=message):
        make(root, annotations=root.parent / "coco.json", **said)
    assert not (root / "data/raw/cells").exists()
