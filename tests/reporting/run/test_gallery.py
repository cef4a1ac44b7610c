import base64
import io

import numpy as np
from PIL import Image

from losslab.reporting.components.pictures import encode_labels, encode_mask
from losslab.reporting.run.sections.gallery import choose_rows, find_errors


def decode(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def test_examples_are_dealt_to_the_groups_in_turn() -> None:
    rows = [
        {"file": f"{group}{rank}", "group": group, "rank": str(rank)}
        for group in ("best", "worst", "random")
        for rank in (8, 9, 10)
    ]
    assert {group: [row["file"] for row in part] for group, part in choose_rows(rows, 5).items()} == {
        "best": ["best8", "best9"],
        "worst": ["worst10", "worst9"],
        "random": ["random8"],
    }
    assert choose_rows(rows, 0) == {} and choose_rows([], 4) == {}


def test_void_pixels_are_never_wrong() -> None:
    truth, prediction = np.array([[0, 1, 255]], np.uint8), np.array([[0, 0, 0]], np.uint8)
    assert find_errors(truth, prediction, 255).tolist() == [[False, True, False]]
    assert find_errors(truth, prediction, None).tolist() == [[False, True, True]]


def test_label_picture_keeps_labels_and_shows_their_colours() -> None:
    """Two classes of one colour stay two labels; one byte a pixel, as labels.js reads it."""
    labels = np.array([[0, 1], [2, 255]], np.uint8)
    image = decode(encode_labels(labels, [[9, 9, 9], [9, 9, 9], [200, 0, 0]], (0, 0, 0)))
    assert image.mode == "P" and np.asarray(image).tolist() == labels.tolist()
    assert [image.convert("RGB").getpixel(place) for place in ((1, 0), (0, 1), (1, 1))] == [
        (9, 9, 9),
        (200, 0, 0),
        (0, 0, 0),
    ]


def test_mask_picture_shows_nothing_but_the_mask() -> None:
    image = decode(encode_mask(np.array([[True, False]]), (230, 40, 60))).convert("RGBA")
    assert image.getpixel((0, 0)) == (230, 40, 60, 255) and image.getpixel((1, 0))[3] == 0  # type: ignore[index]
