"""Whatever writes a file sees that it cannot be written, says which, and leaves nothing of it.

A limit on the size of files makes writes fail as a full disk does, in C and C++ too, and needs no rights.
"""

import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from losslab.cards import GeneratorSource
from losslab.data.download.synthetic.dataset import generate_dataset
from losslab.errors import InputError, describe_error
from losslab.evaluation.label_store import LabelMapStore
from losslab.export.formats import FormatName, write_net
from losslab.io.files import atomic_write, write_csv, write_json, write_text
from losslab.models import build_model, save
from losslab.prediction.outputs import open_probability_file, save_geotiff_mask, save_mask, save_overlay
from losslab.reporting.components.figures import save_figure
from losslab.training.checkpoints import AtomicCheckpointIO
from tests.conftest import ROOT

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
COLOURS = [[value] * 3 for value in range(256)]
PICTURE = ROOT / "docs/pictures/comparison.png"
METADATA = {"mean": [0.5] * 3, "std": [0.5] * 3, "input": "", "output": "", "label": ""}


@contextmanager
def limit_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_folder(out: Path) -> None:
    with atomic_write(out) as partial:
        partial.mkdir()
        write_text(partial / "inner", "x" * 2000)


def copy_file(out: Path) -> None:
    with atomic_write(out) as partial:
        shutil.copyfile(__file__, partial)


def draw_dataset(out: Path) -> None:
    source = GeneratorSource(generator="lesions", seed=0, pixels=64, images={"train": 1, "val": 1, "test": 1})
    with atomic_write(out) as partial:
        generate_dataset(source, partial)


def write_probabilities(out: Path) -> None:
    with open_probability_file(out, (3, 64, 64)) as write:
        write(0, np.zeros((3, 64, 64), np.float32))


def export(out: Path, format_name: FormatName) -> None:
    with atomic_write(out) as partial:
        write_net(format_name, partial, build_model("simple_cnn", 3), METADATA, 32, "nothing")


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda out: write_text(out, "x" * 2000),
    "JSON": lambda out: write_json(out, {"x": "x" * 2000}),
    "CSV": lambda out: write_csv(out, [{"x": "x" * 2000}]),
    "folder": write_folder,
    "copy": copy_file,
    "data set": draw_dataset,
    "mask": lambda out: save_mask(NOISE[..., 0].copy(), COLOURS, out),
    "geotiff mask": lambda out: save_geotiff_mask(NOISE[..., 0].copy(), COLOURS, PICTURE, out),
    "overlay": lambda out: save_overlay(NOISE, NOISE[..., 0].copy(), COLOURS, [False] * 256, out),
    "probabilities": write_probabilities,
    "figure": lambda out: save_figure(Figure(), out),
    "model": lambda out: save(out, build_model("simple_cnn", 3), {}),
    "checkpoint": lambda out: AtomicCheckpointIO("key").save_checkpoint({"weights": NOISE}, out),
    "torchscript": lambda out: export(out, "torchscript"),
    "torch_export": lambda out: export(out, "torch_export"),
}


@pytest.mark.parametrize("what", WRITERS)
def test_write_that_fails_names_its_file_and_leaves_nothing(what: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with limit_files(), pytest.raises((OSError, InputError)) as failed:
        WRITERS[what](out)
    assert isinstance(failed.value, OSError | InputError)
    line = describe_error(failed.value)
    assert str(out) in line and ".partial" not in line and ("large" in line or what == "checkpoint")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_scratch_file_of_evaluate_names_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with limit_files(), pytest.raises(OSError) as failed:
        LabelMapStore().add(NOISE[..., 0])
    assert describe_error(failed.value) == f"{tmp_path}: File too large"


def test_nothing_is_written_past_python() -> None:
    """Libraries that open files themselves may not see that the disk is full (OpenCV), or end the process (torch)."""
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not [name for name in ("cv2.imwrite(", ".tofile(", "np.savez", ".save(str(") if name in text], path
