"""Runs as a table: cells on one test set, or on several."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from losslab.comparison.evidence import RunEvidence, compute_score
from losslab.comparison.result import ComparedMetric
from losslab.comparison.statistics import Blocks, Scores


@dataclass(frozen=True)
class ScoreTable:
    """Cells on one or several test sets."""

    sets: Mapping[str, Sequence[RunEvidence]]
    block_axis: str | None
    """The axis whose labels are test sets of their own."""
    axes: Mapping[str, Sequence[str]]
    """The others."""

    @cached_property
    def cells(self) -> dict[str, list[RunEvidence]]:
        """Name → its runs on all test sets; cells that are not on every test set are left out."""
        found: dict[str, list[RunEvidence]] = {}
        for run in itertools.chain.from_iterable(self.sets.values()):
            found.setdefault(self.name(run), []).append(run)
        return {name: runs for name, runs in found.items() if all(self.runs_of(name, label) for label in self.sets)}

    def name(self, run: RunEvidence) -> str:
        return ", ".join(label for axis, label in run.labels.items() if axis != self.block_axis) or "all"

    def labels(self, cell: str) -> dict[str, str]:
        return {axis: label for axis, label in self.cells[cell][0].labels.items() if axis != self.block_axis}

    def blocks(self, cells: Sequence[str], metric: str) -> Blocks:
        """Of cells that are averaged."""
        return [[self.matrix(cell, label, metric) for cell in cells] for label in self.sets]

    def matrix(self, cell: str, label: str, metric: str) -> Scores:
        """`[seeds, images]`, of the images that all runs have a score of."""
        return np.stack([run.shares(metric)[self.known(label, metric)] for run in self.runs_of(cell, label)])

    def known(self, label: str, metric: str) -> npt.NDArray[np.bool_]:
        """Of the images of a test set, those that every run has a score of."""
        lacking = [np.isnan(run.shares(metric)) for run in self.sets[label] if self.name(run) in self.cells]
        known: npt.NDArray[np.bool_] = ~np.any(np.stack(lacking), axis=0)
        return known

    def score(self, run: RunEvidence, metric: ComparedMetric) -> float:
        """A run's, on what is judged."""
        label = next(label for label, part in self.sets.items() if run in part)
        return compute_score(run, metric, self.known(label, metric.key) if metric.has_images else None)

    def factors(self) -> dict[str, dict[str, list[str]]]:
        """Axis → label → the cells over which it is averaged: those whose other labels go with every label of the axis."""
        found = {}
        for axis, labels in self.axes.items():
            rest = {
                label: {self._other(cell, axis): cell for cell in self.cells if self.labels(cell)[axis] == label}
                for label in labels
            }
            present = {label: cells for label, cells in rest.items() if cells}
            common = set.intersection(*(set(cells) for cells in present.values())) if present else set()
            if len(present) > 1 and common:
                order = [other for other in next(iter(present.values())) if other in common]
                found[axis] = {label: [cells[other] for other in order] for label, cells in present.items()}
        return found

    def _other(self, cell: str, axis: str) -> str:
        return ", ".join(label for name, label in self.labels(cell).items() if name != axis)

    def runs_of(self, cell: str, label: str) -> list[RunEvidence]:
        return [run for run in self.sets[label] if self.name(run) == cell]
