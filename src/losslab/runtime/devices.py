"""The device that a net runs on, its precision and its memory."""

import ctypes
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any

import torch

from losslab.errors import InputError


def pick_device(requested: str) -> torch.device:
    """Resolve `auto` to CUDA if there is a CUDA device, else the CPU. Raises InputError for `cuda` without one."""
    if requested == "cuda" and not torch.cuda.is_available():
        raise InputError("train.device is 'cuda', but torch finds no CUDA device; use auto or cpu")
    return torch.device("cuda" if requested != "cpu" and torch.cuda.is_available() else "cpu")


def pick_model_device(description: Mapping[str, Any]) -> torch.device:
    """Pick the CPU for a model that was trained there by its model.json, else the best device of this machine."""
    return pick_device("cpu" if description["run"]["train"]["device"] == "cpu" else "auto")


def pick_precision(requested: str, device: torch.device) -> str:
    """Resolve `auto` to Lightning's bf16-mixed if the hardware has it, else 32-true. InputError: 16-mixed on CPU."""
    if requested == "16-mixed" and device.type == "cpu":
        raise InputError("train.precision is '16-mixed', which needs CUDA; on the CPU use auto, bf16-mixed or 32-true")
    if requested != "auto":
        return requested
    return "bf16-mixed" if _has_native_bf16(device) else "32-true"


def build_autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Build the autocast context in which a run of this precision is trained and evaluated."""
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    if dtype == torch.float16 and device.type == "cpu":  # trained on CUDA, used elsewhere
        dtype = None
    context: AbstractContextManager[None] = torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
    return context


def _has_native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def keep_freed_memory() -> None:
    """Let glibc keep large blocks that this process frees, else each step pays for every page of them again."""
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
    with suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)


def describe_hardware() -> str:
    """Describe the processor and the accelerator, if any, for a reader of timings."""
    capabilities = torch.cpu.get_capabilities()
    name = capabilities.get("cpu_name") or capabilities.get("architecture", "CPU")
    text = f"{name}, {capabilities.get('num_physical_cores', '?')} cores"
    return f"{text}; {torch.cuda.get_device_name()}" if torch.cuda.is_available() else text
