"""Small made-up copies of published datasets, in their real layout, with the junk and the traps that the real ones have."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from losslab.data.findings import KindName

GENERATOR = np.random.default_rng(0)
SIZE = 24


def put(path: Path, pixels: np.ndarray | None = None) -> None:
    """Save pixels, or a file of junk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels is None:
        path.write_bytes(b"junk")
    else:
        Image.fromarray(pixels).save(path)


def photo(path: Path, bands: int = 3) -> None:
    put(path, GENERATOR.integers(0, 256, (SIZE, SIZE, bands), np.uint8))


def blocks(*values: int) -> np.ndarray:
    """A mask with each of the values in columns."""
    return np.repeat(np.resize(np.array(values, np.uint8), (1, SIZE)), SIZE, axis=0)


def palette(path: Path, values: np.ndarray) -> None:
    mask = Image.fromarray(values, "P")
    mask.putpalette([(37 * number + 11 * band) % 256 for number in range(256) for band in range(3)])
    path.parent.mkdir(parents=True, exist_ok=True)
    mask.save(path)


def make_isic2018(folder: Path) -> None:
    for name, stems in (("Training", "ABCD"), ("Validation", "E"), ("Test", "F")):
        images, masks = folder / f"ISIC2018_Task1-2_{name}_Input", folder / f"ISIC2018_Task1_{name}_GroundTruth"
        for place in (images, masks):
            put(place / "LICENSE.txt")
            put(place / "ATTRIBUTION.txt")
        for stem in stems:
            photo(images / f"ISIC_{stem}.jpg")
            photo(images / f"ISIC_{stem}_superpixels.png")
            put(masks / f"ISIC_{stem}_segmentation.png", blocks(0, 255))
    photo(folder / "ISIC2018_Task1-2_Training_Input/ISIC_alone.jpg")
    put(folder / "ISIC2018_Task1_Training_GroundTruth/ISIC_lost_segmentation.png", blocks(0))
    put(folder / "ISIC2018_Task1_Training_GroundTruth/._ISIC_A_segmentation.png")


def make_kvasir_seg(folder: Path) -> None:
    for stem in ("cju0a", "cju0b", "cju0c"):
        photo(folder / f"images/{stem}.jpg")
        put(folder / f"masks/{stem}.jpg", blocks(*[0] * 8, *[255] * 7))  # edges that JPEG blurs
    put(folder / "kavsir_bboxes.json")
    put(folder / "images/Thumbs.db")
    photo(folder / "images/cju0d.jpg")


def make_cvc_clinicdb(folder: Path) -> None:
    for frame in (1, 25, 26, 612):
        photo(folder / f"Original/{frame}.tif")
        put(folder / f"Ground Truth/{frame}.tif", np.repeat(blocks(0, 255)[..., None], 3, axis=2))
    for place in ("Original", "Ground Truth"):
        put(folder / place / "extra.tif", np.zeros((SIZE, SIZE), np.uint8))
        put(folder / place / ".DS_Store")
    photo(folder / "Original/2.tif")


def make_drive(folder: Path) -> None:
    field = np.zeros((SIZE, SIZE), np.uint8)
    field[4:20, 4:20] = 255
    for name, numbers in (("training", range(21, 25)), ("test", range(1, 3))):
        for number in numbers:
            photo(folder / f"{name}/images/{number:02}_{name}.tif")
            put(folder / f"{name}/1st_manual/{number:02}_manual1.gif", blocks(0, 255))
            put(folder / f"{name}/mask/{number:02}_{name}_mask.gif", field)
            if name == "test":
                put(folder / f"{name}/2nd_manual/{number:02}_manual2.gif", blocks(255))
    put(folder / "training/images/.directory")
    photo(folder / "training/images/25_training.tif")
    put(folder / "training/1st_manual/25_manual1.gif", blocks(0, 255))


def make_drive_without_test_labels(folder: Path) -> None:
    make_drive(folder)
    for place in ("1st_manual", "2nd_manual"):
        for path in (folder / "test" / place).iterdir():
            path.unlink()
        (folder / "test" / place).rmdir()


def make_dsb2018(folder: Path) -> None:
    """The archive of the Broad Institute, without a folder around it."""
    for name, objects in (("0a7e", 2), ("0b", 1), ("0c", 3)):
        photo(folder / f"{name}/images/{name}.png", bands=4)
        for number in range(objects):
            mask = np.zeros((SIZE, SIZE), np.uint8)
            mask[2:9, 2 + 7 * number : 9 + 7 * number] = 255  # objects touch
            put(folder / f"{name}/masks/{name}{number}.png", mask)
    put(folder / "0b/masks/Thumbs.db")
    put(folder / "0b/images/._0b.png")
    photo(folder / "0d/images/0d.png", bands=4)
    photo(folder / "0e/images/0e.png", bands=4)
    (folder / "0e/masks").mkdir()
    put(folder / "0f/masks/1.png", blocks(255))
    put(folder / "stage1_train_labels.csv")
    put(folder / "__MACOSX/0a7e/masks/._0a7e0.png")


def make_loveda(folder: Path) -> None:
    for name in ("Train", "Val", "Test"):
        for area in ("Urban", "Rural"):
            for number in (7, 8):
                photo(folder / f"{name}/{area}/images_png/{number}.png")
                if name != "Test":
                    put(folder / f"{name}/{area}/masks_png/{number}.png", blocks(*range(8)))
    put(folder / "Train/Rural/images_png/Thumbs.db")
    (folder / "Val/Urban/masks_png/8.png").unlink()


def make_ade20k(folder: Path) -> None:
    for name, short, count in (("training", "train", 4), ("validation", "val", 2)):
        for number in range(count):
            photo(folder / f"images/{name}/ADE_{short}_{number:08}.jpg")
            put(folder / f"annotations/{name}/ADE_{short}_{number:08}.png", blocks(0, 1, 75, 150))
    put(folder / "objectInfo150.txt")
    put(folder / "sceneCategories.txt")
    put(folder / "images/training/.DS_Store")
    (folder / "annotations/training/ADE_train_00000003.png").unlink()


def make_voc2012(folder: Path) -> None:
    lists = {"train": ["2007_000032", "2007_000039", "2007_000063", "2008_lost"], "val": ["2007_000033"]}
    for name, stems in (lists | {"trainval": lists["train"] + lists["val"]}).items():
        (folder / "ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
        (folder / f"ImageSets/Segmentation/{name}.txt").write_text("".join(f"{stem}\n" for stem in stems))
        for stem in stems[:3]:
            photo(folder / f"JPEGImages/{stem}.jpg")
            palette(folder / f"SegmentationClass/{stem}.png", blocks(0, 15, 20, 255))
            palette(folder / f"SegmentationObject/{stem}.png", blocks(0, 1, 2, 255))
    photo(folder / "JPEGImages/2007_000027.jpg")  # for detection alone
    put(folder / "Annotations/2007_000027.xml")
    palette(folder / "SegmentationClass/2009_alone.png", blocks(1))
    for kind in ("JPEGImages/2010_000001.jpg", "SegmentationClass/2010_000001.png"):
        put(folder / kind, blocks(0))


def make_cityscapes(folder: Path) -> None:
    cities = {"train": ("aachen", "bochum", "jena"), "val": ("lindau",), "test": ("berlin",)}
    for name, places in cities.items():
        for city in places:
            for frame in (19, 20):
                stem = f"{city}_000000_{frame:06}"
                photo(folder / f"leftImg8bit/{name}/{city}/{stem}_leftImg8bit.png")
                ids = (0, 3) if name == "test" else (3, 7, 11, 26, 30)
                for kind in ("labelIds", "instanceIds", "color"):
                    put(folder / f"gtFine/{name}/{city}/{stem}_gtFine_{kind}.png", blocks(*ids))
                put(folder / f"gtFine/{name}/{city}/{stem}_gtFine_polygons.json")
    put(folder / "license.txt")
    put(folder / "leftImg8bit/train/Thumbs.db")
    photo(folder / "leftImg8bit/train/zurich/zurich_000000_000019_leftImg8bit.png")
    put(folder / "leftImg8bit/train/aachen/notes.txt")
    (folder / "gtFine/train/jena/jena_000000_000020_gtFine_labelIds.png").unlink()


@dataclass(frozen=True)
class Layout:
    card: str
    make: Callable[[Path], None]
    samples: dict[str, list[str]]
    """The names by split; those without an official split under none."""
    skipped: "dict[KindName, list[str]]" = field(default_factory=dict)
    inside: str = ""
    """The folder around the dataset in its archives."""


LAYOUTS = {
    "isic2018": Layout(
        "isic2018",
        make_isic2018,
        {"train": [f"ISIC_{stem}" for stem in "ABCD"], "val": ["ISIC_E"], "test": ["ISIC_F"]},
        {
            "image without a mask": ["ISIC2018_Task1-2_Training_Input/ISIC_alone.jpg"],
            "mask without an image": ["ISIC2018_Task1_Training_GroundTruth/ISIC_lost_segmentation.png"],
            "hidden file": ["ISIC2018_Task1_Training_GroundTruth/._ISIC_A_segmentation.png"],
            "not an image": sorted(
                f"ISIC2018_Task1{kind}/{text}.txt"
                for name in ("Training", "Validation", "Test")
                for kind in (f"-2_{name}_Input", f"_{name}_GroundTruth")
                for text in ("LICENSE", "ATTRIBUTION")
            ),
        },
    ),
    "kvasir_seg": Layout(
        "kvasir_seg",
        make_kvasir_seg,
        {"none": ["cju0a", "cju0b", "cju0c"]},
        {"not an image": ["images/Thumbs.db"], "image without a mask": ["images/cju0d.jpg"]},
        "Kvasir-SEG",
    ),
    "cvc_clinicdb": Layout(
        "cvc_clinicdb",
        make_cvc_clinicdb,
        {"none": ["extra", "sequence01_001", "sequence01_025", "sequence02_026", "sequence29_612"]},
        {
            "hidden file": ["Ground Truth/.DS_Store", "Original/.DS_Store"],
            "image without a mask": ["Original/2.tif"],
        },
        "CVC-ClinicDB",
    ),
    "drive": Layout(
        "drive",
        make_drive,
        {"train": ["21", "22", "23", "24"], "test": ["01", "02"]},
        {
            "hidden file": ["training/images/.directory"],
            "image without a field of view": ["training/images/25_training.tif"],
        },
    ),
    "drive without test labels": Layout(
        "drive",
        make_drive_without_test_labels,
        {"train": ["21", "22", "23", "24"]},
        {
            "hidden file": ["training/images/.directory"],
            "image without a field of view": ["training/images/25_training.tif"],
            "split without masks": ["test/images"],
        },
    ),
    "dsb2018": Layout(
        "dsb2018",
        make_dsb2018,
        {"none": ["0a7e", "0b", "0c"]},
        {
            "hidden file": ["0b/images/._0b.png"],
            "image without a mask": ["0d/images", "0e/images/0e.png"],
            "mask without an image": ["0f/masks"],
            "not an image": ["0b/masks/Thumbs.db", "__MACOSX", "stage1_train_labels.csv"],
        },
    ),
    "loveda": Layout(
        "loveda",
        make_loveda,
        {
            "train": [f"Train/{area}/{number}" for area in ("Rural", "Urban") for number in (7, 8)],
            "test": ["Val/Rural/7", "Val/Rural/8", "Val/Urban/7"],
        },
        {
            "not an image": ["Train/Rural/images_png/Thumbs.db"],
            "image without a mask": ["Val/Urban/images_png/8.png"],
            "split without masks": ["Test"],
        },
    ),
    "ade20k": Layout(
        "ade20k",
        make_ade20k,
        {
            "train": [f"ADE_train_{number:08}" for number in range(3)],
            "test": [f"ADE_val_{number:08}" for number in range(2)],
        },
        {
            "hidden file": ["images/training/.DS_Store"],
            "image without a mask": ["images/training/ADE_train_00000003.jpg"],
        },
        "ADEChallengeData2016",
    ),
    "voc2012": Layout(
        "voc2012",
        make_voc2012,
        {"train": ["2007_000032", "2007_000039", "2007_000063"], "test": ["2007_000033"], "none": ["2010_000001"]},
        {
            "listed, but not on disk": ["2008_lost"],
            "mask without an image": ["SegmentationClass/2009_alone.png"],
        },
        "VOCdevkit/VOC2012",
    ),
    "cityscapes": Layout(
        "cityscapes",
        make_cityscapes,
        {
            "train": [
                *(f"{city}_000000_{frame:06}" for city in ("aachen", "bochum") for frame in (19, 20)),
                "jena_000000_000019",
            ],
            "test": ["lindau_000000_000019", "lindau_000000_000020"],
        },
        {
            "not an image": ["leftImg8bit/train/Thumbs.db", "leftImg8bit/train/aachen/notes.txt"],
            "image without a mask": [
                "leftImg8bit/train/jena/jena_000000_000020_leftImg8bit.png",
                "leftImg8bit/train/zurich",
            ],
            "split without masks": ["leftImg8bit/test"],
        },
    ),
}
