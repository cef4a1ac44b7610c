"""Named augmentation recipes for images and their masks; masks move by nearest neighbour, so no label is made up."""

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from losslab.params import AUGMENTATIONS
from losslab.plugins.manifest import find_entry

if TYPE_CHECKING:
    import albumentations as A

MAX_BANDS_FILLED = 4
"""Bands that OpenCV can fill, each with a value of its own."""
RECIPES_WITHOUT_VOID = {"none", "flip"}
"""Recipes that bring nothing in from outside an image, which would be void, and need an ignore index."""


def build_augmentation(name: str, mean: Sequence[float], void: int, is_rgb: bool = True) -> "A.Compose | None":
    """Build the transform of a recipe, None if it changes nothing; seed it before each sample.

    Args:
        name: none; flip; seed_lab7 (flip, brightness and contrast, up to 15 degrees of rotation); affine (the same with
            shifts of 5 % and scales of 0.9 to 1.1); strong (more of all, with colour, blur and noise).
            A plug-in's recipe has the name that it gives itself.
        mean: the mean of each band, in units in which its range is 0 to 1, with which what comes in from outside is filled.
        void: the label of what comes in from outside.
        is_rgb: whether images are uint8 `[H, W, 3]`, 0 to 255. Others come as float32 `[H, W, B]`, 0 to 1, and what colour
            is for RGB, brightness and contrast are for them.
    """
    if name == "none":
        return None
    fill = tuple(round(255 * value) for value in mean) if is_rgb else _fill_floats(mean)
    if (entry := find_entry("augmentation", name, AUGMENTATIONS)) is not None:
        from losslab.data.loading.plugin_augmentation import build_plugin_augmentation

        return build_plugin_augmentation(entry, fill, void, len(mean), is_rgb)
    import albumentations as A  # takes a second to import, which evaluation need not pay for
    import cv2

    outside = {
        "fill": fill,
        "fill_mask": void,
        "border_mode": cv2.BORDER_CONSTANT,
        "interpolation": cv2.INTER_LINEAR,
        "mask_interpolation": cv2.INTER_NEAREST,
    }
    flip, light = A.HorizontalFlip(p=0.5), A.RandomBrightnessContrast(p=0.2)
    steps = {
        "flip": lambda: [flip],
        "seed_lab7": lambda: [flip, light, A.Rotate(limit=15, p=0.5, **outside)],
        "affine": lambda: [
            flip,
            A.Affine(translate_percent=(-0.05, 0.05), scale=(0.9, 1.1), rotate=(-15, 15), p=0.5, **outside),
            light,
        ],
        "strong": lambda: [
            flip,
            A.Affine(translate_percent=(-0.1, 0.1), scale=(0.7, 1.4), rotate=(-25, 25), p=0.8, **outside),
            A.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05, p=0.8)
            if is_rgb
            else A.RandomBrightnessContrast(brightness_limit=0.3, contrast_limit=0.3, p=0.8),
            A.GaussianBlur(blur_limit=(3, 5), p=0.1),
            A.GaussNoise(std_range=(0.02, 0.08), p=0.1),
        ],
    }
    return A.Compose(steps[name]())


def _fill_floats(mean: Sequence[float]) -> tuple[float, ...]:
    """Return a value for each band; of more than `MAX_BANDS_FILLED`, the mean of all for each."""
    return tuple(mean) if len(mean) <= MAX_BANDS_FILLED else (fmean(mean),) * MAX_BANDS_FILLED
