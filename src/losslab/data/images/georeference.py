"""The place on earth that a GeoTIFF names."""

import importlib.util
import logging
from pathlib import Path
from typing import Any

TIFF_SUFFIXES = {".tif", ".tiff"}
# A damaged file is reported when its pixels are read.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)
_PIXEL_SCALE, _TRANSFORMATION, _KEYS = 33550, 34264, 34735


def has_georeference(path: Path) -> bool:
    """Tell whether a file, by its name a TIFF, says where on earth its pixels lie; False where it cannot be read."""
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return False
    from tifffile import TiffFile

    try:
        with TiffFile(path) as tiff:
            tags = tiff.pages.first.tags
            return any(code in tags for code in (_PIXEL_SCALE, _TRANSFORMATION, _KEYS))
    except Exception:  # a decoder may raise anything at all on damaged bytes
        return False


def is_rasterio_installed() -> bool:
    return importlib.util.find_spec("rasterio") is not None


def read_georeference(path: Path) -> tuple[Any, Any] | None:
    """Return rasterio's CRS and transform of an image file; None for one that has neither. Needs rasterio."""
    import rasterio

    with rasterio.open(path) as opened:
        return None if opened.crs is None and opened.transform.is_identity else (opened.crs, opened.transform)
