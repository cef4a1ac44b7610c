"""Nets small enough to know what they must answer, and their model.json."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import torch
from torch import Tensor, nn

TWO_BANDS: dict[str, Any] = {
    "bands": {
        "names": ["nir", "red"],
        "dtype": "uint16",
        "shown": [0, 0, 1],
        "low": [0.0, 100.0],
        "high": [255.0, 255.0],
        "clip": True,
    },
    "mean": [0.5] * 2,
    "std": [0.25] * 2,
}
"""Part of the model.json of a net that takes two bands of 16 bits."""
CPU = torch.device("cpu")


def build_description(outputs: int, **changes: Any) -> dict[str, Any]:
    """Build the model.json of a net that was trained on 16 x 16 pixels."""
    names = [f"class{label}" for label in range(max(outputs, 2))]
    return {
        "num_classes": outputs,
        "classes": names,
        "palette": [[40 * label % 256, 255 - 40 * label % 256, 90] for label in range(len(names))],
        "ignore_index": None,
        "size": 16,
        "fit": "stretch",
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "precision": "32-true",
        "run": {"train": {"device": "cpu"}},
    } | changes


def build_small_net(outputs: int, seed: int = 0, bands: int = 3) -> nn.Module:
    """Build two 3 x 3 convolutions: each logit sees two pixels to every side."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(bands, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, outputs, 3, padding=1)).eval()


class OneSize(nn.Module):
    """A net that takes one size only, like some ViT encoders."""

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-2:] != (16, 16):
            raise AssertionError(f"Input height ({images.shape[-2]}) doesn't match model (16).")
        return images[:, :2]


def write_geotiff(path: Path, pixels: npt.NDArray[Any]) -> None:
    """Write an image `[H, W, B]` of pixels of 10 m, somewhere near Verona."""
    place = {"crs": "EPSG:32632", "transform": rasterio.transform.from_origin(650000, 5030000, 10, 10)}
    height, width, count = pixels.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=count, dtype=pixels.dtype.name, **place
    ) as file:
        file.write(np.moveaxis(pixels, -1, 0))


def draw_noise(shape: tuple[int, ...], seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
