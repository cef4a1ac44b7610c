import pytest
import torch

from losslab.runtime.devices import pick_precision


def test_precision_auto_follows_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for capability, expected in (("amx_bf16", "bf16-mixed"), ("avx512_bf16", "bf16-mixed"), ("avx2", "32-true")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda name=capability: {name: True})
        assert pick_precision("auto", cpu) == expected
    assert pick_precision("bf16-mixed", cpu) == "bf16-mixed"
