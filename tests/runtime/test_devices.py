import pytest
import torch

from losslab.runtime.devices import is_main_process, pick_precision


def test_precision_auto_follows_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for capability, expected in (("amx_bf16", "bf16-mixed"), ("avx512_bf16", "bf16-mixed"), ("avx2", "32-true")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda name=capability: {name: True})
        assert pick_precision("auto", cpu) == expected
    assert pick_precision("bf16-mixed", cpu) == "bf16-mixed"


def test_main_process_is_the_first_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_main_process()
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.setenv(name, "0")
        assert is_main_process()
        monkeypatch.setenv(name, "1")
        assert not is_main_process()
        monkeypatch.delenv(name)
