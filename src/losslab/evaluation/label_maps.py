"""Label maps of many images, kept on disk."""

import os
import tempfile
import zlib

import numpy as np

from losslab.metrics.images import Labels


class LabelMaps:
    """Label maps uint8 `[H, W]` in the order they came, packed, in a temporary file: memory does not grow with the images."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 — closed, and gone, with this object
        self.places: list[tuple[int, int, tuple[int, int]]] = []

    def add(self, labels: Labels) -> None:
        packed = zlib.compress(labels.tobytes(), level=1)
        place = self.file.seek(0, os.SEEK_END)
        self.file.write(packed)
        self.places.append((place, len(packed), (labels.shape[0], labels.shape[1])))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Labels:
        place, length, shape = self.places[index]
        self.file.seek(place)
        return np.frombuffer(zlib.decompress(self.file.read(length)), np.uint8).reshape(shape)
