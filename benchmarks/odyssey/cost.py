"""What a training step costs with each loss, held against cross entropy: the same net, the same batch, in turn.

Time is that of the processor, in one process with one thread: what else the machine does counts little.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.odyssey.tables import COST, COST_COLUMNS, REFERENCE, Row, format_number, write_table
from losslab.cards import GeneratorSource, read_card
from losslab.data.download.fetch import fetch
from losslab.data.loading.arrays import PreparedData
from losslab.data.prepare.prepare import prepare
from losslab.errors import InputError
from losslab.inference.tensors import InputScaling
from losslab.params import Params, check_params
from losslab.runtime.devices import describe_hardware
from losslab.study.plan import GridCell, Study, read_study
from losslab.training.optimizer import build_optimizer
from losslab.training.plan import TrainingPlan, plan_training

WARMUP_STEPS = 10
"""Steps before the first that is timed: what a net predicts is no noise any more, on which topology, say, costs more."""
TIMED_STEPS = 5
"""Steps of a round, of which the median counts."""


@dataclass
class Trainer:
    """A net that takes one training step after another on one batch."""

    plan: TrainingPlan
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        params, prepared, description = self.plan.params, self.plan.prepared, self.plan.description
        self.optimizer = build_optimizer(
            self.plan.net, getattr(self.plan.net, "encoder", None), params.train, description["precision"]
        )
        images, masks = (
            torch.from_numpy(part("train")[: params.train.batch_size].copy())
            for part in (prepared.images, prepared.masks)
        )
        self.batch, self.target = InputScaling(description)(images), masks.long()
        self.plan.net.train()
        self.step(WARMUP_STEPS)

    def step(self, number: int) -> float:
        """Take so many steps; return the median milliseconds of processor time of one."""
        seconds = []
        for _ in range(number):
            began = time.process_time()
            self.optimizer.zero_grad(set_to_none=True)
            self.plan.loss(self.plan.net(self.batch), self.target).backward()
            self.optimizer.step()
            seconds.append(time.process_time() - began)
        return 1000 * statistics.median(seconds)


def time_study(name: str, datasets: Sequence[str], rounds: int, root: Path, folder: Path) -> None:
    """Time all losses of a study on the first net of its grid, on drawn data of these names, and write cost.csv.

    Raises:
        InputError: there is no such study or dataset, or the study does not hold losses against cross entropy.
    """
    torch.set_num_threads(1)
    studies = [read_study(name, root, (f"dataset={dataset}",)) for dataset in datasets]
    rows = [row for study in studies for row in time_losses(study, rounds, root)]
    write_table(folder / COST, rows)


def time_losses(study: Study, rounds: int, root: Path) -> Iterator[Row]:
    """Yield the row of each loss, on data that are drawn for it."""
    cells = list_first_cells(study)
    first = build_params(study, cells[REFERENCE], root)
    with tempfile.TemporaryDirectory(prefix="losslab-odyssey-") as name:
        card, raw = read_card(first.dataset, root / "data/catalog"), Path(name, "raw")
        if not isinstance(card.source, GeneratorSource):
            raise InputError(f"{first.dataset}: steps are timed on drawn data, such as synthetic_roads")
        fetch(first.dataset, card, None, raw, Path(name, "downloads"))
        prepare(card, raw, first.prepare, Path(name, "prepared"))
        prepared = PreparedData(Path(name, "prepared"))
        reference = Trainer(plan_training(first, prepared))
        for loss, cell in tqdm(cells.items(), desc=first.dataset, disable=None):
            trainer = Trainer(plan_training(build_params(study, cell, root), prepared))
            pairs = [(trainer.step(TIMED_STEPS), reference.step(TIMED_STEPS)) for _ in range(rounds)]
            yield describe_cost(trainer.plan, loss, dict(cell.labels)["net"], pairs)


def describe_cost(plan: TrainingPlan, loss: str, net: str, pairs: Sequence[tuple[float, float]]) -> Row:
    """Describe milliseconds of steps with this loss and with cross entropy, a pair for each round."""
    ratios = sorted(own / other for own, other in pairs)
    params, numbers = plan.params, (statistics.median(ratios), ratios[0], ratios[-1])
    row = [params.dataset, str(len(plan.description["classes"])), net, str(params.prepare.size)]
    row += [str(params.train.batch_size), loss, format_number(statistics.median(own for own, _ in pairs), 1)]
    row += [format_number(number, 2) for number in numbers]
    row += [describe_hardware(), plan.description["precision"], str(torch.get_num_threads())]
    return dict(zip(COST_COLUMNS, row, strict=True))


def list_first_cells(study: Study) -> dict[str, GridCell]:
    """List for each loss its cell with the first net of the study."""
    axes = study.card.axes
    if not {"loss", "net"} <= axes.keys() or REFERENCE not in axes["loss"]:
        raise InputError(f"studies/{study.name}.yaml: it needs the axes loss, with {REFERENCE}, and net")
    net = next(iter(axes["net"]))
    return {dict(cell.labels)["loss"]: cell for cell in study.cells if dict(cell.labels)["net"] == net}


def build_params(study: Study, cell: GridCell, root: Path) -> Params:
    """Build the params of a cell: with random weights, which no hub need give, on the CPU."""
    params = study.build_run(cell, study.shared_trial, study.card.seeds[0]).params
    params = params | {"encoder_weights": None, "train": params["train"] | {"device": "cpu"}}
    return check_params(params, f"studies/{study.name}.yaml: {cell}", root / "data/catalog")
