"""Costs of nets, counted and timed on this machine one after the other, so that all are measured by the same clock."""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from losslab.bands import read_bands
from losslab.io.files import JsonObject

WARMUP_PASSES, MAX_TIMED_PASSES, MAX_TIMING_S = 2, 15, 3.0


@dataclass(frozen=True)
class NetCost:
    """Parameters, operations and time of a net."""

    parameters: int
    gflops: float | None
    """10^9 operations of a forward pass over one image; None where they could not be counted."""
    image_ms: float | None
    """Median milliseconds of a forward pass over one image; None where not timed."""


class CostMeter:
    """Measures the cost of nets, of each once; with `timed` False parameters and operations are only counted.

    `report` is called with a net's name before it is measured.
    """

    def __init__(self, timed: bool, report: Callable[[str], object] = lambda net: None) -> None:
        self.timed, self.report = timed, report
        self.known: dict[str, NetCost] = {}

    def __call__(self, model: JsonObject) -> NetCost:
        """Measure a net from the content of its model.json; InputError: this losslab does not build such a net."""
        from losslab.models.cost import measure_arch_cost

        net = {key: model[key] for key in ("arch", "encoder", "num_classes", "size")}
        net |= {"arch_options": model.get("arch_options", {}), "in_channels": len(read_bands(model).names)}
        key = json.dumps(net, sort_keys=True)
        if key not in self.known:
            self.report(" ".join(str(net[part]) for part in ("arch", "encoder") if net[part] is not None))
            options = {"options": net["arch_options"], "in_channels": net["in_channels"]}
            counted = measure_arch_cost(net["arch"], net["size"], net["num_classes"], net["encoder"], **options)
            time_ms = _time_forward_ms(net) if self.timed else None
            self.known[key] = NetCost(int(model["parameters"]), counted.gflops, time_ms)
        return self.known[key]


def measure_run(model: JsonObject, evaluation: JsonObject, measure: Callable[[JsonObject], NetCost]) -> NetCost:
    """Measure what predicts in a run: its net, or all members of an ensemble, of which each sees every image.

    Args:
        model: the content of its model.json.
        evaluation: that of its evaluation.json.
        measure: measures one net, as `CostMeter` does.
    """
    ensemble = evaluation.get("ensemble")
    if ensemble is None or ensemble["average"] == "weights":
        return measure(model)
    costs = [measure({**model, **member}) for member in evaluation["ensemble_facts"]["members"]]
    gflops, times = [cost.gflops for cost in costs], [cost.image_ms for cost in costs]
    return NetCost(
        sum(cost.parameters for cost in costs),
        sum(each for each in gflops if each is not None) if None not in gflops else None,
        sum(each for each in times if each is not None) if None not in times else None,
    )


def _time_forward_ms(net: JsonObject) -> float:
    import torch

    from losslab.models import build_model

    options = {"options": net["arch_options"], "in_channels": net["in_channels"]}
    model = build_model(net["arch"], net["num_classes"], net["encoder"], **options).eval()
    image = torch.zeros(1, net["in_channels"], net["size"], net["size"])
    seconds: list[float] = []
    with torch.inference_mode():
        for _ in range(WARMUP_PASSES):
            model(image)
        began = time.monotonic()
        while len(seconds) < MAX_TIMED_PASSES and (not seconds or time.monotonic() - began < MAX_TIMING_S):
            start = time.perf_counter()
            model(image)
            seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)
