"""Images of other bands, bits and sizes, from `losslab datasets new` to a report and to predictions that know their place."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from losslab.experiments.clone import STAGES
from losslab.io.files import read_json
from tests.data.annotations.outlines import export_coco
from tests.pipeline.clone import Clone, stages_run

pytestmark = pytest.mark.pipeline
TINY: dict[str, Any] = {
    "arch": "simple_cnn",
    "encoder": None,
    "prepare": {"size": 32, "fit": "tile"},
    "train": {"epochs": 1, "crop": 16, "sampling": "foreground", "augmentation": "strong"},
}


def draw_scenes(folder: Path) -> None:
    """Scenes of five bands of 16 bits and several sizes, as GeoTIFFs, and polygons of bright patches."""
    rng = np.random.default_rng(0)
    (folder / "scenes").mkdir()
    masks = dict[str, Any]()
    for number in range(9):
        mask = np.kron(rng.integers(0, 2, (4, 5)), np.ones((9 + number, 12), int)).astype(np.uint8)
        image = (rng.normal(300, 40, (5, *mask.shape)) + 500.0 * mask).astype(np.uint16)
        layout = {"driver": "GTiff", "count": 5, "dtype": "uint16", "height": mask.shape[0], "width": mask.shape[1]}
        place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 5e5 + 600 * number, 0, -10, 5.2e6)}
        with rasterio.open(folder / f"scenes/s{number}.tif", "w", **layout, **place, compress="lzw") as file:
            file.write(image)
        masks[f"s{number}.tif"] = mask
    (folder / "fields.json").write_text(json.dumps(export_coco(masks, {0: "background", 1: "field"})), encoding="utf-8")


def test_scenes_of_any_bands_and_size_become_a_report_and_maps(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone", TINY)
    draw_scenes(tmp_path)
    output = clone.run(f"losslab datasets new scenes --images {tmp_path}/scenes --annotations {tmp_path}/fields.json")
    assert "band1, band2, band3, band4, band5: uint16, scaled by {percentiles: [0.1, 99.9]}" in output
    add, commit, experiment = [line.strip() for line in output.splitlines() if line.startswith("  ")][-3:]
    clone.run(f"{add} && {commit}")
    output = clone.run(experiment)
    assert stages_run(output) == STAGES and "Warning" not in output
    model = read_json(clone.folder / "models/model.json")
    assert model["fit"] == "tile" and model["bands"]["dtype"] == "uint16" and len(model["mean"]) == 5
    page = (clone.folder / "reports/report.html").read_text(encoding="utf-8")
    assert "5 of uint16: band1" in page and "tiles blended" in page

    clone.run(f"losslab predict {tmp_path}/scenes -o {tmp_path}/maps --overlays")
    for path in (tmp_path / "scenes").iterdir():
        with rasterio.open(path) as scene, rasterio.open(tmp_path / f"maps/{path.name}") as made:
            assert (made.crs, made.transform, made.shape) == (scene.crs, scene.transform, scene.shape)
    name = clone.run("dvc exp list --name-only").split()[0]
    assert "identical: 19 outs" in clone.run(f"losslab verify {name}")
