"""A small dataset of one's own, and what prepare makes of it."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from losslab.cards import Card, read_card
from losslab.data.loading.arrays import PreparedData
from losslab.data.prepare.prepare import prepare
from losslab.params import PrepareParams, SplitParams
from tests.conftest import TINY_CARD

RANDOM = SplitParams(method="random", val=0.25, test=0.25, seed=0, folds=5, fold=0)


def make_folders(folder: Path, count: int = 8) -> Path:
    """Images of 40 x 60 noise with masks of 0, 1 and void 9 in blocks, where a user's own data lie."""
    generator = np.random.default_rng(0)
    own = folder / "raw/own"
    for number in range(count):
        save(own / f"images/im{number}.png", generator.integers(0, 256, (40, 60, 3), np.uint8))
        save(
            own / f"masks/im{number}.png",
            np.kron(generator.choice(np.array([0, 1, 9], np.uint8), (4, 6)), np.ones((10, 10), np.uint8)),
        )
    return own


def save(path: Path, pixels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def own_card(folder: Path, **changes: Any) -> Card:
    classes = [
        {"name": "back", "color": [0, 0, 0], "values": [0]},
        {"name": "front", "color": [9, 9, 9], "values": [1]},
    ]
    content = TINY_CARD | {"source": {"own": None}, "layout": "folders", "classes": classes, "void": [9]} | changes
    (folder / "own.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return read_card("own", folder)


def how(**changes: Any) -> PrepareParams:
    """32 x 32 pixels, a random split, bad files left out; or as `changes` say."""
    split = RANDOM.model_copy(
        update={key: changes.pop(key) for key in list(changes) if key in SplitParams.model_fields}
    )
    content: dict[str, Any] = {"size": 32, "fit": "stretch", "limit": None, "audit": "warn"} | changes
    return PrepareParams(**content, split=split)


def prepared_from(folder: Path, card: Card | None = None, **changes: Any) -> tuple[dict[str, Any], PreparedData]:
    """The audit, and the prepared data, of `folder`/raw."""
    audit = prepare(card or own_card(folder), folder / "raw", how(**changes), folder / "out")
    return audit, PreparedData(folder / "out")


def files_by_kind(audit: dict[str, Any], *severities: str) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    for finding in audit["findings"]:
        if not severities or finding["severity"] in severities:
            files.setdefault(finding["kind"], []).append(finding["file"])
    return files


def find_pixels(prepared: PreparedData, name: str) -> tuple[Any, Any]:
    """Prepared image and mask of a name, in whichever split."""
    for split in ("train", "val", "test"):
        if name in prepared.names(split):
            index = prepared.names(split).index(name)
            return prepared.images(split)[index], prepared.masks(split)[index]
    raise AssertionError(f"{name} was left out")
