"""Published layouts of photographs: pets, streets, rooms, land from above.

Where the labels of the official test images are not published, the official validation images are those that a net is tested
on, as in papers; prepare then draws val from the training images, as it does for any missing split.
"""

from collections.abc import Mapping
from pathlib import Path

from losslab.cards import SPLITS, SplitName
from losslab.data.images.names import get_stem, normalize_name
from losslab.data.readers.listing import (
    DatasetLayout,
    DatasetListing,
    find_pair,
    find_split,
    pair_files,
)


def _read_camvid(folder: Path, suffix: str, listing: DatasetListing) -> None:
    """Read SegNet's folders; where names of frames repeat between splits, the split becomes part of the name."""
    stems = [get_stem(path) for split in SPLITS for path in (folder / split).iterdir()]
    repeats = len(set(stems)) < len(stems)
    for split in SPLITS:
        pair_files(folder, split, f"{split}annot", listing, split, suffix, prefix=f"{split}/" if repeats else "")


def _read_oxford_pet(folder: Path, suffix: str, listing: DatasetListing) -> None:
    """Read official lists that name the split; among the images are .mat files, among the masks macOS's `._*` files."""
    official = _read_lists(folder, _PET_LISTS)
    pair_files(folder, "images", "annotations/trimaps", listing, official, suffix)
    _skip_missing(official, listing)


def _read_voc2012(folder: Path, suffix: str, listing: DatasetListing) -> None:
    """Read the folder VOC2012, whose lists name the images with masks: 2913 of 17125. val is the test split."""
    official = _read_lists(folder, _VOC_LISTS)
    pair_files(folder, "JPEGImages", "SegmentationClass", listing, official, all_have_masks=False)
    _skip_missing(official, listing)


def _read_ade20k(folder: Path, suffix: str, listing: DatasetListing) -> None:
    """Read the folder ADEChallengeData2016; validation is the test split."""
    for name, split in _ADE_SPLITS.items():
        if find_split(folder, f"images/{name}", f"annotations/{name}", listing):
            pair_files(folder, f"images/{name}", f"annotations/{name}", listing, split)


def _read_cityscapes(folder: Path, suffix: str, listing: DatasetListing) -> None:
    """Read a folder for each city below leftImg8bit/train and gtFine/train; val is the test split.

    The published masks of test are dummies, all void, so that split counts as one without masks.
    """
    for name, split in _CITYSCAPES_SPLITS.items():
        images, masks = f"leftImg8bit/{name}", f"gtFine/{name}"
        if not find_split(folder, images, masks, listing):
            continue
        cities = {path.name for kind in (images, masks) for path in (folder / kind).iterdir() if path.is_dir()}
        for kind in (images, masks):
            others = (path for path in (folder / kind).iterdir() if not path.is_dir())
            listing.skip_others(others, folder)
        for city in sorted(cities):
            if find_pair(folder, f"{images}/{city}", f"{masks}/{city}", listing):
                pair_files(
                    folder,
                    f"{images}/{city}",
                    f"{masks}/{city}",
                    listing,
                    split,
                    "_gtFine_labelIds",
                    image_suffix="_leftImg8bit",
                    passed=("_gtFine_color", "_gtFine_instanceIds", "_gtFine_labelTrainIds", "_gtFine_polygons"),
                )
    if (folder / "leftImg8bit/test").is_dir():
        listing.skip("split without masks", ["leftImg8bit/test"])


def _read_loveda(folder: Path, suffix: str, listing: DatasetListing) -> None:
    """Read Urban and Rural below Train and Val, which is the test split; names may repeat, so they say whence they are."""
    for name, split in _LOVEDA_SPLITS.items():
        for area in ("Rural", "Urban"):
            place = f"{name}/{area}"
            if find_split(folder, f"{place}/images_png", f"{place}/masks_png", listing):
                pair_files(folder, f"{place}/images_png", f"{place}/masks_png", listing, split, prefix=f"{place}/")
    if (folder / "Test").is_dir():
        listing.skip("split without masks", ["Test"])


def _read_lists(folder: Path, lists: Mapping[str, SplitName]) -> dict[str, SplitName]:
    """Read the split of each stem from files with a stem at the start of each line."""
    official: dict[str, SplitName] = {}
    for name, split in lists.items():
        for line in (folder / name).read_text(encoding="utf-8").splitlines():
            if line.strip() and not line.startswith("#"):
                official[normalize_name(line.split()[0])] = split
    return official


def _skip_missing(official: Mapping[str, SplitName], listing: DatasetListing) -> None:
    listing.skip("listed, but not on disk", official.keys() - {sample.name for sample in listing.samples})


_PET_LISTS: dict[str, SplitName] = {"annotations/trainval.txt": "train", "annotations/test.txt": "test"}
_VOC_LISTS: dict[str, SplitName] = {
    "ImageSets/Segmentation/train.txt": "train",
    "ImageSets/Segmentation/val.txt": "test",
}
_ADE_SPLITS: dict[str, SplitName] = {"training": "train", "validation": "test"}
_CITYSCAPES_SPLITS: dict[str, SplitName] = {"train": "train", "val": "test"}
_LOVEDA_SPLITS: dict[str, SplitName] = {"Train": "train", "Val": "test"}
LAYOUTS = {
    "ade20k": DatasetLayout(("images/training", "annotations/training"), _read_ade20k),
    "camvid": DatasetLayout(tuple(f"{split}{kind}" for split in SPLITS for kind in ("", "annot")), _read_camvid),
    "cityscapes": DatasetLayout(("leftImg8bit/train", "gtFine/train"), _read_cityscapes),
    "loveda": DatasetLayout(("Train/Urban", "Train/Rural"), _read_loveda),
    "oxford_pet": DatasetLayout(("images", "annotations/trimaps", *_PET_LISTS), _read_oxford_pet),
    "voc2012": DatasetLayout(("JPEGImages", "SegmentationClass", *_VOC_LISTS), _read_voc2012),
}
