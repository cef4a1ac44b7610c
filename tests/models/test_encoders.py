"""The list of encoders: as smp and timm have them, and enough to refuse a wrong one before torch is imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from losslab.errors import InputError
from losslab.models import encoders
from losslab.models.encoders import LIST, check_encoder_listed, find_versions
from losslab.models.registry import ARCHS
from losslab.models.smp_nets import find_obstacle, list_encoders
from tests.conftest import TINY_CHANGES, write_params

ON_ENCODERS = [name for name, spec in ARCHS.items() if spec.takes_encoder]


def test_list_is_that_of_the_installed_versions() -> None:
    content = json.loads(LIST.read_text(encoding="utf-8"))
    assert content["versions"] == find_versions(), "run .ci/encoders.py"
    assert sorted(" ".join(content["refused_by"].values()).split()) == sorted(list_encoders())


@pytest.mark.parametrize("encoder", ["mit_b0", "tu-edgenext_xx_small", "tu-vit_tiny_patch16_224"])
def test_list_refuses_what_smp_refuses(encoder: str) -> None:
    for arch in ON_ENCODERS:
        try:
            check_encoder_listed(arch, encoder)
            is_refused = False
        except InputError:
            is_refused = True
        assert is_refused == (find_obstacle(arch, encoder) is not None), arch


@pytest.mark.parametrize("arch", ON_ENCODERS)
def test_encoders_that_errors_recommend_are_listed(arch: str) -> None:
    for encoder in ARCHS[arch].encoders:
        check_encoder_listed(arch, encoder)


def test_other_versions_are_left_to_the_train_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "find_versions", lambda: dict.fromkeys(encoders.PACKAGES, "99"))
    monkeypatch.setattr(encoders, "_read_refused", encoders._read_refused.__wrapped__)
    check_encoder_listed("unet", "resnet19")


def test_wrong_encoders_are_found_without_torch(tmp_path: Path) -> None:
    write_params(tmp_path, TINY_CHANGES)
    script = """
import sys, yaml
from losslab.errors import InputError
from losslab.params import check_params
from pathlib import Path
content = yaml.safe_load(Path("params.yaml").read_text())
for arch, encoder in (("unet", "resnet19"), ("unet", "tu-resnet19"), ("unetplusplus", "mit_b0"), ("dpt", "resnet18")):
    try:
        check_params(content | {"arch": arch, "encoder": encoder}, "params.yaml", Path("data/catalog"))
    except InputError as error:
        print(error)
assert not {"torch", "timm"} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(done) == 4 and all(line.startswith("params.yaml: encoder: ") for line in done)
    assert "'resnet19' is unknown to smp and timm" in done[0] and "similar names: resnet1" in done[0]
    assert "arch unetplusplus cannot be built on 'mit_b0'; unetplusplus goes with resnet18" in done[2]
    assert done[2].endswith(
        "; mit_b0 goes with unet, manet, fpn, pspnet, deeplabv3, deeplabv3plus, pan, upernet, segformer"
    )
