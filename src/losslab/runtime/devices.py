"""Where a net runs and in which precision."""

import ctypes
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any

import torch

from losslab.errors import InputError


def pick_device(requested: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises InputError for `cuda` without a CUDA device."""
    if requested == "cuda" and not torch.cuda.is_available():
        raise InputError("train.device is 'cuda'; torch finds no CUDA device: use auto or cpu")
    return torch.device("cuda" if requested != "cpu" and torch.cuda.is_available() else "cpu")


def pick_model_device(description: Mapping[str, Any]) -> torch.device:
    """Where to run a model of this model.json: where it was trained, or on what there is."""
    return pick_device("cpu" if description["run"]["train"]["device"] == "cpu" else "auto")


def pick_precision(requested: str, device: torch.device) -> str:
    """`auto` is bf16-mixed where the hardware multiplies bfloat16 itself, else 32-true (names as in Lightning)."""
    if requested == "16-mixed" and device.type == "cpu":
        raise InputError("train.precision is '16-mixed', which needs CUDA; on the CPU use auto, bf16-mixed or 32-true")
    if requested != "auto":
        return requested
    return "bf16-mixed" if _native_bf16(device) else "32-true"


def build_autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """The autocast context that a run of this precision is trained and evaluated in."""
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    if dtype == torch.float16 and device.type == "cpu":  # trained on CUDA, looked at elsewhere
        dtype = None
    context: AbstractContextManager[None] = torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
    return context


def _native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def is_main_process() -> bool:
    """Whether this process writes: the only one, or the first of several that torchrun, SLURM or Lightning started."""
    return all(int(os.environ.get(name, "0")) == 0 for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, where its C library is glibc.

    glibc gives large blocks back at once, and each step pays for getting every page of them anew.
    """
    with suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of malloc.h


def describe_hardware() -> str:
    """The processor and, where there is one, the accelerator, for a reader of timings."""
    capabilities = torch.cpu.get_capabilities()
    name = capabilities.get("cpu_name") or capabilities.get("architecture", "CPU")
    text = f"{name}, {capabilities.get('num_physical_cores', '?')} cores"
    return f"{text}; {torch.cuda.get_device_name()}" if torch.cuda.is_available() else text
