"""What a training step asks of the arithmetic, and what the machine gives in products of large matrices (GEMM)."""

import statistics
import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.stopwatch import wait_for_gpu

SIDES = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the matrices by device."""
DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16}
"""What a training's convolutions compute in, by its precision."""
MIN_PRODUCTS = 5


def measure_gemm_rates(
    device: torch.device, native: str, side: int | None = None, seconds: float = 1.0
) -> dict[str, float]:
    """Measure 10^9 floating-point operations a second by precision: of float32, and of the one that is native here."""
    torch.backends.cuda.matmul.allow_tf32 = True  # as cuDNN's convolutions do of themselves
    side = side or SIDES[device.type]
    return {name: _measure(device, DTYPES[name], side, seconds) for name in sorted({"32-true", native})}


def _measure(device: torch.device, dtype: torch.dtype, side: int, enough: float) -> float:
    """Take the median of some products, after a first one that does not count."""
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    result = torch.mm(left, right)
    seconds: list[float] = []
    while len(seconds) < MIN_PRODUCTS or sum(seconds) < enough:
        wait_for_gpu()
        began = time.perf_counter()
        torch.mm(left, right, out=result)
        wait_for_gpu()
        seconds.append(time.perf_counter() - began)
    return 2 * side**3 / statistics.median(seconds) / 1e9


def count_step_gflops(net: nn.Module, size: int) -> float:
    """Count 10^9 operations of a training step for an image, forward and backward, as losslab.models.cost counts them."""
    images = torch.zeros(2, 3, size, size, device=next(net.parameters()).device)
    with FlopCounterMode(display=False) as counter:
        net(images).sum().backward()
    return float(counter.get_total_flops()) / len(images) / 1e9
