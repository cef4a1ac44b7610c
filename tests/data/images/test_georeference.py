from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from losslab.data.images.georeference import has_georeference, read_georeference


def test_place_of_a_geotiff_is_read_and_other_files_have_none(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    transform, path = rasterio.transform.from_origin(5e5, 5.2e6, 10, 10), tmp_path / "a.tif"
    options = {"driver": "GTiff", "height": 4, "width": 6, "count": 1, "dtype": "uint16"}
    with rasterio.open(path, "w", crs="EPSG:32632", transform=transform, **options) as file:
        file.write(np.ones((1, 4, 6), np.uint16))
    read = read_georeference(path)
    assert has_georeference(path) and read is not None and (read[0].to_epsg(), read[1]) == (32632, transform)
    Image.new("L", (6, 4)).save(tmp_path / "plain.tif")
    Image.new("L", (6, 4)).save(tmp_path / "a.png")
    (tmp_path / "broken.tif").write_bytes(path.read_bytes()[:60])
    assert not any(has_georeference(tmp_path / name) for name in ("plain.tif", "a.png", "none.tif", "broken.tif"))
    assert read_georeference(tmp_path / "plain.tif") is None
