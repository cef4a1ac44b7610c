"""model.json from anywhere: it is refused in one line, and whatever names it holds, nothing is fetched."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from losslab import models
from losslab.errors import InputError
from tests.export.small_model import DESCRIPTION, describe_bands, save_small_model

DEEP = "[" * 100_000 + "]" * 100_000
LONG = "9" * 5000
UNET = {"arch": "unet", "encoder": "resnet18"}
TWO = describe_bands(2)


def change_bands(**changes: Any) -> dict[str, Any]:
    return TWO | {"bands": TWO["bands"] | changes}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def refuse_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **_: object) -> None:
        pytest.fail(f"a socket was opened: {arguments}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def describe(changes: Any) -> str:
    kept = {key: value for key, value in (DESCRIPTION | changes).items() if value is not ...}
    return json.dumps(kept)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        *((key, f"{key}: missing; if an older losslab wrote it") for key in DESCRIPTION if key != "data_md5"),
        ({"encoder": "resnet18"}, "encoder is 'resnet18', but arch simple_cnn takes none"),
        (UNET | {"encoder": None}, "encoder is null, but arch unet needs one"),
        (UNET | {"encoder": "tu-hf-hub:x/y"}, "encoder: 'tu-hf-hub:x/y' is unknown to smp and timm"),
        (UNET | {"encoder": "tu-local-dir:/etc"}, "encoder: 'tu-local-dir:/etc' is unknown"),
        (UNET | {"encoder": "tu-resnet18.hf-hub:x/y"}, "has no tag hf-hub:x/y"),
        (UNET | {"encoder": "tu-vit_tiny_patch16_224"}, "model.json: "),
        ({"arch": "nonet"}, "arch: 'nonet' is not one of unet"),
        ({"arch": ["unet"]}, "arch is ['unet']; it must be text"),
        ({"arch": "x" * 10_000}, "arch is 'xxx"),
        ({"size": 10**9}, "size is 1000000000; it must be less than or equal to 4096"),
        ({"size": 10**4000}, "size is 1000"),
        ({"size": 32.5}, "size is 32.5; it must be a whole number"),
        ({"num_classes": 10**9}, "num_classes: 1000000000 classes; at most 255"),
        ({"num_classes": 10**4000}, "num_classes: 1000"),
        ({"num_classes": 2}, "classes, palette and num_classes do not match"),
        ({"num_classes": 4, "classes": list("abcd"), "palette": [[0] * 3] * 4}, "do not match: Error(s) in loading"),
        ({"classes": "abc"}, "classes is 'abc'; it must be a list"),
        ({"palette": [[0, 0, 256]] * 3}, "palette.0.2 is 256"),
        ({"ignore_index": 256}, "ignore_index is 256"),
        ({"mean": [float("nan")] * 3}, "mean.0 is nan; it must be a finite number"),
        ({"mean": [10**400, 0.5, 0.5]}, "mean.0 is 1000"),
        ({"std": [0.1, 0.1, 0]}, "std.2 is 0"),
        ({"precision": "64"}, "precision is '64'"),
        ({"mean": [0.5] * 2, "std": [0.1] * 2}, "mean and std need a value for each band"),
        (TWO | {"mean": [0.5] * 3}, "mean and std need a value for each band"),
        (TWO | {"std": [0.1] * 3}, "mean and std need a value for each band"),
        (change_bands(low=[0.0]), "bands: names, low and high must be equally many"),
        (change_bands(high=[1.0] * 3), "bands: names, low and high must be equally many"),
        (change_bands(low=[5.0, 9999.0]), "bands: low must be below high in each band"),
        (change_bands(high=[float("inf")] * 2), "bands.high.0 is inf; it must be a finite number"),
        (change_bands(names=["B02", "B02"]), "bands: two bands have the same name"),
        (change_bands(names=[]), "bands.names is empty"),
        (change_bands(names=["a\nb", "c"]), "bands.names.0 is 'a\\nb'"),
        (change_bands(names=list("abcdefghijklmnopq")), "bands.names has 17 entries"),
        (change_bands(dtype="int16"), "bands.dtype is 'int16'; it must be 'uint8', 'uint16' or 'float32'"),
        (change_bands(shown=[0, 1, 2]), "bands: shown names band 2 of 2, counted from 0"),
        (change_bands(shown=[0, -1, 0]), "bands.shown.1 is -1"),
        (change_bands(shown=[0]), "bands.shown has 1 entry"),
        (change_bands(clip=1), "bands.clip is 1"),
        (change_bands(extra=1), "bands.extra: unknown key"),
        ({"bands": {}}, "bands.names: missing"),
        ({"bands": 6}, "bands is 6"),
        (describe_bands(6), "do not match: Error(s) in loading"),
        ({"run": {}}, "run.train: missing"),
        ({"run": {"train": {"device": 1}}}, "run.train.device is 1"),
        ({"run": {"dataset": 1, "train": {"device": "cpu"}}}, "run.dataset is 1"),
    ],
)
def test_description_of_no_model_is_refused(changes: Any, complaint: str, model: Path) -> None:
    (model / "model.json").write_text(describe({changes: ...} if isinstance(changes, str) else changes))
    with pytest.raises(InputError) as refused:
        models.load(model)
    line = str(refused.value)
    assert line.startswith(str(model)) and complaint in line and "\n" not in line
    assert len(line.replace(str(model), "")) < 600


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (DEEP, "nested deeper than"),
        ('{"size": ' + DEEP + "}", "nested deeper than"),
        (json.dumps(DESCRIPTION)[:-1] + ', "more": ' + "[" * 100 + "]" * 100 + "}", "nested deeper than"),
        (describe({"size": 777}).replace("777", LONG), "not valid JSON: Exceeds the limit"),
        ("{", "not valid JSON"),
        ("", "not valid JSON"),
        ("[]", "holds no keys"),
        ("\x00", "not valid JSON"),
    ],
)
def test_file_that_is_no_description_is_refused(text: str, complaint: str, model: Path) -> None:
    (model / "model.json").write_text(text)
    with pytest.raises(InputError) as refused:
        models.load(model)
    assert str(refused.value).startswith(f"{model / 'model.json'}: {complaint}"), refused.value


@pytest.mark.parametrize("encoder", ["resnet18", "tu-mobilenetv3_small_050", "tu-mobilenetv3_small_050.lamb_in1k"])
def test_net_on_an_encoder_is_rebuilt_without_a_network(encoder: str, tmp_path: Path) -> None:
    net, described = models.load(save_small_model(tmp_path, arch="unet", encoder=encoder))
    assert described == DESCRIPTION | {"arch": "unet", "encoder": encoder} and not net.training


@pytest.mark.parametrize(("count", "dtype"), [(1, "uint8"), (2, "float32"), (3, "uint16"), (6, "uint16")])
def test_bands_come_back_as_they_were_saved(count: int, dtype: str, tmp_path: Path) -> None:
    described = models.load(save_small_model(tmp_path, **describe_bands(count, dtype)))[1]
    assert described == DESCRIPTION | describe_bands(count, dtype)


def test_description_of_rgb_says_nothing_of_bands(tmp_path: Path) -> None:
    assert "bands" not in models.load(save_small_model(tmp_path, bands=None))[1]


def test_what_else_the_file_says_is_kept(model: Path) -> None:
    run = {"loss": "dice", "train": {"device": "cpu", "lr": 0.1}}
    (model / "model.json").write_text(describe({"parameters": 5, "run": run}))
    described = models.load(model)[1]
    assert described["parameters"] == 5 and described["run"] == run | {"dataset": None}
