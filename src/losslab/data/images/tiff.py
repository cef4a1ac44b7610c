"""TIFF files of any bands and type, of which any window is read without decoding the rest."""

import io
import logging
import re
import threading
from collections import OrderedDict
from itertools import islice
from typing import Any

import numpy as np
from tifffile import TiffFile, TiffPage

from losslab.data.images.files import MAX_PIXELS, MAX_TIFF_PAGES, Content, UnusableFileError, Values

CACHE_BYTES = 128 << 20
"""Decoded strips and tiles that are kept for the next window; those that its neighbour shares are kept at any rate."""
_GREY, _RGB, _PALETTE, _CMYK, _YCBCR, _JPEG, _LAB = 1, 2, 3, 5, 6, 7, 8
_UNASSOCIATED_ALPHA = 2
_GDAL_NAME = re.compile(r'<Item name="DESCRIPTION" sample="(\d+)"[^>]*>([^<]*)<')
_OME_NAME = re.compile(r'<Channel\b[^>]*?\bName="([^"]*)"')
# What is wrong with a file is said once, as an error or a finding.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


class TiffWindows:
    """The bands `[h, w, B]` of a TIFF, as stored: of one page, or one of each page.

    Pixels that are not compressed are taken from where they lie. Of others, the strips and tiles that touch a window are
    decoded, and some are kept, since windows lie side by side.
    """

    def __init__(self, content: Content) -> None:
        self.content = content
        file: Any = io.BytesIO(content) if isinstance(content, bytes) else content
        file.seek(0)
        self.tiff = TiffFile(file)
        self.pages = self._list_pages()
        page = self.pages[0]
        self.height, self.width = page.imagelength, page.imagewidth
        if page.dtype is None or page.dtype.kind not in "buif" or page.imagedepth > 1 or 0 in page.shaped:
            bits = f"{page.bitspersample} bits of sample format {page.sampleformat}"
            raise UnusableFileError("unreadable image", f"{bits}, {self.width} x {self.height} x {page.imagedepth}")
        self.dtype = page.dtype
        parts = (pair for each in self.pages for pair in zip(each.dataoffsets, each.databytecounts, strict=True))
        end = max(offset + count for offset, count in parts)
        if end > len(content):
            raise ValueError(f"truncated: {len(content)} bytes of {end}")
        are_mapped = all(each.is_contiguous for each in self.pages)
        self.mapped = [self._map_page(each) for each in self.pages] if are_mapped else []
        self.bands = sum(array.shape[2] for array in self.mapped) or sum(each.samplesperpixel for each in self.pages)
        self.decoded: OrderedDict[tuple[int, int], Values] = OrderedDict()
        self.decoded_bytes, self.kept = 0, 0
        self.lock = threading.Lock()

    @property
    def has_alpha(self) -> bool:
        page = self.pages[0]
        return len(self.pages) == 1 and self.bands > 1 and bool(page.extrasamples) and page.extrasamples[-1] in (1, 2)

    @property
    def orientation(self) -> int:
        tag = self.pages[0].tags.get(274)
        return tag.value if tag is not None and tag.value in range(1, 9) else 1

    @property
    def holds_numbers(self) -> bool:
        """Whether the file holds one band of numbers of 8 bits or more, or of indices into a palette."""
        kinds = {_GREY: ("uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"), _PALETTE: ("uint8",)}
        is_whole = self.pages[0].bitspersample == 8 * self.dtype.itemsize
        return self.bands == 1 and is_whole and self.dtype.name in kinds.get(int(self.pages[0].photometric), ())

    @property
    def is_rgb(self) -> bool:
        """Whether the file holds colours of any kind, of 8 bits or fewer, with or without alpha."""
        page, colours = self.pages[0], {_RGB: 3, _CMYK: 4, _YCBCR: 3, _LAB: 3}
        is_small = len(self.pages) == 1 and self.dtype in (np.uint8, np.bool_)
        return is_small and self.bands == colours.get(int(page.photometric), 1) + self.has_alpha

    @property
    def is_plain(self) -> bool:
        """Whether the file holds grey or RGB of 8 bits as it is shown, with or without alpha."""
        page = self.pages[0]
        is_shown = page.photometric in (_GREY, _RGB) or (page.photometric == _YCBCR and page.compression == _JPEG)
        extra = tuple(page.extrasamples)
        return self.is_rgb and is_shown and page.bitspersample == 8 and extra in ((), (_UNASSOCIATED_ALPHA,))

    def find_names(self) -> list[str]:
        """Find what GDAL, ImageJ or an OME-TIFF call the bands; empty where they have no names."""
        tags = self.pages[0].tags
        if gdal := tags.get(42112):
            return [name for _, name in sorted((int(band), name) for band, name in _GDAL_NAME.findall(str(gdal.value)))]
        if self.tiff.is_imagej:
            return list((self.tiff.imagej_metadata or {}).get("Labels", ()))
        return _OME_NAME.findall(self.tiff.ome_metadata or "")

    def read(self, top: int, left: int, height: int, width: int) -> Values:
        if self.mapped:
            mapped = [array[top : top + height, left : left + width] for array in self.mapped]
            return np.concatenate(mapped, axis=2).astype(self.dtype, copy=False)
        window = np.empty((height, width, self.bands), self.dtype)
        with self.lock:
            rows, columns = _measure_part(self.pages[0])
            down, across = -(-(top + height) // rows) - top // rows, -(-(left + width) // columns) - left // columns
            layers = len(self.pages) * self.pages[0].shaped[0]
            self.kept = layers * (down * across if width < self.width else 1)
            for number, page in enumerate(self.pages):
                start = number * page.samplesperpixel
                self._fill(number, page, window[..., start : start + page.samplesperpixel], top, left)
        return window

    def _list_pages(self) -> list[TiffPage]:
        """List the pages that are no smaller copies or outlines. Raises UnusableFileError unless each is a band."""
        every: list[Any] = list(islice(self.tiff.pages, MAX_TIFF_PAGES))
        pages = [page for page in every if not page.subfiletype & 0b101] or every
        kinds = {(page.shaped, page.dtype) for page in pages}
        if len(pages) > 1 and (len(kinds) > 1 or pages[0].samplesperpixel > 1):
            raise UnusableFileError("several frames", f"{len(pages)} of them")
        return pages

    def _map_page(self, page: TiffPage) -> Values:
        """Return the pixels `[H, W, B]` of a page where they lie."""
        count = 1
        if self.tiff.is_imagej and len(self.pages) == 1 and page.samplesperpixel == 1:
            count = int((self.tiff.imagej_metadata or {}).get("images", 1))  # planes that follow the only page
        kind = self.dtype.newbyteorder(self.tiff.byteorder)
        pixels = np.frombuffer(self.content, kind, count * page.size, page.dataoffsets[0])
        planes, _, height, width, samples = page.shaped
        if count > 1 or planes > 1:
            return np.moveaxis(pixels.reshape(count * planes, height, width), 0, -1)
        return pixels.reshape(height, width, samples)

    def _fill(self, number: int, page: TiffPage, window: Values, top: int, left: int) -> None:
        """Fill a window `[h, w, B]` with the bands of a page."""
        planes, _, length, breadth, samples = page.shaped
        rows, columns = _measure_part(page)
        down, across = -(-length // rows), -(-breadth // columns)
        bottom, right = top + window.shape[0], left + window.shape[1]
        for plane in range(planes):
            target = window[..., plane * samples : (plane + 1) * samples]
            for row in range(top // rows, -(-bottom // rows)):
                for column in range(left // columns, -(-right // columns)):
                    part = self._decode(number, page, (plane * down + row) * across + column)
                    up, west = row * rows, column * columns
                    first, last = max(top, up), min(bottom, up + rows)
                    begin, end = max(left, west), min(right, west + columns)
                    inside = part[first - up : last - up, begin - west : end - west] if part.ndim else part
                    target[first - top : last - top, begin - left : end - left] = inside

    def _decode(self, number: int, page: TiffPage, index: int) -> Values:
        """Return a strip or tile `[h, w, B]`, or the number that stands for one that is not stored."""
        key = number, index
        if key in self.decoded:
            self.decoded.move_to_end(key)
            return self.decoded[key]
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        data = self.content[offset : offset + count] if count else None
        values = page.decode(data, index, jpegtables=page.jpegtables)[0]
        part = np.asarray(page.nodata if values is None else values[0], self.dtype)
        self.decoded[key] = part
        self.decoded_bytes += part.nbytes
        while len(self.decoded) > self.kept and self.decoded_bytes > CACHE_BYTES:
            self.decoded_bytes -= self.decoded.popitem(last=False)[1].nbytes
        return part


def _measure_part(page: TiffPage) -> tuple[int, int]:
    """Return height and width of the strips or tiles of a page. Raises UnusableFileError."""
    height, width = page.tilelength or min(page.rowsperstrip, page.imagelength), page.tilewidth or page.imagewidth
    if height * width > MAX_PIXELS:
        raise UnusableFileError("too large to read", f"strips or tiles of {width} x {height} pixels")
    return height, width
