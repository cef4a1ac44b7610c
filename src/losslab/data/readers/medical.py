"""Published layouts of medicine and biology: skin, polyps, retinas, nuclei."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from losslab.cards import SplitName
from losslab.data.images.names import normalize_name
from losslab.data.readers.listing import (
    DatasetLayout,
    DatasetListing,
    find_pair,
    find_split,
    get_relative,
    list_by_stem,
    pair_files,
)
from losslab.plugins import Sample


def _read_ph2(folder: Path, suffix: str, listing: DatasetListing) -> None:
    """Read one folder per case: IMD002/IMD002_Dermoscopic_Image/IMD002.bmp, IMD002/IMD002_lesion/IMD002_lesion.bmp."""
    for case in sorted((folder / PH2_CASES).iterdir()):
        name, place = case.name, get_relative(case, folder)
        images, masks = f"{place}/{name}_Dermoscopic_Image", f"{place}/{name}_lesion"
        if not ((folder / images).is_dir() or (folder / masks).is_dir()):
            listing.skip_others([case], folder)
        elif find_pair(folder, images, masks, listing):
            pairs = DatasetListing()
            pair_files(folder, images, masks, pairs, None, "_lesion")
            listing.skipped += pairs.skipped
            listing.samples += [
                sample if sample.name == normalize_name(name) else replace(sample, name=f"{name}/{sample.name}")
                for sample in pairs.samples
            ]


def _read_isic2018(folder: Path, suffix: str, listing: DatasetListing) -> None:
    """Read a folder of images and one of masks for each split; texts and superpixels lie among them."""
    for name, split in _ISIC_SPLITS.items():
        images, masks = f"ISIC2018_Task1-2_{name}_Input", f"ISIC2018_Task1_{name}_GroundTruth"
        if find_split(folder, images, masks, listing):
            pair_files(folder, images, masks, listing, split, "_segmentation", passed=("_superpixels",))


def _read_cvc_clinicdb(folder: Path, suffix: str, listing: DatasetListing) -> None:
    """Read frames called 1 to 612, as TIFF or PNG; their names tell the sequence: sequence07_131 is frame 131."""
    frames = DatasetListing()
    pair_files(folder, "Original", "Ground Truth", frames, None)
    listing.skipped += frames.skipped
    listing.samples += [replace(sample, name=_name_frame(sample.name)) for sample in frames.samples]


def _name_frame(stem: str) -> str:
    """Return a frame's name with its sequence's number; one that is no number from 1 to 612 as it is.

    >>> _name_frame("25"), _name_frame("26"), _name_frame("extra")
    ('sequence01_025', 'sequence02_026', 'extra')
    """
    if not stem.isdecimal() or not 1 <= int(stem) <= _CVC_LAST_FRAMES[-1]:
        return stem
    return f"sequence{1 + bisect_left(_CVC_LAST_FRAMES, int(stem)):02}_{int(stem):03}"


def _read_drive(folder: Path, suffix: str, listing: DatasetListing) -> None:
    """Read images with the first observer's vessels; what lies outside of the camera's field of view is void.

    Newer copies have no vessels for the test images. The second observer's are passed over.
    """
    for name, split in _DRIVE_SPLITS.items():
        images, masks = f"{name}/images", f"{name}/1st_manual"
        if not find_split(folder, images, masks, listing):
            continue
        pairs = DatasetListing()
        pair_files(folder, images, masks, pairs, split, "_manual1", image_suffix=f"_{name}")
        fields = f"{name}/mask"
        found = list_by_stem(folder, fields, f"_{name}_mask", pairs) if (folder / fields).is_dir() else {}
        listing.skipped += pairs.skipped
        for sample in pairs.samples:
            if sample.name in found:
                listing.samples.append(replace(sample, valid=found[sample.name]))
            else:
                listing.skip("image without a field of view", [get_relative(sample.image, folder)])


def _read_dsb2018(folder: Path, suffix: str, listing: DatasetListing) -> None:
    """Read a folder for each image, with images/<its name>.png, and masks of one file per nucleus."""
    for place in sorted(folder.iterdir()):
        if not ((place / "images").is_dir() or (place / "masks").is_dir()):
            listing.skip_others([place], folder)
        elif find_pair(folder, f"{place.name}/images", f"{place.name}/masks", listing):
            _pair_objects(place, listing, folder)


def _pair_objects(place: Path, listing: DatasetListing, folder: Path) -> None:
    images, masks = list_by_stem(folder, f"{place.name}/images", "", listing), place / "masks"
    name = normalize_name(place.name)
    image = images.pop(name, None)
    if image is None:
        listing.skip("mask without an image", [get_relative(masks, folder)])
    elif list_by_stem(folder, f"{place.name}/masks", "", listing):
        listing.samples.append(Sample(name, image, masks))
    else:
        images[name] = image
    listing.skip("image without a mask", (get_relative(path, folder) for path in images.values()))


PH2_CASES = "PH2 Dataset images"
_ISIC_SPLITS: dict[str, SplitName] = {"Training": "train", "Validation": "val", "Test": "test"}
_DRIVE_SPLITS: dict[str, SplitName] = {"training": "train", "test": "test"}
_CVC_LAST_FRAMES: Sequence[int] = (
    *(25, 50, 67, 78, 103, 126, 151, 177, 199, 205, 227, 252, 277, 297, 317),
    *(342, 363, 383, 408, 428, 447, 466, 478, 503, 528, 546, 571, 591, 612),
)
"""The last frame of each of the 29 sequences, as Dataset Ninja quotes the owners' page."""
LAYOUTS = {
    "cvc_clinicdb": DatasetLayout(("Original", "Ground Truth"), _read_cvc_clinicdb),
    "drive": DatasetLayout(("training/images", "training/1st_manual", "training/mask"), _read_drive),
    "dsb2018": DatasetLayout(("*/images", "*/masks"), _read_dsb2018),
    "isic2018": DatasetLayout(
        ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"), _read_isic2018
    ),
    "ph2": DatasetLayout((PH2_CASES,), _read_ph2),
}
