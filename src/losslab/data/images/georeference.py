"""Where the pixels of a GeoTIFF lie on the Earth."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Georeference:
    crs: Any
    """The coordinate reference system, of rasterio; None where the file has none."""
    transform: Any
    """From columns and rows of pixels to coordinates, affine, of rasterio."""


def read_georeference(path: Path) -> Georeference | None:
    """Read where a GeoTIFF lies; None for other files, and without rasterio, which comes with losslab[geo]."""
    try:
        import rasterio
    except ImportError:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        try:
            with rasterio.open(path, driver="GTiff") as opened:
                crs, transform = opened.crs, opened.transform
        except rasterio.errors.RasterioIOError:
            return None
    return None if crs is None and transform.is_identity else Georeference(crs, transform)
