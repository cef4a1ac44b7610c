"""Images for all contestants: PNGs on disk, and the arrays that losslab's own stages prepare from them."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from benchmarks.settings import CAMVID, DATASET, ROOT, Settings, Work
from losslab.cards import SPLITS, read_card
from losslab.data.download.fetch import fetch
from losslab.data.download.synthetic import RandomStream, draw_lesion
from losslab.data.prepare.prepare import prepare
from losslab.params import load

# fmt: off
CAMVID_CLASSES = [
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
]
# fmt: on
CAMVID_VOID = 11
DRAWN_CLASSES = ["skin", "lesion", "hair"]
DRAWN_SIDE_PX = 416
"""Side of a drawn image, which has about as many pixels as a CamVid frame."""


def make(work: Work, settings: Settings, drawn: bool) -> str:
    """Fill `work` with images, card, params.yaml and prepared arrays, and return a description of the data."""
    source = work.folder / "source"
    classes, void = (DRAWN_CLASSES, []) if drawn else (CAMVID_CLASSES, [CAMVID_VOID])
    for split in SPLITS:
        count = settings.images if split == "train" else max(settings.images // 2, 1)
        for kind in ("images", "masks"):
            (source / split / kind).mkdir(parents=True)
        if drawn:
            _draw(source / split, SPLITS.index(split), count)
        else:
            _link_camvid(source / split, split, count)
    catalog = work.folder / "data/catalog"
    catalog.mkdir(parents=True)
    (catalog / f"{DATASET}.yaml").write_text(yaml.safe_dump(_build_card(classes, void)), encoding="utf-8")
    work.params.write_text(yaml.safe_dump(_build_params(settings)), encoding="utf-8")
    params, card = load(work.params), read_card(DATASET, catalog)
    fetch(DATASET, card, source, work.raw, work.folder / "downloads")
    prepare(card, work.raw, params.prepare, work.prepared)
    name = f"drawn lesions of {DRAWN_SIDE_PX} x {DRAWN_SIDE_PX}" if drawn else "CamVid, 480 x 360"
    return f"{name}, {len(classes)} classes, PNG"


def build_mapping() -> dict[int, int]:
    """Build raw mask value → label for both datasets; other values are void."""
    return {value: value for value in range(CAMVID_VOID)}


def repeat(prepared: Path, out: Path, times: int) -> None:
    """Copy a prepared folder, with every image in it `times` times."""
    for split in SPLITS:
        (out / split).mkdir(parents=True)
        for kind in ("images", "masks"):
            array = np.load(prepared / split / f"{kind}.npy", mmap_mode="r")
            shape = (len(array) * times, *array.shape[1:])
            longer = np.lib.format.open_memmap(out / split / f"{kind}.npy", "w+", array.dtype, shape)
            for start in range(0, len(longer), len(array)):
                longer[start : start + len(array)] = array
    (out / "dataset.json").write_bytes((prepared / "dataset.json").read_bytes())
    header, *rows = (prepared / "index.csv").read_text(encoding="utf-8").splitlines()
    by_split = [row for split in SPLITS for row in [r for r in rows if r.startswith(split)] * times]
    (out / "index.csv").write_text("\n".join([header, *by_split]) + "\n", encoding="utf-8")


def _link_camvid(folder: Path, split: str, count: int) -> None:
    """Link the first images of a split, and if there are too few, the same ones again."""
    paths = sorted((CAMVID / split).glob("*.png"))
    for number in range(count):
        path = paths[number % len(paths)]
        (folder / f"images/{number:04d}.png").symlink_to(path)
        (folder / f"masks/{number:04d}.png").symlink_to(CAMVID / f"{split}annot" / path.name)


def _draw(folder: Path, stream: int, count: int) -> None:
    for number in range(count):
        image, mask = draw_lesion(RandomStream(stream, number), DRAWN_SIDE_PX)
        for kind, pixels in (("images", image[..., ::-1]), ("masks", mask)):
            cv2.imwrite(str(folder / kind / f"{number:04d}.png"), np.ascontiguousarray(pixels))


def _build_card(classes: list[str], void: list[int]) -> dict[str, Any]:
    return {
        "title": "Benchmark",
        "licence": "that of its images",
        "citation": "none",
        "home": None,
        "source": {"folder": None},
        "layout": "split_folders",
        "classes": [
            {"name": name, "color": [label * 20, 128, 128], "values": [label]} for label, name in enumerate(classes)
        ],
        "void": void,
    }


def _build_params(settings: Settings) -> dict[str, Any]:
    """Read the shipped params.yaml, and change what the settings say."""
    params: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["dataset"], params["encoder"] = DATASET, settings.encoder
    params["prepare"]["size"] = settings.size
    params["train"] |= {"epochs": 1 + settings.epochs, "batch_size": settings.batch_size}
    params["evaluate"]["batch_size"] = settings.batch_size
    return params
