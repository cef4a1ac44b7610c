"""Table of runs: cells on one test set, or on several."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from losslab.comparison.evidence import RunEvidence, compute_score
from losslab.comparison.metrics import compute_effective_number
from losslab.comparison.result import ComparedMetric
from losslab.comparison.statistics import Blocks, Scores
from losslab.comparison.verdicts import SINGLE_IMAGES, IndependentUnits


@dataclass(frozen=True)
class ScoreTable:
    """Scores of cells on one or several test sets."""

    sets: Mapping[str, Sequence[RunEvidence]]
    """Label of the block axis → runs; one entry named "" where there is one test set."""
    block_axis: str | None
    """Axis whose labels are test sets of their own; None where there is one test set."""
    axes: Mapping[str, Sequence[str]]
    """Other axes → labels."""

    @cached_property
    def cells(self) -> dict[str, list[RunEvidence]]:
        """Name → its runs on all test sets; cells without runs on some test set are left out."""
        cells: dict[str, list[RunEvidence]] = {}
        for run in itertools.chain.from_iterable(self.sets.values()):
            cells.setdefault(self.name_cell(run), []).append(run)
        return {name: runs for name, runs in cells.items() if all(self.list_runs(name, label) for label in self.sets)}

    def name_cell(self, run: RunEvidence) -> str:
        """Return the name of a run's cell: its labels, but for that of the block axis."""
        return " + ".join(label for axis, label in run.labels.items() if axis != self.block_axis) or "all"

    def get_labels(self, cell: str) -> dict[str, str]:
        """Return axis → label of a cell."""
        return {axis: label for axis, label in self.cells[cell][0].labels.items() if axis != self.block_axis}

    def stack_blocks(self, cells: Sequence[str], metric: str) -> Blocks:
        """Stack the scores of cells that are averaged, for each test set: of its images, or of groups of them."""
        return [[self.stack_scores(cell, label, metric) for cell in cells] for label in self.sets]

    def stack_scores(self, cell: str, label: str, metric: str) -> Scores:
        """Stack a cell's scores on a test set, `[seeds, units]`, of the images that every run has a score of."""
        scored = self.find_scored_images(label, metric)
        return np.stack([run.compute_unit_shares(metric, scored) for run in self.list_runs(cell, label)])

    @property
    def units(self) -> int:
        """Number of independent units of all test sets; of groups that differ in size the effective number."""
        return sum(part[0].unit_count for part in self.sets.values())

    def describe_units(self, metric: str | None = None) -> IndependentUnits:
        """Describe the independent units of the test sets: of all images, or of those that every run has the metric of."""
        effective: list[float | None] = []
        for label, part in self.sets.items():
            units = part[0].units
            scored = units if metric is None else itertools.compress(units, self.find_scored_images(label, metric))
            effective.append(compute_effective_number(scored) if part[0].groups else None)
        noun = max((part[0].unit_noun for part in self.sets.values() if part[0].groups), key=len, default=None)
        return IndependentUnits(noun, effective) if noun is not None else SINGLE_IMAGES

    def find_scored_images(self, label: str, metric: str) -> npt.NDArray[np.bool_]:
        """Find the images of a test set that every run has a score of, as a mask `[images]`; each mask once."""
        if (label, metric) not in self._scored:
            shares = [run.compute_shares(metric) for run in self.sets[label] if self.name_cell(run) in self.cells]
            self._scored[label, metric] = np.asarray(~np.isnan(shares).any(axis=0))
        return self._scored[label, metric]

    @cached_property
    def _scored(self) -> dict[tuple[str, str], npt.NDArray[np.bool_]]:
        return {}

    def compute_score(self, run: RunEvidence, metric: ComparedMetric) -> float:
        """Compute a run's score on the images that are judged."""
        label = next(label for label, part in self.sets.items() if run in part)
        return compute_score(run, metric, self.find_scored_images(label, metric.key) if metric.has_images else None)

    def find_factors(self) -> dict[str, dict[str, list[str]]]:
        """Find for each axis and label the cells to average: those whose other labels go with every label of the axis."""
        factors = {}
        for axis, labels in self.axes.items():
            present: dict[str, dict[str, str]] = {}
            for label, cell in itertools.product(labels, self.cells):
                own = self.get_labels(cell)
                if own[axis] == label:
                    rest = ", ".join(other for name, other in own.items() if name != axis)
                    present.setdefault(label, {})[rest] = cell
            common = set.intersection(*(set(cells) for cells in present.values())) if present else set()
            if len(present) > 1 and common:
                order = [name for name in next(iter(present.values())) if name in common]
                factors[axis] = {label: [cells[name] for name in order] for label, cells in present.items()}
        return factors

    def list_runs(self, cell: str, label: str) -> list[RunEvidence]:
        """List the runs of a cell on a test set."""
        return [run for run in self.sets[label] if self.name_cell(run) == cell]
