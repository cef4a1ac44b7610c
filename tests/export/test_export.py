"""Exported files give torch's logits to someone who knows the card inside them and nothing of losslab."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
import tifffile
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from typer.testing import CliRunner

from losslab import models
from losslab.cli import app
from losslab.errors import InputError
from losslab.export import export as exporting
from losslab.export.export import ExportOptions, ExportResult, export_model
from losslab.export.formats import SUFFIXES, FormatName, read_metadata, read_net
from losslab.export.sample import load_sample
from losslab.inference.tensors import InputScaling
from losslab.models.segmentation_net import SegmentationNet
from tests.conftest import ROOT
from tests.export.small_model import DESCRIPTION, describe_bands, save_small_model

FORMATS: list[FormatName] = list(SUFFIXES)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in a folder without prepared data."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_small_model(tmp_path / "models")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[FormatName, ExportResult]:
    """Export one model to all formats, once."""
    folder = save_small_model(tmp_path_factory.mktemp("exported"))
    return {format_name: export_model(ExportOptions(format=format_name, model=folder)) for format_name in FORMATS}


def expected(model: Path, images: Any) -> Any:
    net, description = models.load(model)
    with torch.no_grad():
        return net(InputScaling(description)(torch.from_numpy(images))).numpy()


def to_input_layout(images: Any) -> Any:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)


@pytest.mark.parametrize("format_name", FORMATS)
def test_file_gives_the_logits_of_the_net_at_any_batch_and_size(
    format_name: FormatName, exported: dict[FormatName, ExportResult], rng: Any
) -> None:
    done = exported[format_name]
    assert done.varies == "batch and size" and done.refused == ()
    assert "noise" in done.origin
    run = read_net(format_name, done.path)
    for shape in ((1, 32, 32), (3, 40, 28), (2, 17, 50)):
        images = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        np.testing.assert_allclose(run(to_input_layout(images)), expected(done.path.parent, images), atol=1e-5)


@pytest.mark.parametrize("format_name", FORMATS)
def test_labels_and_normalisation_travel_inside(
    format_name: FormatName, exported: dict[FormatName, ExportResult]
) -> None:
    card = read_metadata(format_name, exported[format_name].path)
    for key in ("classes", "palette", "ignore_index", "size", "fit", "mean", "std", "arch", "data_md5"):
        assert card[key] == DESCRIPTION[key], key
    assert (card["stride"], card["smallest_side"], card["varies"]) == (4, 5, "batch and size")
    assert "run" not in card


def test_onnx_file_needs_nothing_but_onnxruntime(exported: dict[FormatName, ExportResult], rng: Any) -> None:
    path = exported["onnx"].path
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,), (out,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape, out.name) == ("images", ["batch", 3, "height", "width"], "logits")
    properties = session.get_modelmeta().custom_metadata_map
    assert json.loads(properties["losslab.json"])["classes"] == ["skin", "lesion", "hair"]
    image = rng.integers(0, 256, (1, 36, 44, 3), dtype=np.uint8)
    (logits,) = session.run(None, {"images": to_input_layout(image)})
    assert (logits.argmax(1) == expected(path.parent, image).argmax(1)).all()


def test_documented_snippet_runs(
    exported: dict[FormatName, ExportResult], rng: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(exported["onnx"].path.parent)
    Path("models").mkdir()
    Path("models/model.onnx").write_bytes(exported["onnx"].path.read_bytes())
    Image.fromarray(rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)).save("a.jpg")
    names: dict[str, Any] = {}
    exec((ROOT / "docs/how-to/deploy.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0], names)
    picture = np.array(Image.open("a.jpg").resize((32, 32)))[None]
    np.testing.assert_array_equal(names["labels"], expected(Path(), picture)[0].argmax(0))


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize(("count", "dtype", "high"), [(1, "uint16", 4095), (2, "float32", 1.5), (6, "uint16", 10000)])
def test_file_for_other_bands_takes_values_as_in_the_image_files(
    format_name: FormatName, count: int, dtype: str, high: float, tmp_path: Path, rng: Any
) -> None:
    model = save_small_model(tmp_path / "models", **describe_bands(count, dtype, low=high / 10, high=high))
    done = export_model(ExportOptions(format=format_name, model=model))
    assert done.varies == "batch and size" and done.origin == "noise, because data/prepared/tiny is missing"
    assert done.input.startswith(f"float32 [N, {count}, H, W], band") and f"({dtype}, clipped to" in done.input
    card = read_metadata(format_name, done.path)
    assert card["input"] == f"images: {done.input}; normalised inside"
    assert card["bands"] == describe_bands(count, dtype, low=high / 10, high=high)["bands"]
    images = (rng.random((2, 21, 40, count)) * high * 1.5).astype(dtype)
    np.testing.assert_allclose(
        read_net(format_name, done.path)(to_input_layout(images)), expected(model, images), atol=1e-4
    )


def write_tests(prepared: Path, images: Any, sizes: list[tuple[int, int]] | None = None) -> None:
    """Write test images as the prepare stage does, if they have `sizes`, those of fit tile."""
    (prepared / "test").mkdir(parents=True, exist_ok=True)
    np.save(prepared / "test/images.npy", images)
    (prepared / "dataset.json").write_text(json.dumps({"fit": "tile" if sizes else "stretch"}))
    lines = [f"{number},test,{height},{width}" for number, (height, width) in enumerate(sizes or [])]
    (prepared / "index.csv").write_text("\n".join(["image,split,height,width", *lines]))


def test_images_of_other_bands_are_compared(tmp_path: Path, rng: Any) -> None:
    model = save_small_model(tmp_path / "models", **describe_bands(6))
    options = ExportOptions(format="torchscript", model=model)
    prepared = tmp_path / "data/prepared/tiny"
    for images in (rng.integers(0, 256, (9, 32, 32, 6), np.uint8), rng.integers(0, 9999, (9, 32, 32, 3), np.uint16)):
        write_tests(prepared, images)
        assert export_model(options).origin == "noise, because data/prepared/tiny has images of other bands"
    write_tests(prepared, rng.integers(0, 10000, (9, 32, 32, 6), dtype=np.uint16))
    done = export_model(options)
    assert done.origin == "4 test images of tiny" and done.parity.shapes[:2] == ("4x32x32", "1x32x32")


def test_images_at_their_own_sizes_are_compared_by_a_window_of_each(tmp_path: Path, rng: Any) -> None:
    model = save_small_model(tmp_path / "models", fit="tile", **describe_bands(6))
    sizes = [(40, 50), (20, 90), (32, 32)]
    pixels = rng.integers(0, 10000, (sum(height * width for height, width in sizes), 6), dtype=np.uint16)
    prepared = tmp_path / "data/prepared/tiny"
    write_tests(prepared, pixels, sizes)
    sample = load_sample([], prepared, 32, models.load(model)[1])
    assert sample.images.shape == (3, 32, 32, 6) and sample.images.dtype == np.uint16
    first, second = pixels[:2000].reshape(40, 50, 6), pixels[2000:3800].reshape(20, 90, 6)
    assert (sample.images[0] == first[:32, :32]).all() and (sample.images[1, :20] == second[:, :32]).all()
    assert not sample.images[1, 20:].any()
    assert export_model(ExportOptions(format="torchscript", model=model)).origin == "3 test images of tiny"


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "tile"])
def test_given_image_of_other_bands_is_compared(fit: str, tmp_path: Path, rng: Any) -> None:
    model = save_small_model(tmp_path / "models", fit=fit, **describe_bands(6))
    own = rng.integers(0, 10000, (50, 70, 6), dtype=np.uint16)
    tifffile.imwrite("own.tif", own, photometric="minisblack", planarconfig="contig")
    sample = load_sample([Path("own.tif")], Path("none"), 32, models.load(model)[1])
    assert sample.images.shape == (1, 32, 32, 6) and sample.images.dtype == np.uint16
    assert fit != "tile" or (sample.images[0] == own[:32, :32]).all()
    done = export_model(ExportOptions(format="torchscript", model=model, images=(Path("own.tif"),)))
    assert done.origin == "1 given image" and done.parity.shapes[0] == "1x32x32"


def test_given_image_of_other_bands_than_the_models_is_refused(tmp_path: Path, rng: Any) -> None:
    model = save_small_model(tmp_path / "models", **describe_bands(6))
    Image.fromarray(rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)).save("own.png")
    with pytest.raises(InputError, match=r"^--images: own.png: .*3 bands of uint8"):
        export_model(ExportOptions(format="torchscript", model=model, images=(Path("own.png"),)))


def test_two_exports_are_the_same_bytes(exported: dict[FormatName, ExportResult], model: Path) -> None:
    assert (
        export_model(ExportOptions(format="onnx", model=model)).path.read_bytes() == exported["onnx"].path.read_bytes()
    )


def test_one_logit_comes_with_its_own_rule_for_labels(tmp_path: Path) -> None:
    model = save_small_model(
        tmp_path / "binary", num_classes=1, classes=["skin", "lesion"], palette=[[240, 200, 170], [150, 50, 90]]
    )
    card = read_metadata("torchscript", export_model(ExportOptions(format="torchscript", model=model)).path)
    assert card["label"] == "1 where the logit is positive, else 0"


@pytest.mark.parametrize("format_name", FORMATS)
def test_fixed_size_is_the_only_one(format_name: FormatName, model: Path, rng: Any) -> None:
    """A side of 26 needs padding."""
    done = export_model(ExportOptions(format=format_name, model=model, size=26))
    assert done.varies == "batch"
    images = rng.integers(0, 256, (3, 26, 26, 3), dtype=np.uint8)
    np.testing.assert_allclose(
        read_net(format_name, done.path)(to_input_layout(images)), expected(model, images), atol=1e-5
    )


class SizeInPython(nn.Module):
    """A net that multiplies by the size that an exporter sees."""

    def __init__(self, by_batch: bool) -> None:
        super().__init__()
        self.by_batch = by_batch
        self.layer = nn.Conv2d(3, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        count = float(images.shape[0] if self.by_batch else 1)
        logits: Tensor = self.layer(F.avg_pool2d(images, 3, 1, 1)) * float(int(images.shape[-1])) * count
        return logits


@pytest.mark.parametrize("format_name", ["torch_export", "torchscript"])
@pytest.mark.parametrize(("by_batch", "left"), [(False, "batch"), (True, "nothing")])
def test_what_cannot_vary_is_fixed_and_reported(
    format_name: FormatName, by_batch: bool, left: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = SegmentationNet(SizeInPython(by_batch), 1).eval()
    monkeypatch.setattr(models, "load", lambda folder: (net, DESCRIPTION))
    done = export_model(ExportOptions(format=format_name, model=model))
    assert done.varies == left
    assert [line.partition(":")[0] for line in done.refused] == ["batch and size", "batch"][: len(done.refused)]
    assert len(done.refused) == (2 if by_batch else 1) and not any("\n" in line for line in done.refused)


def test_other_logits_than_torch_leave_no_file(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (model / "model.ts").write_bytes(b"old")
    monkeypatch.setattr(exporting, "read_net", lambda *_: lambda images: images[:, :3])
    with pytest.raises(InputError, match=r"differ from torch's by up to .*, more than the tolerance 0.001,"):
        export_model(ExportOptions(format="torchscript", model=model))
    assert (model / "model.ts").read_bytes() == b"old"
    assert sorted(path.name for path in model.iterdir()) == ["model.json", "model.safetensors", "model.ts"]


def test_nan_is_not_parity(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "read_net", lambda *_: lambda images: images[:, :3] * np.float32("nan"))
    with pytest.raises(InputError, match="differ from torch's by up to nan"):
        export_model(ExportOptions(format="torchscript", model=model))


def test_net_with_damaged_weights_is_refused_for_what_it_is(tmp_path: Path) -> None:
    model = save_small_model(tmp_path / "models", damaged=True)
    with pytest.raises(InputError, match=r"^the model's logits are not finite"):
        export_model(ExportOptions(format="torchscript", model=model))
    assert sorted(path.name for path in model.iterdir()) == ["model.json", "model.safetensors"]


def test_real_images_are_compared_where_there_are_some(model: Path, tmp_path: Path, rng: Any) -> None:
    write_tests(tmp_path / "data/prepared/tiny", rng.integers(0, 256, (9, 32, 32, 3), dtype=np.uint8))
    done = export_model(ExportOptions(format="torchscript", model=model))
    assert done.origin == "4 test images of tiny" and done.parity.shapes[0] == "4x32x32"
    Image.fromarray(rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)).save(tmp_path / "own.png")
    assert (
        export_model(ExportOptions(format="torchscript", model=model, images=(tmp_path / "own.png",))).origin
        == "1 given image"
    )


def run_export(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["export", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_command_prints_what_it_did_and_nothing_else(model: Path) -> None:
    code, out, err = run_export("--format", "torchscript", "-o", "deep/net.ts")
    assert (code, err) == (0, "") and Path("deep/net.ts").is_file()
    lines = out.splitlines()
    assert len(lines) == 3
    assert lines[0].endswith("any batch, any size from 5 pixels a side")
    assert lines[1].startswith("input: float32 [N, 3, H, W], RGB, 0 to 255; output: logits; losslab.json inside has ")
    assert "tolerance 0.001" in lines[2] and "noise, because data/prepared/tiny is missing" in lines[2]


def test_model_trained_in_bf16_is_exported_in_float32_with_a_note(tmp_path: Path) -> None:
    save_small_model(tmp_path / "models", precision="bf16-mixed")
    code, _, err = run_export("--format", "torchscript")
    assert code == 0 and err.startswith("NOTE: trained in bf16-mixed, exported in float32")


def test_registered_model_can_be_exported(tmp_path: Path) -> None:
    """A registered model no longer names its dataset."""
    model = save_small_model(tmp_path / "models", run={"train": {"device": "cpu"}})
    assert "noise" in export_model(ExportOptions(format="torchscript", model=model)).origin


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--model", "nowhere"], "ERROR: nowhere/model.json: no such file"),
        (["-o", "models"], "ERROR: --output: models must end in .ts"),
        (
            ["-o", "models/model.safetensors"],
            "ERROR: --output: models/model.safetensors must end in .ts",
        ),
        (["-o", "folder.ts"], "ERROR: --output: folder.ts is a folder"),
        (["--images", "gone.png"], "ERROR: --images: gone.png: "),
    ],
)
def test_bad_input_is_reported_in_one_line(arguments: list[str], complaint: str, model: Path) -> None:
    Path("folder.ts").mkdir()
    before = (model / "model.safetensors").read_bytes()
    code, _, err = run_export("--format", "torchscript", *arguments)
    assert (model / "model.safetensors").read_bytes() == before
    assert code == 1 and err.startswith(complaint) and err.count("\n") == 1
