"""`datasets new --annotations`: from annotations to a card whose data the pipeline reads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from losslab.cards import Card, read_card
from losslab.data.annotations.shapes import Polygons
from losslab.data.images.decode import read_mask
from losslab.data.new_dataset.create import NewDataset, create_dataset
from losslab.data.new_dataset.drawing_notes import describe_drawing, list_drawing_doubts
from losslab.data.new_dataset.options import NewDatasetOptions
from losslab.data.new_dataset.overlays import draw_overlays
from losslab.data.readers import read_layout
from losslab.errors import InputError
from tests.data.annotations.outlines import export_coco
from tests.data.annotations.scenes import (
    HEIGHT,
    LABELS,
    WIDTH,
    Scene,
    describe_coco,
    describe_cvat,
    describe_labelme,
    draw_scenes,
    write_images,
    write_json,
    write_voc,
    write_yolo,
)

SCENES = draw_scenes()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "repo/data/catalog").mkdir(parents=True)
    return tmp_path / "repo"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", SCENES)


def make(root: Path, images: Path, annotations: Path | None, **said: Any) -> tuple[NewDataset, Card]:
    options = NewDatasetOptions(name="cells", images=images, annotations=annotations, **said)
    return create_dataset(options, root), read_card("cells", root / "data/catalog")


def read_masks(card: Card, root: Path) -> dict[str, Any]:
    samples = read_layout(card, root / "data/raw/cells/own").samples
    return {sample.name: read_mask(sample.mask, in_colours=False) for sample in samples}


def write_coco(folder: Path, change: Callable[[dict[str, Any]], None] = lambda content: None) -> Path:
    content = describe_coco(SCENES)
    change(content)
    return write_json(folder / "coco/annotations.json", content)


def fill(corners: Any) -> Any:
    return Polygons([np.array(corners)]).cover(HEIGHT, WIDTH)


def list_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def write_labelme(folder: Path) -> Path:
    for scene in SCENES:
        write_json(folder / f"json/{scene.name}.json", describe_labelme(scene))
    return folder / "json"


def write_cvat(folder: Path) -> Path:
    (folder / "annotations.xml").write_text(describe_cvat(SCENES), encoding="utf-8")
    return folder / "annotations.xml"


@pytest.mark.parametrize(
    ("write", "kind"),
    [(write_coco, "coco"), (write_labelme, "labelme"), (write_cvat, "cvat")],
    ids=["coco", "labelme", "cvat"],
)
def test_card_has_the_labels_as_classes_above_the_background(
    root: Path, tmp_path: Path, images: Path, write: Callable[[Path], Path], kind: str
) -> None:
    made, card = make(root, images, write(tmp_path))
    assert {each.name for each in card.classes} == {"background", *LABELS} and card.classes[0].values == [0]
    assert card.layout == "folders" and card.void == []
    assert made.drawn is not None and made.drawn.annotations.kind == kind
    masks = read_masks(card, root)
    assert list(masks) == [scene.name for scene in SCENES]
    assert set(np.unique(np.stack([*masks.values()])).tolist()) == {0, 1, 2, 3}
    assert list_files(root / "data/raw/cells") == [
        f"own/{kind}/im{number}.png" for kind in ("images", "masks") for number in range(4)
    ]


def test_labels_become_classes_void_or_background_as_the_options_say(root: Path, tmp_path: Path, images: Path) -> None:
    path = write_coco(tmp_path)
    _, card = make(root, images, path, classes=["thing=vessel+cell"], void_labels=["dirt"])
    assert [(each.name, each.values) for each in card.classes] == [("background", [0]), ("thing", [1, 2])]
    assert card.void == [3]
    (root / "data/catalog/cells.yaml").unlink()
    (root / "data/raw/cells").rename(root / "before")
    _, card = make(root, images, path, classes=["cell", "background=dirt"], void_labels=["rest"])
    assert [(each.name, each.values) for each in card.classes] == [("cell", [1]), ("background", [0, 3])]
    assert card.void == [2]


def add_category(content: dict[str, Any]) -> None:
    content["categories"].append({"id": 9, "name": "un/used"})


def test_label_without_a_pixel_is_no_class_unless_it_is_named(root: Path, tmp_path: Path, images: Path) -> None:
    made, card = make(root, images, write_coco(tmp_path, add_category))
    assert made.unused_labels == ["un/used"] and len(card.classes) == 4
    assert any("no class for labels that no pixel has: un/used" in line for line in describe_drawing(made))
    (root / "data/catalog/cells.yaml").unlink()
    (root / "data/raw/cells").rename(root / "before")
    _, card = make(root, images, write_coco(tmp_path, add_category), classes=[*LABELS, "more=un/used"])
    assert [each.name for each in card.classes] == ["background", *LABELS, "more"]


def rename(label: str) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content["categories"][0]["name"] = label

    return change


def drop(images: bool = False, annotations: bool = False) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content["annotations"] = [each for each in content["annotations"] if each["image_id"] != 10]
        if images:
            content["images"] = [each for each in content["images"] if each["id"] not in (10, 11)]
            content["annotations"] = [each for each in content["annotations"] if each["image_id"] != 11]

    return change


def resize(content: dict[str, Any]) -> None:
    content["images"][1]["width"] += 1


def name_twice(content: dict[str, Any]) -> None:
    content["images"][1]["file_name"] = "a\\im0.png"


def name_others(content: dict[str, Any]) -> None:
    for image in content["images"]:
        image["file_name"] = "other" + image["file_name"]


@pytest.mark.parametrize(
    ("change", "said", "message"),
    [
        (rename("cell"), {"classes": ["cell"]}, "--classes lacks vessel and dirt, which are in the annotations; .*--void vessel"),
        (rename("cell"), {"classes": ["cel", "dirt"]}, "no annotation has the label cel; did you mean cell.; there are"),
        (rename("cell"), {"classes": ["a=cell", "b=cell", "dirt"]}, "--classes gives cell to two classes"),
        (rename("cell"), {"void_labels": ["dirt", "dog"]}, "--void: no annotation has the label dog; there are cell"),
        (rename("cell"), {"classes": ["cell"], "void_labels": ["cell"]}, "--void: cell is in --classes too"),
        (rename("cell"), {"classes": ["a/b=cell"]}, "--classes: 'a/b' cannot name a class"),
        (rename("Zelle/x"), {}, "the label 'Zelle/x' cannot name a class: give all classes with --classes, this one as name="),
        (rename("all"), {}, "the label 'all' cannot name a class"),
        (drop(), {}, r"1 image of 4 has no annotation \(1 named without a shape: im0.png\); give --unannotated empty"),
        (drop(images=True), {}, r"2 images of 4 have no annotation \(2 not named: im0.png and im1.png\)"),
        (lambda content: content["annotations"].clear(), {"unannotated": "skip"}, "no image in .* is left, as none has a shape"),
        (lambda content: content["annotations"].clear(), {"unannotated": "empty"}, "annotates only background besides void"),
        (resize, {}, "annotations.json, image 11: is for an image of 41 x 30 pixels, but im1.png has 40 x 30"),
        (name_twice, {}, "im0.png is annotated twice, in annotations.json, image 10 and in .*, image 11; .*--annotators"),
        (name_others, {}, r"annotates no image in .*images \(otherim0.png and im0.png\)"),
        (rename("cell"), {"values": [[0], [1]]}, "--values is for --masks"),
        (rename("cell"), {"foreground": True}, "--foreground is for --masks"),
        (rename("cell"), {"masks": Path("m")}, "give --masks or --annotations, one of the two"),
        (rename("cell"), {"annotators": True}, "--annotators: .*annotations.json must hold a folder for each annotator"),
    ],
)  # fmt: skip
def test_what_cannot_be_decided_is_one_line_and_leaves_nothing(
    root: Path, tmp_path: Path, images: Path, change: Any, said: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as raised:
        make(root, images, write_coco(tmp_path, change), **said)
    assert "\n" not in str(raised.value)
    assert list_files(root) == [] and not (root / "data/raw/cells").exists()


def test_neither_masks_nor_annotations_and_options_of_the_other(root: Path, images: Path) -> None:
    for said, message in (
        ({}, "give --masks or --annotations"),
        ({"masks": images, "format": "coco"}, "--format is for --annotations"),
        ({"masks": images, "unannotated": "skip"}, "--unannotated is for --annotations"),
    ):
        with pytest.raises(InputError, match=message):
            make(root, images, None, **said)


def test_images_without_an_annotation_are_empty_or_left_out(root: Path, tmp_path: Path, images: Path) -> None:
    path = write_coco(tmp_path, drop(images=True))
    made, card = make(root, images, path, unannotated="empty")
    assert [not mask.any() for mask in read_masks(card, root).values()] == [True, True, False, False]
    assert "2 images without an annotation taken as background" in describe_drawing(made)
    (root / "data/catalog/cells.yaml").unlink()
    (root / "data/raw/cells").rename(root / "before")
    made, card = make(root, images, path, unannotated="skip")
    assert list(read_masks(card, root)) == ["im2", "im3"] and made.pairs.images_alone == []
    assert "2 images without an annotation left out" in describe_drawing(made)


def test_what_is_left_out_and_cut_off_is_counted(root: Path, tmp_path: Path, images: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        common = {"image_id": 10, "category_id": 3}
        outlines = {"line": [[1, 1, 5, 5]], "point": [[1, 1]], "afar": [[90, 1, 95, 9, 99, 1]], "box": []}
        content["annotations"] = content["annotations"][5:]
        content["annotations"] += [{"id": name, "segmentation": each} | common for name, each in outlines.items()]
        inside = [[4, 4, 9, 4, 9, 9]]
        content["annotations"].append({"id": "inside", "segmentation": inside} | common)
        content["images"].append(content["images"][0] | {"id": 99, "file_name": "gone.png"})

    made, _ = make(root, images, write_coco(tmp_path, change))
    beyond = sum(
        any(x < 0 or y < 0 or x > WIDTH or y > HEIGHT for x, y in corners)
        for scene in SCENES[1:]
        for _, corners in scene.objects
    )
    bare = sum(not fill(corners).any() for scene in SCENES[1:] for _, corners in scene.objects)
    assert list_drawing_doubts(made) == [
        "left out objects without an outline (boxes): 1",
        f"left out shapes that cover no pixel: {bare + 3}",
        f"shapes cut off at the edge of the image: {beyond + 1}",
        "annotated, but not in the folder of images: 1 (gone.png)",
    ]


def test_paths_of_another_machine_find_their_image_and_folders_tell_splits(root: Path, tmp_path: Path) -> None:
    scenes = [Scene(f"{split}/{place}/im", SCENES[0].objects) for split in ("train", "val") for place in "ab"]
    images = write_images(tmp_path / "images", scenes)
    content = describe_coco(scenes, prefix="C:\\me\\images\\")
    _, card = make(root, images, write_json(tmp_path / "all.json", content))
    assert card.layout == "split_folders"
    assert list(read_masks(card, root)) == ["train/a_im", "train/b_im", "val/a_im", "val/b_im"]
    (root / "data/catalog/cells.yaml").unlink()
    (root / "data/raw/cells").rename(root / "before")
    same = describe_coco([Scene("im", SCENES[0].objects)])
    with pytest.raises(InputError, match=r"im.png may be train/a/im.png, train/b/im.png, val/a/im.png"):
        make(root, images, write_json(tmp_path / "same.json", same))


def test_a_file_for_each_split_is_an_official_split(root: Path, tmp_path: Path, images: Path) -> None:
    for split, scenes in (("train", SCENES[:2]), ("val", SCENES[2:])):
        write_json(tmp_path / f"coco/instances_{split}2017.json", describe_coco(scenes))
        write_json(tmp_path / f"coco/captions_{split}2017.json", {"images": [], "annotations": [{}]})
    _, card = make(root, images, tmp_path / "coco")
    assert list(read_masks(card, root)) == ["train/im0", "train/im1", "val/im2", "val/im3"]
    (root / "data/catalog/cells.yaml").unlink()
    (root / "data/raw/cells").rename(root / "before")
    write_json(tmp_path / "coco/stuff_val2017.json", describe_coco(SCENES))
    with pytest.raises(InputError, match="holds instances and stuff, of which one can be read"):
        make(root, images, tmp_path / "coco")


def test_voc_and_yolo_have_their_splits(root: Path, tmp_path: Path) -> None:
    masks = {scene.name: np.full((HEIGHT, WIDTH), number, np.uint8) for number, scene in enumerate(SCENES)}
    masks["im3"][:5] = 255
    images = write_images(tmp_path / "voc/JPEGImages", [*SCENES, Scene("alone", [])], ".jpg")
    folder = write_voc(tmp_path / "voc", masks, {"train": ["im0", "im1"], "val": ["im2", "im3"]})
    made, card = make(root, images, folder)
    assert [(each.name, each.values) for each in card.classes] == [
        ("background", [0]),
        *((label, [1 + sorted(LABELS).index(label)]) for label in sorted(LABELS)),
    ]
    assert card.void == [255] and made.pairs.images_alone == ["alone.jpg"]
    drawn = read_masks(card, root)
    assert list(drawn) == ["train/im0", "train/im1", "val/im2", "val/im3"]
    assert [int(mask[-1, 0]) for mask in drawn.values()] == [0, 1, 3, 2]
    (root / "data/catalog/cells.yaml").unlink()
    (root / "data/raw/cells").rename(root / "before")
    for split, scenes in (("train", SCENES[:2]), ("valid", SCENES[2:])):
        write_yolo(tmp_path / "yolo", scenes, split)
        write_images(tmp_path / f"yolo/images/{split}", scenes)
    _, card = make(root, tmp_path / "yolo/images", tmp_path / "yolo")
    assert list(read_masks(card, root)) == ["train/im0", "train/im1", "val/im2", "val/im3"]


def test_folder_of_masks_is_taken_as_masks_and_one_of_objects_is_joined(
    root: Path, tmp_path: Path, images: Path
) -> None:
    for scene in SCENES:
        for number in range(2):
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[5 * number : 5 * number + 5] = 255
            for path in (tmp_path / f"dsb/{scene.name}/masks/{number}.png", tmp_path / f"plain/{scene.name}.png"):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(path)
        (tmp_path / f"dsb/{scene.name}/images").mkdir()
    write_images(tmp_path / "dsb", [Scene(f"{scene.name}/images/{scene.name}", []) for scene in SCENES])
    made, card = make(root, images, tmp_path / "plain")
    assert made.drawn is None and [each.values for each in card.classes] == [[0], [255]]
    (root / "data/catalog/cells.yaml").unlink()
    (root / "data/raw/cells").rename(root / "before")
    made, card = make(root, tmp_path / "dsb", tmp_path / "dsb", classes=["background", "nucleus"])
    assert [(each.name, each.values) for each in card.classes] == [("background", [0]), ("nucleus", [1])]
    masks = read_masks(card, root)
    assert len(masks) == 4 and all(mask[:10].all() and not mask[10:].any() for mask in masks.values())


def test_crowd_is_void_and_the_shape_on_top_is_the_last(root: Path, tmp_path: Path, images: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        crowd = {"iscrowd": 1, "segmentation": {"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH]}}
        content["annotations"].append({"id": 9, "image_id": 10, "category_id": 3} | crowd)

    made, card = make(root, images, write_coco(tmp_path, change))
    assert card.void == [255]
    mask = read_masks(card, root)["im0"]
    label, corners = SCENES[0].objects[-1]
    assert (mask[fill(corners)] == 1 + LABELS.index(label)).all()
    assert (mask == 255).any() and not (mask == 0).any()
    assert "where shapes overlap, the later annotation lies on top" in describe_drawing(made)


def test_several_annotators_are_one_majority(root: Path, tmp_path: Path, images: Path) -> None:
    squares = {"a1": (0, 10), "a2": (0, 20), "a3": (10, 20)}
    for name, (top, bottom) in squares.items():
        shape = {"label": "cell", "points": [[0, top], [39, bottom - 1]], "shape_type": "rectangle"}
        for scene in SCENES[: 2 if name == "a3" else 4]:
            content = describe_labelme(scene, shapes=[shape])
            write_json(tmp_path / f"votes/{name}/{scene.name}.json", content)
    with pytest.raises(InputError, match=r"im0.png is annotated twice, .*a2/im0.json; .*--annotators"):
        make(root, images, tmp_path / "votes")
    made, card = make(root, images, tmp_path / "votes", annotators=True)
    masks = read_masks(card, root)
    rows = {name: mask[:, 0].tolist() for name, mask in masks.items()}
    assert rows["im0"] == [1] * 20 + [0] * 10
    assert rows["im3"] == [1] * 10 + [255] * 10 + [0] * 10 and card.void == [255]
    lines = describe_drawing(made)
    assert "the majority of 3 annotators (a1, a2 and a3); void where there is none, 16.7 % of all pixels" in lines
    assert "2 images not annotated by all of them: a majority of those who did" in lines


@pytest.mark.parametrize(("unannotated", "value"), [("skip", 1), ("empty", 255), (None, 255)])
def test_annotator_who_drew_nothing_votes_unless_such_images_are_skipped(
    root: Path, tmp_path: Path, images: Path, unannotated: Any, value: int
) -> None:
    shape = {"label": "cell", "points": [[0, 0], [39, 9]], "shape_type": "rectangle"}
    for name, idle in (("a1", ""), ("a2", "im0")):
        for scene in SCENES:
            content = describe_labelme(scene, shapes=[] if scene.name == idle else [shape])
            write_json(tmp_path / f"votes/{name}/{scene.name}.json", content)
    made, card = make(root, images, tmp_path / "votes", annotators=True, unannotated=unannotated)
    masks = read_masks(card, root)
    assert masks["im0"][:, 0].tolist() == [value] * 10 + [0] * 20 and masks["im1"][0, 0] == 1
    told = "1 image not annotated by all of them" in " ".join(describe_drawing(made))
    assert told == (unannotated == "skip")


@pytest.mark.parametrize(("full", "void"), [(1, 255), (255, 254)])
def test_masks_of_several_annotators_are_one_majority(
    root: Path, tmp_path: Path, images: Path, full: int, void: int
) -> None:
    for name, rows in {"a1": 10, "a2": 20}.items():
        for scene in SCENES:
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[:rows] = full
            (tmp_path / f"votes/{name}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(tmp_path / f"votes/{name}/{scene.name}_mask.png")
    with pytest.raises(InputError, match="--annotators: masks in place are not merged; name other folders"):
        own = root / "data/raw/cells/own"
        make(root, own / "images", None, masks=own / "masks", annotators=True)
    made, card = make(root, images, None, masks=tmp_path / "votes", annotators=True)
    assert card.void == [void] and [each.values for each in card.classes] == [[0], [full]]
    assert read_masks(card, root)["im2"][:, 5].tolist() == [full] * 10 + [void] * 10 + [0] * 10
    assert any("33.3 % of all pixels" in line for line in describe_drawing(made))


def test_turned_photographs_get_the_mask_of_what_is_shown(root: Path, tmp_path: Path) -> None:
    for orientation in (1, 3, 6, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        write_images(tmp_path / "images", [Scene(f"im{orientation}", [])], ".jpg", exif=exif)
        size = (WIDTH, HEIGHT) if orientation < 5 else (HEIGHT, WIDTH)
        corner = {"label": "cell", "points": [[0, 0], [9, 4]], "shape_type": "rectangle"}  # upper left, as displayed
        content = {
            "imagePath": f"im{orientation}.jpg",
            "imageWidth": size[0],
            "imageHeight": size[1],
            "shapes": [corner],
        }
        write_json(tmp_path / f"json/im{orientation}.json", content)
    made, card = make(root, tmp_path / "images", tmp_path / "json")
    masks = read_masks(card, root)
    upright = {name: masks[name] for name in ("im1", "im6", "im8")}
    assert [mask.shape for mask in masks.values()] == [(30, 40), (30, 40), (40, 30), (40, 30)]
    assert all(mask[:5, :10].all() and mask.sum() == 50 for mask in upright.values())
    assert masks["im3"][-5:, -10:].all() and masks["im3"].sum() == 50  # the image is read as it is stored
    assert made.scan.other_sizes == []
    assert draw_overlays(card, made.own, tmp_path / "sheet.png") == 4


def test_same_annotations_give_the_same_bytes(root: Path, tmp_path: Path, images: Path) -> None:
    make(root, images, write_coco(tmp_path))
    before = {path.name: path.read_bytes() for path in (root / "data/raw/cells/own/masks").iterdir()}
    (root / "data/catalog/cells.yaml").unlink()
    (root / "data/raw/cells").rename(root / "before")
    make(root, images, write_coco(tmp_path))
    assert {path.name: path.read_bytes() for path in (root / "data/raw/cells/own/masks").iterdir()} == before


def test_sheet_shows_classes_over_the_images(root: Path, tmp_path: Path, images: Path) -> None:
    made, card = make(root, images, write_coco(tmp_path))
    sheet = tmp_path / "sheet.png"
    assert draw_overlays(card, made.own, sheet) == 4
    with Image.open(sheet) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    for each in card.classes:  # in the legend, and but for the background as contours
        assert (pixels == each.color).all(axis=2).sum() > (100 if each.name == "background" else 300)
    assert pixels.shape[1] < 1000


def test_sheet_of_large_images_with_other_bands_is_drawn_from_strips(root: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    pixels = np.zeros((3000, 2500), np.uint16)
    pixels[:, 1200:] = 4000
    Image.fromarray(pixels).save(tmp_path / "images/im0.tif")
    square = {"label": "cell", "points": [[0, 0], [1199, 2999]], "shape_type": "rectangle"}
    write_json(tmp_path / "json/im0.json", {"imagePath": "im0.tif", "shapes": [square]})
    made, card = make(root, tmp_path / "images", tmp_path / "json")
    assert card.bands is not None and card.bands.dtype == "uint16"
    assert draw_overlays(card, made.own, tmp_path / "sheet.png") == 1
    with Image.open(tmp_path / "sheet.png") as sheet:
        row = np.asarray(sheet)[sheet.height // 2].astype(int)
    assert row[20].tolist() == [104, 72, 0] and row[160].tolist() == [255, 255, 255]  # tinted black, and plain white


def test_trimaps_that_become_polygons_come_back_to_the_pixel(root: Path, tmp_path: Path) -> None:
    """As Oxford-IIIT Pet has them: 1 is the pet, 2 the background, which also shows through it, and 3 the border."""
    generator, trimaps = np.random.default_rng(0), {}
    for number in range(4):
        trimap = np.full((60, 80), 2, np.uint8)
        noise = cv2.GaussianBlur(generator.normal(size=trimap.shape), (0, 0), 4)
        trimap[noise > -0.02] = 3
        trimap[noise > 0.02] = 1
        trimaps[f"im{number}.jpg"] = trimap
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(np.stack([trimap] * 3, axis=2)).save(tmp_path / f"images/im{number}.jpg")
    content = export_coco(trimaps, {1: "pet", 2: "background", 3: "border"})
    assert len(content["annotations"]) > 40
    _, card = make(root, tmp_path / "images", write_json(tmp_path / "coco.json", content), classes=["pet", "border"])
    assert [(each.name, each.values) for each in card.classes] == [("background", [0]), ("pet", [1]), ("border", [2])]
    for name, mask in read_masks(card, root).items():
        np.testing.assert_array_equal(
            np.array([0, 1, 3])[mask], np.where(trimaps[f"{name}.jpg"] == 2, 0, trimaps[f"{name}.jpg"])
        )


def test_dense_annotations_have_no_background_but_void(root: Path, tmp_path: Path, images: Path) -> None:
    """In COCO panoptic, 0 is void; all categories are classes, the first one too."""
    annotations = []
    for number, scene in enumerate(SCENES):
        segments = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for place in range(3):
            segments[:, 10 * place : 10 * place + 10] = (number, place, 5)
        (tmp_path / "panoptic").mkdir(exist_ok=True)
        Image.fromarray(segments).save(tmp_path / f"panoptic/{scene.name}.png")
        described = [{"id": number + 256 * place + 65536 * 5, "category_id": 3 + place} for place in range(3)]
        annotations.append({"image_id": 10 + number, "file_name": f"{scene.name}.png", "segments_info": described})
    content = describe_coco(SCENES) | {"annotations": annotations}
    write_images(images, [Scene("alone", [])])
    made, card = make(root, images, write_json(tmp_path / "panoptic.json", content))
    assert [(each.name, each.values) for each in card.classes] == [
        (label, [place]) for place, label in enumerate(LABELS)
    ]
    assert card.void == [255] and made.pairs.images_alone == ["alone.png"]
    assert all(mask[0, ::10].tolist() == [0, 1, 2, 255] for mask in read_masks(card, root).values())
    (tmp_path / "panoptic/im1.png").unlink()
    (root / "data/catalog/cells.yaml").unlink()
    (root / "data/raw/cells").rename(root / "before")
    with pytest.raises(
        InputError, match=r"panoptic.json, annotation of image 11: im1.png is neither in .*panoptic nor in"
    ):
        make(root, images, tmp_path / "panoptic.json")
