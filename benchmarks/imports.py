"""Time of imports, each in a fresh process with its files in the page cache, as in a second run."""

import statistics
import subprocess
import sys

MODULES = (
    "torch",
    "torchvision",
    "lightning",
    "segmentation_models_pytorch",
    "torchmetrics",
    "albumentations",
    "mlflow",
    "losslab.training",
)
TIMING_SCRIPT = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"


def time_imports(modules: tuple[str, ...] = MODULES, rounds: int = 3) -> dict[str, float]:
    """Measure the median seconds of `import MODULE`, with everything that it imports in turn."""
    return {module: statistics.median(_time_import(module) for _ in range(rounds)) for module in modules}


def _time_import(module: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", TIMING_SCRIPT.format(module)], capture_output=True, text=True, check=True
    )
    return float(done.stdout.splitlines()[-1])
