"""What nets cost: counted, and timed here, one after the other, so that runs of busy and idle hours are held against the
same clock.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from losslab.io.files import JsonObject

WARM, TIMED, PATIENCE = 2, 15, 3.0
"""Passes before the clock is read, passes that are timed at most, and seconds for them."""


@dataclass(frozen=True)
class NetCost:
    parameters: int
    gflops: float | None
    """10^9 operations for one image, forward."""
    image_ms: float | None
    """Milliseconds for one image, forward: the median."""


class CostMeter:
    """Measures nets, each of them once.

    Args:
        timed: False: nets are only counted.
        told: called with a net's name before it is measured.
    """

    def __init__(self, timed: bool, told: Callable[[str], object] = lambda net: None) -> None:
        self.timed, self.told = timed, told
        self.known: dict[str, NetCost] = {}

    def __call__(self, model: JsonObject) -> NetCost:
        """Of a net, built anew.

        Args:
            model: the content of model.json.

        Raises:
            InputError: a net is none that this losslab builds.
        """
        net = {key: model[key] for key in ("arch", "encoder", "num_classes", "size")}
        key = json.dumps(net, sort_keys=True)
        if key not in self.known:
            self.told(" ".join(str(net[part]) for part in ("arch", "encoder") if net[part] is not None))
            self.known[key] = _cost(net, int(model["parameters"]), self.timed)
        return self.known[key]


def _cost(net: JsonObject, parameters: int, timed: bool) -> NetCost:
    from losslab.models.cost import measure_arch_cost

    counted = measure_arch_cost(net["arch"], net["size"], net["num_classes"], net["encoder"])
    return NetCost(parameters, counted.gflops, _milliseconds(net) if timed else None)


def _milliseconds(net: JsonObject) -> float:
    import torch

    from losslab.models import build_model

    model = build_model(net["arch"], net["num_classes"], net["encoder"]).eval()
    image = torch.zeros(1, 3, net["size"], net["size"])
    seconds: list[float] = []
    with torch.inference_mode():
        for _ in range(WARM):
            model(image)
        began = time.monotonic()
        while len(seconds) < TIMED and (not seconds or time.monotonic() - began < PATIENCE):
            start = time.perf_counter()
            model(image)
            seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)
