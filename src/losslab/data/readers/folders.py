"""Layouts of a user's own: folders of images and of masks, with or without a folder for each split."""

from pathlib import Path

from losslab.cards import SPLITS
from losslab.data.readers.listing import DatasetLayout, DatasetListing, pair_files
from losslab.errors import InputError


def _read_split_folders(folder: Path, suffix: str, listing: DatasetListing) -> None:
    """Read a folder for each split; where val or test is missing altogether, prepare draws it from train."""
    for split in SPLITS:
        present = [(folder / split / kind).exists() for kind in ("images", "masks")]
        if any(present) and not all(present):
            raise InputError(f"{folder / split}: lacks {'masks' if present[0] else 'images'}")
        if all(present):
            pair_files(folder, f"{split}/images", f"{split}/masks", listing, split, suffix, prefix=f"{split}/")
        else:
            listing.skip("split without a folder", [split])


def _read_folders(folder: Path, suffix: str, listing: DatasetListing) -> None:
    pair_files(folder, "images", "masks", listing, None, suffix)


LAYOUTS = {
    "split_folders": DatasetLayout(("train/images", "train/masks"), _read_split_folders),
    "folders": DatasetLayout(("images", "masks"), _read_folders),
}
