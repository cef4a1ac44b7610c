"""Named augmentation recipes, for images and masks alike."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import albumentations as A


def recipe(name: str) -> "A.Compose | None":
    """The transform of a recipe (`none`, `flip`), None where nothing is changed; seed it before each sample."""
    if name == "none":
        return None
    import albumentations as A  # takes a second to import, which evaluation need not pay for

    return A.Compose({"flip": [A.HorizontalFlip(p=0.5)]}[name])
