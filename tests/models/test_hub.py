"""Pretrained weights without a network: known facts, local files, and the errors."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from losslab import models
from losslab.bands import RGB
from losslab.errors import InputError
from losslab.models.hub import check_reachable, is_file
from tests.conftest import ROOT, TINY_CHANGES, write_params

REMEDY = r"use null to train from scratch, download it elsewhere and point HF_HOME to that cache, or name a local file"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*arguments: Any, **options: Any) -> NoReturn:
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for variable in ("HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_HUB_CACHE", "XDG_CACHE_HOME", "DVC_ROOT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


@pytest.mark.parametrize(
    ("encoder", "encoder_weights", "mean", "std"),
    [
        ("resnet18", "imagenet", 0.485, 0.229),
        ("mit_b0", "imagenet", 0.485, 0.229),
        ("inceptionv4", "imagenet", 0.5, 0.5),
        ("efficientnet-b0", "advprop", 0.5, 0.5),
        ("efficientnet-b0", "imagenet", 0.485, 0.229),
        ("timm-tf_efficientnet_lite0", "imagenet", 0.5, 0.5),
        ("dpn68", "imagenet", 0.4863, 0.2348),
        ("tu-resnet18", "imagenet", 0.485, 0.229),
        ("tu-tf_efficientnet_lite0", "imagenet", 0.5, 0.5),
        ("tu-vit_base_patch16_224.augreg_in21k", "imagenet", 0.5, 0.5),
        ("tu-vit_base_patch16_clip_224.openai", "imagenet", 0.4815, 0.2686),
        ("tu-tf_efficientnet_lite0", "weights/lite0.safetensors", 0.5, 0.5),
    ],
)
def test_normalisation_is_known_without_a_network(encoder: str, encoder_weights: str, mean: float, std: float) -> None:
    known = models.find_normalisation(encoder, encoder_weights)
    assert known is not None
    assert known[0][0] == pytest.approx(mean, abs=1e-4) and known[1][0] == pytest.approx(std, abs=1e-4)
    assert models.find_normalisation(encoder, encoder_weights, RGB) == known
    assert models.find_normalisation(encoder, encoder_weights, RGB.model_copy(update={"dtype": "uint16"})) is None
    assert models.find_normalisation(encoder, None) is None and models.find_normalisation(None, None) is None


def test_weights_that_cannot_be_fetched_are_an_error_with_remedies() -> None:
    for attempt in (
        lambda: check_reachable("resnet18", "imagenet"),
        lambda: models.build_model("unet", 3, "resnet18", "imagenet"),
    ):
        with pytest.raises(
            InputError, match=rf"'imagenet' for resnet18 .* \(cannot connect to https://huggingface.co\); {REMEDY}"
        ):
            attempt()


def test_failure_while_fetching_is_the_same_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import segmentation_models_pytorch as smp

    def fail(*arguments: Any, **options: Any) -> NoReturn:
        raise ConnectionError("reset by peer\nsecond line")

    monkeypatch.setattr("losslab.models.hub.check_reachable", lambda *arguments: None)
    models.check_encoder("unet", "resnet18", "imagenet")
    monkeypatch.setattr(smp, "Unet", fail)
    with pytest.raises(InputError, match=rf"could not be fetched \(reset by peer second line\); {REMEDY}"):
        models.build_model("unet", 3, "resnet18", "imagenet")


@pytest.mark.parametrize(
    ("encoder", "folder"),
    [
        ("resnet18", "models--smp-hub--resnet18.imagenet"),
        ("tu-resnet18", "models--timm--resnet18.a1_in1k"),
        ("tu-resnet18.a1_in1k", "models--timm--resnet18.a1_in1k"),
    ],
)
def test_cached_weights_need_no_network(encoder: str, folder: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        check_reachable(encoder, "imagenet")
    snapshot = tmp_path / "hf/hub" / folder / "snapshots/0123"
    snapshot.mkdir(parents=True)
    with pytest.raises(InputError):
        check_reachable(encoder, "imagenet")
    (snapshot / "model.safetensors").touch()
    check_reachable(encoder, "imagenet")
    with pytest.raises(InputError):
        check_reachable(f"{encoder}d", "imagenet")


def test_variables_of_the_hub_are_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    with pytest.raises(InputError, match=r"cannot connect to https://mirror.example"):
        check_reachable("resnet18", "imagenet")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        check_reachable("resnet18", "imagenet")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "other"))
    snapshot = tmp_path / "other/models--smp-hub--resnet18.imagenet/snapshots/0123"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").touch()
    check_reachable("resnet18", "imagenet")


def test_nothing_is_checked_where_nothing_is_fetched() -> None:
    check_reachable(None, None)
    check_reachable("resnet18", None)


@pytest.mark.parametrize(
    ("value", "file"),
    [("imagenet", False), ("imagenet+5k", False), ("a.pth", True), ("weights/a", True), ("~/a.safetensors", True)],
)
def test_file_is_distinguished_from_a_name(value: str, file: bool) -> None:
    assert is_file(value) == file


def test_relative_file_starts_at_the_root_of_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also from a queued experiment, whose copy lacks what neither Git nor DVC tracks."""
    copy = tmp_path / "main/.dvc/tmp/exps/tmp1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "main"))
    with pytest.raises(InputError, match=r"encoder_weights: no file .*/exps/tmp1/w/a.pth or .*/main/w/a.pth"):
        check_reachable("resnet18", "w/a.pth")
    (tmp_path / "main/w").mkdir()
    (tmp_path / "main/w/a.pth").write_bytes(b"abc")
    check_reachable("resnet18", "w/a.pth")
    assert models.compute_weights_digest("w/a.pth") is not None


@pytest.mark.parametrize(
    ("encoder_weights", "complaint"),
    [("imagenet", "could not be fetched (HF_HUB_OFFLINE is set"), ("none.pth", "encoder_weights: no file ")],
)
def test_first_stage_ends_before_any_work(
    encoder_weights: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_params(tmp_path, TINY_CHANGES | {"encoder_weights": encoder_weights})
    stage = [sys.executable, str(ROOT / "src/download.py")]
    done = subprocess.run(stage, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("ERROR: download: encoder_weights: ")
    assert complaint in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "data/raw").exists()


def test_checking_weights_imports_no_torch() -> None:
    code = (
        "import sys; from losslab.models.hub import *; find_file(sys.executable); check_reachable('a', sys.executable); "
        "import download; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT / "src", check=False).returncode == 0
