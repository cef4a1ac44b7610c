from pathlib import Path
from typing import Any

import pytest
import yaml

from losslab.errors import InputError
from losslab.params import load
from tests.conftest import ROOT, write_params


def test_shipped_params_are_valid() -> None:
    params = load(ROOT / "params.yaml")
    assert (params.dataset, params.loss, params.arch, params.encoder) == (
        "synthetic_lesions",
        "cross_entropy",
        "unet",
        "resnet18",
    )


def test_shipped_params_are_short() -> None:
    lines = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 70


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"los": "dice"}, r"los: unknown key; allowed here: dataset, seed, loss"),
        ({"train": {"batchsize": 4}}, r"train.batchsize: unknown key; allowed here: epochs, batch_size"),
        (
            {"train": {"crop": 256}},
            r"train.crop is 256, but images have prepare.size 128 pixels a side; it must be at most",
        ),
        (
            {"train": {"sampling": "balanced"}},
            r"train: sampling is 'balanced', but crop is null: it draws crops; set crop",
        ),
        ({"train": {"batch_size": 0}}, r"train.batch_size is 0; it must be greater than 0"),
        ({"train": {"batch_size": "16"}}, r"train.batch_size is '16'; it must be a whole number"),
        ({"train": {"batch_size": 2.5}}, r"train.batch_size is 2.5"),
        ({"train": {"epochs": True}}, r"train.epochs is true; it must be a whole number"),
        ({"train": {"lr": float("inf")}}, r"train.lr is inf; it must be a finite number"),
        ({"train": {"precision": "bf16"}}, r"train.precision is 'bf16'; it must be 'auto', '32-true'"),
        ({"train": None}, r"train is null"),
        ({"loss": "dyce"}, r"loss: no such loss: 'dyce' in 'dyce' \(available: cross_entropy"),
        ({"loss": None}, r"loss is null; it must be text"),
        ({"loss_options": {"gamma": 2.0}}, "loss_options.gamma: cross_entropy has no such option"),
        ({"loss_options": {"class_weights": [1.0]}}, r"loss_options.class_weights is \[1.0\]; .* each of 3 classes"),
        (
            {"loss": "focal", "loss_options": {"alpha": 0.5}},
            "loss_options.alpha is 0.5; for 3 classes it must be a list",
        ),
        ({"arch": "unit"}, r"arch: 'unit' is not one of unet.*; did you mean unet\?$"),
        ({"loss": "dise"}, r"loss: no such loss: 'dise' .*; did you mean dice\?$"),
        ({"loss": "focal", "loss_options": {"gama": 2}}, r"has no such option; .*; did you mean gamma\?$"),
        ({"dataset": "camvit"}, r"; did you mean camvid\?$"),
        ({"encoder": None}, r"encoder is null, but arch unet needs one"),
        (
            {"dataset": "lesions"},
            r"dataset: 'lesions' is not one of ade20k, .*, tiny, voc2012 \(the cards in data/catalog\)",
        ),
        ({"encoder": None, "arch": "segnet", "encoder_weights": "imagenet"}, r"encoder_weights is 'imagenet'; without"),
        ({"arch": "segnet"}, r"encoder is 'resnet18', but arch segnet takes none; set it to null"),
        ({"prepare": {"size": 0}}, r"prepare.size is 0; it must be greater than 0"),
        ({"prepare": {"split": {"val": 0.6, "test": 0.5}}}, r"prepare.split: val 0.6 and test 0.5 leave nothing"),
        ({"prepare": {"fit": "crop"}}, r"prepare.fit is 'crop'; it must be 'stretch', 'letterbox' or 'tile'"),
        ({"prepare": {"limit": 2}}, r"prepare.limit is 2; it must be greater than or equal to 3"),
        ({"prepare": {"audit": "off"}}, r"prepare.audit is 'off'; it must be 'strict' or 'warn'"),
        (
            {"prepare": {"split": {"method": "group"}}},
            r"prepare.split.method is 'group'; it must be 'official', 'random'",
        ),
        ({"prepare": {"split": {"fold": 5}}}, r"prepare.split: fold is 5; with 5 folds it must be 0 to 4"),
        (
            {"prepare": {"split": {"method": "grouped"}}},
            r"prepare.split.method is 'grouped', but the card of synthetic_lesions has no group; use random",
        ),
        ({"dataset": "ph2"}, r"prepare.split.method is 'official', but ph2 has no official split; use random"),
        ({"prepare": {"size": 32}, "train": {"batch_size": 1}}, r"train.batch_size is 1 at prepare.size 32"),
        (
            {"arch": "pan", "train": {"batch_size": 1}},
            r"train.batch_size is 1, but arch pan pools .* set it to 2 or more",
        ),
        (
            {"train": {"batch_size": 4, "devices": 2, "strategy": "DDP_spawn_x"}},
            r"strategy 'DDP_spawn_x' forks this process, .*; use ddp",
        ),
        ({"train": {"workers": 9999}}, r"train.workers is 9999"),
        (
            {"arch": "segnet", "encoder": None, "train": {"freeze_encoder_epochs": 1}},
            r"train.freeze_encoder_epochs is 1, but arch segnet has no encoder; set it to 0",
        ),
        (
            {"arch": "segnet", "encoder": None, "train": {"encoder_lr": 0.1}},
            r"train.encoder_lr is 0.1, but arch segnet has no encoder; set it to null",
        ),
        ({"report": {"examples": -1}}, r"report.examples is -1"),
        ({"seed": -1, "train": {"workers": -1}}, r"seed is -1.*; train.workers is -1"),
    ],
)
def test_fault_is_an_error_of_one_line_with_key_value_and_what_is_allowed(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        load(write_params(tmp_path, changes))
    assert "params.yaml: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"prepare": {"size": 100}},
        {"prepare": {"size": 5}},
        {"arch": "unet", "train": {"batch_size": 1}},
        {"arch": "pspnet", "prepare": {"size": 32}, "train": {"batch_size": 1}},
        {"arch": "simple_cnn", "encoder": None, "prepare": {"size": 4}, "train": {"batch_size": 1}},
        {"encoder_weights": "weights/resnet18.safetensors"},
    ],
)
def test_possible_values_are_taken(tmp_path: Path, changes: dict[str, Any]) -> None:
    load(write_params(tmp_path, changes))


def test_missing_key_is_named(tmp_path: Path) -> None:
    path = write_params(tmp_path, {})
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    del content["train"]["lr"]
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(InputError, match=r"train.lr: missing"):
        load(path)


def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    path = write_params(tmp_path, {})
    path.write_text(path.read_text(encoding="utf-8").replace("lr: 0.001", "lr: 1e-3"), encoding="utf-8")
    assert load(path).train.lr == 0.001


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("seed: 1\nseed: 2\n", "duplicate key 'seed'"),
        ("seed: [1\n", "not readable as YAML"),
        ("? [a]\n: 1\n", "a key must be a plain value"),
        ("- 1\n", "holds no keys; it must have dataset, seed"),
        ("", "holds no keys; it must have dataset, seed"),
    ],
)
def test_broken_file_is_an_error_of_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=complaint):
        load(tmp_path / "params.yaml")


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; run from the root"):
        load(tmp_path / "params.yaml")
