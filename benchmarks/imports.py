"""What imports cost, each in a fresh process; files are in the page cache, as in a second run."""

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
TIMED = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"


def seconds(modules: tuple[str, ...] = MODULES, rounds: int = 3) -> dict[str, float]:
    """Median seconds of `import MODULE`, with all that it imports in turn."""
    return {module: statistics.median(_once(module) for _ in range(rounds)) for module in modules}


def _once(module: str) -> float:
    done = subprocess.run([sys.executable, "-c", TIMED.format(module)], capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])
