"""`losslab predict` as a user meets it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from losslab import models
from losslab.cli import app
from losslab.experiments import ensembles
from losslab.experiments.ensembles import OpenedEnsemble
from losslab.inference.ensemble import EnsembleNet
from losslab.inference.predictor import Predictor
from losslab.models import build_model
from tests.export.small_model import save_small_model
from tests.prediction.nets import build_description, draw_noise, write_geotiff


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay a model of two classes in ./models, and three images in ./in."""
    monkeypatch.chdir(tmp_path)
    models.save(
        tmp_path / "models",
        build_model("simple_cnn", 1),
        build_description(1) | {"arch": "simple_cnn", "encoder": None},
    )
    for number in range(3):
        put(f"in/{number}.png", draw_noise((20 + number, 31, 3), number))
    return tmp_path


def put(name: str, pixels: Any) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(name)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["predict", *arguments])


def change_model(**changes: Any) -> None:
    path = Path("models/model.json")
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    kept = {key: value for key, value in content.items() if value is not ...}
    path.write_text(json.dumps(kept), encoding="utf-8")


def test_predict_writes_masks_and_tells_how_quick_it_was() -> None:
    done = run("in", "-o", "out", "--overlays", "--probabilities")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("predict: 3 images, 0.0 Mpixel in ") and "images/s" in done.stdout
    assert sorted(path.name for path in Path("out").iterdir()) == [
        f"{number}.{kind}" for number in range(3) for kind in ("overlay.jpg", "png", "probabilities.npy")
    ]
    with Image.open("out/2.png") as opened:
        assert opened.size == (31, 22) and opened.mode == "P" and set(np.unique(np.asarray(opened))) <= {0, 1}
    assert run("in", "-o", "out").exit_code == 0  # over its own


def test_model_of_the_project_is_found_from_any_folder_of_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "params.yaml").touch()
    (folder / "dvc.yaml").touch()
    monkeypatch.chdir(folder / "in")
    assert run("0.png", "-o", "out").exit_code == 0 and Path("out/0.png").is_file()
    assert CliRunner().invoke(app, ["export", "--format", "torchscript", "--images", "0.png"]).exit_code == 0
    assert (folder / "models/model.ts").is_file()


def test_unreadable_files_are_listed_at_the_end_and_the_exit_code_is_1() -> None:
    Path("in/0b.jpg").write_bytes(b"no image")
    name = os.fsdecode(b"in/caf\xe9.png")  # Latin-1
    Path(name).write_bytes(b"")
    Path("in/damaged.tif").write_bytes(b"II*\0\x08\0\0\0\xff\xff")
    done = run("in", "-o", "out")
    assert done.exit_code == 1
    assert done.stdout.startswith("predict: 3 images, ") and done.stdout.endswith("; 3 failed\n")
    assert done.stderr.splitlines() == [
        "ERROR: in/0b.jpg: unreadable image: unknown image format",
        "ERROR: in/caf\\udce9.png: unreadable image: empty file",
        "ERROR: in/damaged.tif: unreadable image: unknown image format",
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["gone"], "gone: no such file or folder"),
        (["in", "-o", "in"], "in/0.png would lie beside the input in/0.png; choose another folder with -o"),
        (
            ["in", "--model", "gone"],
            "gone/model.json: no such file; the train stage writes it",
        ),
        (["in", "--threshold", "1"], "--threshold must lie between 0 and 1, not 1"),
        (["in", "--device", "cuda"], "--device cuda: torch finds no CUDA device; use auto or cpu"),
        (["in", "-o", "/proc/out"], "/proc/out: No such file or directory"),
    ],
)
def test_impossible_request_ends_with_one_line(
    arguments: list[str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = run(*arguments, *([] if "-o" in arguments else ["-o", "out"]))
    assert done.exit_code == 1
    assert done.output.startswith(f"ERROR: {line}") and len(done.output.splitlines()) == 1
    assert not Path("out").exists() and len(list(Path("in").iterdir())) == 3


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"fit": ...}, "models/model.json: fit: missing; if an older losslab wrote it, train it again"),
        ({"size": "16"}, "models/model.json: size is '16'; it must be a whole number"),
        ({"palette": [[0, 0, 0]]}, "models/model.json: classes, palette and num_classes do not match"),
        ({"num_classes": 2}, "models: model.safetensors and model.json do not match: "),
        ({"arch": "nonet"}, "models/model.json: arch: 'nonet' is not one of "),
    ],
)
def test_broken_model_ends_with_one_line(changes: dict[str, Any], line: str) -> None:
    change_model(**changes)
    done = run("in", "-o", "out")
    assert done.exit_code == 1
    assert done.output.startswith(f"ERROR: {line}"), done.output
    assert len(done.output.splitlines()) == 1


@pytest.mark.parametrize("scale", ["trained", "original"])
def test_damaged_weights_end_with_one_line_and_no_mask(scale: str) -> None:
    save_small_model(Path("models"), damaged=True)
    done = run("in", "-o", "out", "--scale", scale, "--probabilities")
    assert done.exit_code == 1 and done.output.startswith("ERROR: the model's logits are not finite"), done.output
    assert len(done.output.splitlines()) == 1 and not Path("out").exists()


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b""])
def test_model_json_that_is_no_json_ends_with_one_line(content: bytes) -> None:
    Path("models/model.json").write_bytes(content)
    done = run("in", "-o", "out")
    assert done.exit_code == 1 and len(done.output.splitlines()) == 1
    assert done.output.startswith("ERROR: models/model.json: ")


def test_threshold_of_a_model_of_more_classes_is_refused() -> None:
    change_model(num_classes=3, classes=["a", "b", "c"], palette=[[0, 0, 0]] * 3)
    done = run("in", "-o", "out", "--threshold", "0.4")
    assert done.output.startswith(
        "ERROR: --threshold needs a model of two classes, or of overlapping ones; this one has 3"
    )


def test_foreign_masks_are_replaced_only_with_overwrite() -> None:
    put("out/1.png", draw_noise((4, 4, 3)))
    before = Path("out/1.png").read_bytes()
    done = run("in", "-o", "out")
    assert done.exit_code == 1 and done.output.startswith("ERROR: out/1.png: not written by losslab predict")
    assert [path.name for path in Path("out").iterdir()] == ["1.png"] and Path("out/1.png").read_bytes() == before
    assert run("in", "-o", "out", "--overwrite").exit_code == 0
    assert Path("out/1.png").read_bytes() != before


def test_georeference_is_kept_with_rasterio_and_its_loss_is_told_without(monkeypatch: pytest.MonkeyPatch) -> None:
    write_geotiff(Path("in/a.tif"), draw_noise((20, 31, 3)))
    done = run("in", "-o", "out")
    assert done.exit_code == 0 and done.stderr == "" and Path("out/a.tif").exists() and not Path("out/a.png").exists()
    monkeypatch.setattr("losslab.prediction.inputs.is_rasterio_installed", lambda: False)
    done = run("in", "-o", "out")
    assert done.exit_code == 0 and Path("out/a.png").exists()
    line = "in/a.tif has a georeference; pip install 'losslab[geo]' to keep it in predictions"
    assert done.stderr == f"WARNING: {line}\n"


def test_out_of_memory_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nMore")

    monkeypatch.setattr(Predictor, "compute_logits", fail)
    done = run("in", "-o", "out")
    assert done.exit_code == 1
    assert done.output == "ERROR: out of device memory: lower --batch-size, or --tile with --scale original\n"


def test_full_disk_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    done = run("in", "-o", "out")
    assert done.exit_code == 1 and done.output == "ERROR: out/0.png: No space left on device\n"
    assert not list(Path("out").iterdir())


def test_interrupt_ends_with_one_line_and_leaves_complete_files(folder: Path) -> None:
    for number in range(3, 2000):  # more than are done between the first mask and the signal
        Path(f"in/{number}.png").symlink_to("0.png")
    command = [sys.executable, "-c", "from losslab.cli import app; app()", "predict", "in", "-o", "out", "--overlays"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A suite that runs in the background hands on that SIGINT is to be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not (folder / "out/0.png").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr) == (
        130,
        "",
        "ERROR: interrupted: the masks in out are complete; run the same command again to write all of them\n",
    )
    written = list((folder / "out").iterdir())
    assert 0 < len(written) < 4000 and not [path for path in written if path.name.startswith(".")]
    for path in written:
        with Image.open(path) as opened:
            opened.load()


def test_an_ensemble_predicts_at_its_own_threshold_and_says_so(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "params.yaml").touch()
    (folder / "dvc.yaml").touch()
    net, description = models.load(folder / "models")
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()  # every probability is 0.5
    opened = OpenedEnsemble(
        what="ensemble of 2 nets",
        members=["a", "b"],
        net=EnsembleNet([net, net], [description] * 2),
        description=description,
        threshold=0.3,
    )
    asked = list[Any]()

    def open_ensemble(*given: Any) -> OpenedEnsemble:
        asked.append(given)
        return opened

    monkeypatch.setattr(ensembles, "open_ensemble", open_ensemble)
    done = run("in", "-o", "out", "--ensemble", "mine")
    assert asked == [(["mine"], folder)]
    assert "predict: ensemble of 2 nets: a and b" in done.stdout
    assert "threshold 0.3, chosen on its val images (--threshold sets another)" in done.stdout
    assert np.asarray(Image.open("out/0.png")).min() == 1
    run("in", "-o", "out", "--ensemble", "mine", "--threshold", "0.6")
    assert np.asarray(Image.open("out/0.png")).max() == 0
    done = run("in", "-o", "out", "--ensemble", "mine", "--threshold", "1.5")
    assert done.exit_code == 1 and "--threshold must lie between 0 and 1" in done.stderr


def test_ensemble_outside_of_a_project_is_one_line() -> None:
    done = run("in", "-o", "out", "--ensemble", "mine")
    assert done.exit_code == 1 and "--ensemble names runs of a project, and this folder is in none" in done.stderr
