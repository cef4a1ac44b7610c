"""An augmentation recipe of a plug-in, tried on a picture before it meets the data."""

from collections.abc import Sequence
from typing import Any

import albumentations as A
import numpy as np

from losslab.errors import InputError
from losslab.plugins.loading import call_plugin, load_plugin
from losslab.plugins.manifest import PluginEntry

TRIAL_SIDE_PX = 64


def build_plugin_augmentation(
    entry: PluginEntry, fill: Sequence[float], void: int, bands: int, is_rgb: bool
) -> A.Compose:
    """Build the transform. Raises InputError that names the file where it fails, or changes an image's size or type."""
    recipe = load_plugin(entry.origin, entry.attribute)
    steps = call_plugin(recipe, entry.origin, {"fill": tuple(fill), "void": void})
    if not isinstance(steps, A.Compose) and not (
        isinstance(steps, list) and all(isinstance(step, A.BasicTransform | A.BaseCompose) for step in steps)
    ):
        raise InputError(
            f"{entry.place}: {entry.name} returned {type(steps).__name__}; a recipe is a list of albumentations"
        )
    transform = steps if isinstance(steps, A.Compose) else A.Compose(steps)
    picture: dict[str, Any] = {
        "image": np.zeros((TRIAL_SIDE_PX, TRIAL_SIDE_PX, bands), np.uint8 if is_rgb else np.float32),
        "mask": np.zeros((TRIAL_SIDE_PX, TRIAL_SIDE_PX), np.uint8),
    }
    transform.set_random_seed(0)
    changed = call_plugin(transform, entry.origin, picture)
    for name, before in picture.items():
        after = changed[name]
        if (after.shape, after.dtype) != (before.shape, before.dtype):
            raise InputError(
                f"{entry.place}: {entry.name} makes {name}s of {after.dtype} {list(after.shape)} of "
                f"{before.dtype} {list(before.shape)}; a recipe keeps size and type"
            )
    return transform
