"""Masks of many pixels take memory in strips, and few of them at a time."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from losslab.data.new_dataset import masks
from losslab.io import windows


def test_strips_of_a_mask_hold_what_the_whole_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.random.default_rng(0).integers(0, 4, (4, 24, 10)).astype(np.uint8)
    colours = np.stack(list(numbers[:3]), axis=2)
    Image.fromarray(np.dstack([colours, 80 * numbers[3]]), "RGBA").save(tmp_path / "colours.png")
    Image.fromarray(np.dstack([numbers[0], 80 * numbers[3]]), "LA").save(tmp_path / "grey.png")
    Image.fromarray(numbers[0].astype(np.uint16)).save(tmp_path / "wide.png")
    paths = [tmp_path / name for name in ("colours.png", "grey.png", "wide.png")]
    whole = [masks._read_values(path, lossless=True) for path in paths]
    assert whole[1].in_two_opacities == 0 and whole[0].in_colours and not whole[2].in_colours
    monkeypatch.setattr(windows, "STRIP_PIXELS", 30)
    assert [masks._read_values(path, lossless=True) for path in paths] == whole


def test_few_large_masks_are_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "SMALL_FILE_BYTES", 0)
    monkeypatch.setattr(masks, "MAX_PIXELS_AHEAD", 150)
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path in paths:
        Image.new("L", (10, 10)).save(path)
    (tmp_path / "4.png").write_bytes(b"no image")
    alone = threading.Lock()

    def work(path: Path) -> str:
        if path.name != "4.png":
            assert alone.acquire(blocking=False)
            time.sleep(0.02)
            alone.release()
        return path.name

    assert masks.map_files(work, [*paths, tmp_path / "4.png"], "masks") == [f"{number}.png" for number in range(5)]
