"""Metrics that plug-ins define: of each class, from its pixels, or of each image."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from losslab.errors import InputError, quote
from losslab.io.files import JsonObject
from losslab.plugins.loading import call_plugin, check_options, load_plugin
from losslab.plugins.manifest import PluginEntry, explain_unknown, find_plugins
from losslab.plugins.usage import describe_code

Numbers = npt.NDArray[np.float64]
COUNTS = {"hit", "truth", "predicted"}
"""Arguments of a metric of classes."""


@dataclass(frozen=True)
class PluginMetric:
    """A function of a plug-in with its options; what it returns is checked."""

    entry: PluginEntry
    function: Any
    options: dict[str, Any]

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def is_of_classes(self) -> bool:
        """Whether it scores classes by their pixels, and not images."""
        return not COUNTS.isdisjoint(inspect.signature(self.function).parameters)

    def score_classes(self, counts: Mapping[str, Numbers]) -> Numbers:
        """Score classes by their `hit`, `truth` and `predicted` pixels, `[..., C]` each; NaN: a class has no score.

        Raises InputError if the function fails, or returns another shape.
        """
        # Copies: what a metric does to them changes no other score.
        inputs = {name: np.array(counts[name], np.float64) for name in COUNTS}
        shape = inputs["hit"].shape
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = np.asarray(call_plugin(self.function, self.entry.origin, inputs | self.options))
        if scores.shape != shape or scores.dtype.kind not in "fiu":
            raise InputError(
                f"{self.entry.place}: {self.name} returned {scores.dtype} {list(scores.shape)} for counts of shape "
                f"{list(shape)}; a metric of classes returns numbers of the same shape"
            )
        return self._check_finite(scores.astype(np.float64))

    def score_image(self, inputs: Mapping[str, Any]) -> float:
        """Score an image; NaN: it has no score. Raises InputError if the function fails, or returns no number."""
        copies = {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in inputs.items()}
        score = call_plugin(self.function, self.entry.origin, copies | self.options)
        value = np.asarray(score)
        if value.ndim or value.dtype.kind not in "fiu":
            raise InputError(
                f"{self.entry.place}: {self.name} returned {type(score).__name__}; a metric of an image is a number"
            )
        return float(self._check_finite(value.astype(np.float64)))

    def _check_finite(self, scores: Numbers) -> Numbers:
        if np.isinf(scores).any():
            raise InputError(f"{self.entry.place}: {self.name} returned inf; NaN stands for no score")
        return scores

    def refuse_overlapping(self) -> NoReturn:
        """Raise InputError: a metric of images takes one label for each pixel."""
        raise InputError(
            f"evaluate.metrics: {self.name} is of images with one label for each pixel, but these classes overlap; take metrics "
            "of classes"
        )

    def describe(self) -> JsonObject:
        """Describe the metric for evaluation.json, so that scores can be read without the plug-in."""
        facts = {"title": self.name, "higher_is_better": True, "unit": "points"} | self.entry.facts
        return {**facts, "of": "classes" if self.is_of_classes else "images", "code": describe_code(self.entry)}


def load_metric(name: str, options: Mapping[str, Any]) -> PluginMetric:
    """Import the metric of a name. Raises InputError if there is none, or it is ill-formed, or does not take an option."""
    known = find_plugins().select("metric")
    if name not in known:
        listed = f" (there are {', '.join(known)})" if known else ""
        raise InputError(explain_unknown(f"metric: no plug-in has {quote(name)}{listed}", name, known))
    entry = known[name]
    function = load_plugin(entry.origin, entry.attribute)
    metric = PluginMetric(entry, function, check_options(function, entry.origin, dict(options)))
    taken = inspect.signature(function).parameters.keys() - metric.options.keys()
    if metric.is_of_classes and taken - COUNTS:
        raise InputError(
            f"{entry.place}: {name} takes {', '.join(sorted(taken & COUNTS))} of classes and "
            f"{', '.join(sorted(taken - COUNTS))} of images; a metric is of one or the other"
        )
    return metric
