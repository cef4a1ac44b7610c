"""Speed of losslab's prepare compared with a plain loop, and its memory with ten times the images.

`python -m benchmarks.preparing WHO FOLDER OUT` measures one of the two in a process of its own.
"""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from benchmarks.anonymous_peak import AnonymousPeak
from benchmarks.settings import PETS
from losslab.cards import read_card
from losslab.data.download.synthetic import RandomStream, draw_lesion
from losslab.data.prepare.prepare import prepare
from losslab.params import PrepareParams, SplitParams

SIDE_PX = 256
WIDTH_PX, HEIGHT_PX = 500, 375
FEW_IMAGES, MANY_IMAGES = 600, 6000
CARD = {
    "title": "Benchmark",
    "licence": "that of its images",
    "citation": "none",
    "home": None,
    "source": {"own": None},
    "layout": "folders",
    "classes": [{"name": name, "color": [0, 99, 9], "values": [n]} for n, name in enumerate(("a", "b", "c", "d"))],
    "void": [],
}


def make(folder: Path, images: int) -> str:
    """Write JPEGs of 500 x 375 with PNG masks to `folder`/own: random crops of real pets if available, else drawn images."""
    for kind in ("images", "masks"):
        (folder / "own" / kind).mkdir(parents=True)
    (folder / "bench.yaml").write_text(yaml.safe_dump(CARD), encoding="utf-8")
    generator = np.random.default_rng(0)
    pets = sorted((PETS / "images").glob("*.jpg"))
    for number in range(images):
        if pets:
            path = pets[number % len(pets)]
            image = cv2.imread(str(path))
            mask = cv2.imread(str(PETS / "annotations/trimaps" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED)
        else:
            drawn, mask = draw_lesion(RandomStream(9, number), 416)
            image = np.ascontiguousarray(drawn[..., ::-1])
        _save(folder / "own", f"{number:05d}", *_crop(image, mask, generator))
    return f"{'pets' if pets else 'drawn lesions'}, JPEG of {WIDTH_PX} x {HEIGHT_PX} with PNG masks, to {SIDE_PX} x {SIDE_PX}"


def link_some(folder: Path, some: Path, images: int) -> None:
    """Link the first of these images as a dataset of their own."""
    for kind in ("images", "masks"):
        (some / "own" / kind).mkdir(parents=True)
        for path in sorted((folder / "own" / kind).iterdir())[:images]:
            (some / "own" / kind / path.name).hardlink_to(path)
    (some / "bench.yaml").write_bytes((folder / "bench.yaml").read_bytes())


def run_plain_loop(folder: Path) -> None:
    """Prepare in one thread of OpenCV, with everything in memory and no checks."""
    cv2.setNumThreads(1)
    paths = sorted((folder / "own/images").glob("*.jpg"))
    pictures, labels = [], []
    for path in paths:
        image: Any = cv2.cvtColor(np.asarray(cv2.imread(str(path))), cv2.COLOR_BGR2RGB)
        mask: Any = cv2.imread(str(folder / "own/masks" / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE)
        pictures.append(cv2.resize(image, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA))
        labels.append(cv2.resize(mask, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_NEAREST))
    np.save(folder / "images.npy", np.stack(pictures))
    np.save(folder / "masks.npy", np.stack(labels))


def run_losslab(folder: Path) -> None:
    split = SplitParams(method="random", val=0.2, test=0.2, seed=0, folds=5, fold=0)
    how = PrepareParams(size=SIDE_PX, fit="stretch", limit=None, audit="strict", split=split)
    prepare(read_card("bench", folder), folder, how, folder / "out")


def main(who: str, path: str, out: str) -> None:
    folder = Path(path)
    images = len(list((folder / "own/images").iterdir()))
    shutil.rmtree(folder / "out", ignore_errors=True)
    anonymous = AnonymousPeak()
    began = time.perf_counter()
    {"plain_loop": run_plain_loop, "losslab": run_losslab}[who](folder)
    seconds = time.perf_counter() - began
    measured: dict[str, Any] = {"images_per_s": images / seconds, "anonymous_mib": anonymous.stop()}
    Path(out).write_text(json.dumps(measured), encoding="utf-8")


def _crop(image: Any, mask: Any, generator: np.random.Generator) -> tuple[Any, Any]:
    height, width = mask.shape
    share = generator.uniform(0.6, 1)
    tall, wide = int(height * share), int(width * share)
    top, left = int(generator.integers(height - tall + 1)), int(generator.integers(width - wide + 1))
    parts = (array[top : top + tall, left : left + wide] for array in (image, mask))
    return (
        cv2.resize(next(parts), (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_LINEAR),
        cv2.resize(next(parts), (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_NEAREST),
    )


def _save(own: Path, name: str, image: Any, mask: Any) -> None:
    cv2.imwrite(str(own / f"images/{name}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
    cv2.imwrite(str(own / f"masks/{name}.png"), mask)


if __name__ == "__main__":
    main(*sys.argv[1:])
