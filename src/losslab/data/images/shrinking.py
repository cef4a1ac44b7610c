"""Images as small as pictures, read by strips where they are large."""

import math

import numpy as np

from losslab.data.images.fit import resize_bands
from losslab.io.windows import STRIP_PIXELS, PixelWindows, Values, iterate_strips, read_whole


def shrink_windows(image: PixelWindows, max_side: int, interpolation: int) -> Values:
    """Return an image whose sides have at most `max_side` pixels, `[H, W, …]`; a large one is read by strips."""
    height, width = image.height, image.width
    scale = max_side / max(height, width)
    if scale >= 1:
        return read_whole(image)
    size = max(1, math.floor(width * scale)), max(1, math.floor(height * scale))
    if height * width <= STRIP_PIXELS:
        return _resize(read_whole(image), size, interpolation)
    step = math.ceil(1 / scale)
    strips = iterate_strips(height, width, rows=step * max(1, STRIP_PIXELS // (step * width)))
    parts = [(strip.read(image), max(1, (strip.stop - strip.start) // step)) for strip in strips]
    return np.concatenate([_resize(part, (max(1, width // step), rows), interpolation) for part, rows in parts])


def _resize(pixels: Values, size: tuple[int, int], interpolation: int) -> Values:
    image = pixels if pixels.ndim == 3 else pixels[..., None]
    return resize_bands(image, size, interpolation).reshape(size[1], size[0], *pixels.shape[2:])
