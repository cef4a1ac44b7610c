"""Description of the machine, as JSON on stdout: `python -m benchmarks.machine`, a process of its own since it imports torch."""

import json
import os
import platform

import torch

from losslab.runtime.devices import describe_hardware, pick_precision

FEATURES = ("amx_bf16", "avx512_bf16", "avx512_vnni", "avx512_f", "avx2", "bf16", "sve", "neon")
THREADING = ("OMP_", "GOMP_", "KMP_", "MKL_", "TORCH_", "MALLOC_", "GLIBC_", "THP_", "LD_PRELOAD")
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
        "native_bf16": pick_precision("auto", cpu) == "bf16-mixed",
        "cuda": torch.cuda.is_available(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
