"""Label maps as COCO polygons, without loss: outlines run along the edges of pixels, and what lies within others comes later."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt


def trace_outline(region: npt.NDArray[np.bool_]) -> list[list[int]]:
    """Corners of the outer outline of a region in one piece, clockwise, along the edges of its pixels."""
    inside = np.pad(region, 1)
    y, x = (int(part[0]) for part in np.nonzero(region))  # the upper left corner of the first pixel
    start, step, corners = (x, y), (1, 0), [[x, y]]
    while True:
        x, y = x + step[0], y + step[1]
        if (x, y) == start:
            return corners
        # The pixels ahead, to the right and to the left; a corner between two pixels lies at (x, y), which is padded by 1.
        right = inside[y + (step[0] + step[1] > 0), x + (step[0] - step[1] > 0)]
        left = inside[y + (step[1] - step[0] > 0), x + (step[0] + step[1] > 0)]
        if not right or left:
            step = (-step[1], step[0]) if not right else (step[1], -step[0])
            corners.append([x, y])


def export_coco(masks: dict[str, Any], labels: dict[int, str]) -> dict[str, Any]:
    """COCO instances of label maps, whose files are named by the keys; larger pieces come first, and so lie below."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, mask) in enumerate(masks.items()):
        images.append({"id": number, "file_name": name, "width": mask.shape[1], "height": mask.shape[0]})
        pieces = []
        for value in labels:
            count, places = cv2.connectedComponents((mask == value).astype(np.uint8), connectivity=4)
            for piece in range(1, count):
                corners = trace_outline(places == piece)
                x, y = np.array([*corners, corners[0]], np.int64).T
                pieces.append((abs(int((x[:-1] * y[1:] - x[1:] * y[:-1]).sum())), value, corners))
        for _, value, corners in sorted(pieces, key=lambda piece: -piece[0]):
            outline = [part for corner in corners for part in corner]
            annotations.append(
                {"id": len(annotations), "image_id": number, "category_id": value, "segmentation": [outline]}
            )
    categories = [{"id": value, "name": label} for value, label in labels.items()]
    return {"images": images, "annotations": annotations, "categories": categories}
