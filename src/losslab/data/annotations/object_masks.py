"""One mask file for each object, in a folder for each image, as in the Data Science Bowl 2018: ID/masks/*.png."""

from pathlib import Path

from losslab.data.annotations.model import AnnotatedImage, Annotations, LabelledShape
from losslab.data.annotations.paths import find_split
from losslab.data.annotations.shapes import MaskFile
from losslab.data.readers import IMAGE_SUFFIXES
from losslab.io.files import walk_files

LABEL = "foreground"


def read_object_masks(folder: Path) -> Annotations:
    """Read a folder for each image, with the files of its objects in it or in `masks` below it."""
    by_image: dict[str, list[Path]] = {}
    for path in walk_files(folder, lambda path: not path.name.startswith((".", "__MACOSX"))):
        parts = path.relative_to(folder).parts[:-1]
        if path.suffix.lower() in IMAGE_SUFFIXES and parts and parts[-1] != "images":
            by_image.setdefault("/".join(parts[:-1] if parts[-1] == "masks" else parts), []).append(path)
    images = [
        AnnotatedImage(
            names=[f"{name}/images/{name.split('/')[-1]}", name],
            place=str(folder / name),
            shapes=[LabelledShape(LABEL, MaskFile(path)) for path in paths],
            split=find_split("/".join(name.split("/")[:-1])),
        )
        for name, paths in by_image.items()
    ]
    return Annotations(kind="masks", images=images, labels=[LABEL])
