"""Description of the machine, as JSON on stdout: `python -m benchmarks.machine`, a process of its own since it imports torch."""

import json
import os
import platform
from collections.abc import Mapping
from typing import Any

import torch

from losslab.runtime.devices import describe_hardware, pick_precision

FEATURES = ("amx_bf16", "avx512_bf16", "avx512_vnni", "avx512_f", "avx2", "bf16", "sve", "neon")
THREADING = ("OMP_", "GOMP_", "KMP_", "MKL_", "TORCH_", "DNNL_", "ONEDNN_", "MALLOC_", "GLIBC_", "THP_", "LD_PRELOAD")
"""Prefixes of environment variables that change speed."""


def main() -> None:
    capabilities = torch.cpu.get_capabilities()
    cpu = torch.device("cpu")
    facts = {
        "hardware": describe_hardware(),
        "features": [name for name in FEATURES if capabilities.get(name)],
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "environment": {name: value for name, value in sorted(os.environ.items()) if name.startswith(THREADING)},
        "bf16_unit": name_bf16_unit(capabilities, os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT")),
        "native_bf16": pick_precision("auto", cpu) == "bf16-mixed",
        "cuda": torch.cuda.is_available(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    print(json.dumps(facts))


def name_bf16_unit(capabilities: Mapping[str, Any], limit: str) -> str | None:
    """Name what the CPU multiplies bf16 with, None if nothing; `limit` is oneDNN's ONEDNN_MAX_CPU_ISA."""
    if capabilities.get("amx_bf16") and (limit.upper() in ("DEFAULT", "ALL") or "AMX" in limit.upper()):
        return "AMX"
    if capabilities.get("avx512_bf16"):
        return "AVX-512 without AMX"
    return "Arm" if capabilities.get("bf16") else None


if __name__ == "__main__":
    main()
