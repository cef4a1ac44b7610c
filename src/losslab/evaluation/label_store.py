"""Predicted label maps, packed in a temporary file to keep memory free."""

import os
import tempfile
import threading
import zlib
from pathlib import Path

import numpy as np

from losslab.io.files import name_errors
from losslab.metrics.images import Labels


class LabelMapStore:
    """Label maps uint8 `[H, W]`, or `[H, W, classes]` of overlapping classes, in the order they were added."""

    def __init__(self, classes: int | None = None) -> None:
        self.pixel = () if classes is None else (classes,)
        """The shape of a pixel."""
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 — closed and removed with this object
        self.lock = threading.Lock()
        """Held while the file is used: one image is scored while the next is predicted."""
        self.maps: list[StoredLabels] = []

    def begin(self, height: int, width: int) -> "StoredLabels":
        """Begin a label map, whose rows are then appended to it from top to bottom."""
        self.maps.append(StoredLabels(self, height, width))
        return self.maps[-1]

    def add(self, labels: Labels) -> None:
        self.begin(labels.shape[0], labels.shape[1]).append(labels)

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, index: int) -> "StoredLabels":
        return self.maps[index]


class StoredLabels:
    """A label map of the store: `losslab.io.windows.PixelWindows`."""

    def __init__(self, store: LabelMapStore, height: int, width: int) -> None:
        self.store, self.height, self.width = store, height, width
        self.parts: list[tuple[int, int, int, int]] = []
        """First row, the row after the last, offset and length in the file."""

    def append(self, rows: Labels) -> None:
        """Append rows `[rows, width, …]` below those that are there."""
        packed = zlib.compress(rows.tobytes(), level=1)
        with self.store.lock, name_errors(Path(tempfile.gettempdir())):
            offset = self.store.file.seek(0, os.SEEK_END)
            self.store.file.write(packed)
            self.store.file.flush()
        top = self.parts[-1][1] if self.parts else 0
        self.parts.append((top, top + len(rows), offset, len(packed)))

    def read(self, top: int, left: int, height: int, width: int) -> Labels:
        """Read a window, `[height, width, …]`."""
        bottom, found = top + height, list[Labels]()
        for first, last, offset, length in self.parts:
            if first < bottom and top < last:
                with self.store.lock:
                    self.store.file.seek(offset)
                    packed = self.store.file.read(length)
                rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(-1, self.width, *self.store.pixel)
                found.append(rows[max(top - first, 0) : bottom - first, left : left + width])
        return np.concatenate(found)
