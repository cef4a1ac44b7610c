"""Pictures as data URIs, so that a page is one file."""

import base64
import io

from PIL import Image

LARGEST_SIDE = 320
"""Pixels; larger pictures are shrunk for the page."""


def data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def picture(image: Image.Image) -> str:
    if max(image.size) > LARGEST_SIDE:
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return data_uri(buffer.getvalue())
