"""The files of a drawn dataset."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from losslab.cards import GeneratorSource
from losslab.data.download.synthetic.drawing import Picture
from losslab.data.download.synthetic.lesions import draw_lesion, draw_overlapping_lesion
from losslab.data.download.synthetic.nuclei import draw_nuclei
from losslab.data.download.synthetic.roads import draw_road
from losslab.data.download.synthetic.stream import RandomStream
from losslab.data.download.synthetic.vessels import draw_vessels

DRAWERS: dict[str, Callable[[RandomStream, int, float], tuple[Picture, Picture]]] = {
    "lesions": draw_lesion,
    "nuclei": draw_nuclei,
    "vessels": draw_vessels,
    "roads": draw_road,
}
"""What draws an image and its mask, by the name of the generator."""


def generate_dataset(source: GeneratorSource, folder: Path, step: Callable[[], object] = lambda: None) -> None:
    """Write `{train,val,test}/{images,masks}/NNNN.bmp` below `folder`; `step` is called after each image.

    Of overlapping classes, a mask is a folder `NNNN` with a file for each.
    """
    number = 0
    for split, count in source.images.items():
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for _ in range(count):
            draws = RandomStream(source.seed, number)
            if source.generator == "overlapping_lesions":
                image, *planes = draw_overlapping_lesion(draws, source.pixels, source.difficulty)
                (folder / split / f"masks/{number:04d}").mkdir()
                named = zip(("lesion", "hair"), planes, strict=True)
                masks = {f"{number:04d}/{name}.bmp": plane * np.uint8(255) for name, plane in named}
            else:
                image, mask = DRAWERS[source.generator](draws, source.pixels, source.difficulty)
                masks = {f"{number:04d}.bmp": mask}
            files = {f"masks/{name}": mask for name, mask in masks.items()}
            for name, pixels in (files | {f"images/{number:04d}.bmp": image[..., ::-1]}).items():
                # Not cv2.imwrite, which does not see that the disk is full.
                _, encoded = cv2.imencode(".bmp", np.ascontiguousarray(pixels))
                (folder / split / name).write_bytes(encoded.tobytes())
            number += 1
            step()
