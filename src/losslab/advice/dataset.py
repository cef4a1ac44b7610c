"""Advice for a prepared dataset of a project: its measures, the losses, and what the advice is worth."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from losslab.advice.choice import ASPECTS, Advice, advise
from losslab.advice.regret import MIN_KINDS, Regret, measure_regret, summarise_regret
from losslab.advice.results import find_results, read_results
from losslab.advice.study_file import write_study
from losslab.advice.wording import explain_kind, explain_loss, list_doubts
from losslab.cards import Card, read_card
from losslab.data.measures import DatasetMeasures, measure_dataset
from losslab.errors import InputError
from losslab.losses.parsed_loss import parse_loss
from losslab.params import Params, load
from losslab.study.spec import NAME, STUDIES, make_slug


@dataclass(frozen=True, kw_only=True)
class DatasetAdvice:
    name: str
    card: Card
    params: Params
    measures: DatasetMeasures
    advice: Advice
    regret: tuple[Regret, ...]
    """A row for each kind of data; empty where there are too few to measure it."""

    @property
    def reasons(self) -> list[str]:
        """Why each loss was chosen, a line each."""
        return [explain_loss(loss, self.advice, self.params.loss) for loss in self.advice.losses]

    @property
    def leanings(self) -> list[str]:
        """The kinds of data that the advice leans on most, and why, a line each."""
        return [explain_kind(kind, self.measures) for kind in self.advice.leading_kinds]

    @property
    def doubts(self) -> list[str]:
        return list_doubts(self.advice, self.measures, self.card.is_overlapping)

    @property
    def worth(self) -> str:
        """What such advice loses on kinds of data that it has not seen, in words."""
        if self.regret:
            return summarise_regret(self.regret)
        kinds = len(self.advice.kinds)
        return f"What such advice loses cannot be measured yet: it takes {MIN_KINDS} kinds of data, and there are rows of {kinds}."

    def write_study(self, study: str) -> str:
        """Write the content of the file of a study that settles it, under this name."""
        return write_study(study, self.name, self.advice, self.params, lambda *loss: fits(self.card, *loss))

    def describe(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        kinds = [
            {"kind": kind.results.kind, "weight": kind.weight, "distance": kind.distance}
            | {"alike": [aspect.name for aspect in kind.alike], "measures": asdict(kind.results.measures)}
            for kind in self.advice.kinds
        ]
        losses = [asdict(loss) | {"why": reason} for loss, reason in zip(self.advice.losses, self.reasons, strict=True)]
        return {
            "dataset": self.name,
            "measures": asdict(self.measures),
            "kinds": kinds,
            "leanings": self.leanings,
            "losses": losses,
            "noise": self.advice.noise,
            "left_out": self.advice.left_out,
            "doubts": self.doubts,
            "regret": [asdict(row) | {"is_better": row.is_better} for row in self.regret],
            "worth": self.worth,
        }


def advise_dataset(name: str, root: Path) -> DatasetAdvice:
    """Advise on a dataset that is prepared in a project.

    Raises:
        InputError: it has no card, is not prepared, has nothing to segment, or there are no rows to advise from.
    """
    card = read_card(name, root / "data/catalog")
    params, prepared = load(root / "params.yaml"), root / "data/prepared" / name
    if not (prepared / "dataset.json").is_file():
        command = "dvc repro prepare" if params.dataset == name else f"dvc exp run -S dataset={name} prepare"
        raise InputError(f"{prepared}: {name} is not prepared here; run `{command}`")
    results = find_results(root)
    kinds = read_results(results)
    measures = measure_dataset(prepared)
    return DatasetAdvice(
        name=name,
        card=card,
        params=params,
        measures=measures,
        advice=advise(measures, kinds, lambda loss: fits(card, loss, {})),
        regret=tuple(measure_regret(results) if len(kinds) >= MIN_KINDS else ()),
    )


def fits(card: Card, loss: str, options: dict[str, Any]) -> bool:
    """Return whether a dataset can take a loss with these options."""
    try:
        parse_loss(loss, options).check_classes(card.num_outputs, card.is_overlapping)
    except InputError:
        return False
    return True


def choose_study_file(dataset: str, root: Path, given: Path | None) -> Path:
    """Return the path of the study to write: `given`, or studies/advise_DATASET.yaml. Raises InputError for no study's name."""
    path = root / STUDIES / f"advise_{make_slug(dataset)}.yaml" if given is None else given
    is_study = path.suffix == ".yaml" and re.fullmatch(NAME, path.stem)
    if not is_study or path.parent.resolve() != (root / STUDIES).resolve():
        raise InputError(f"{path}: a study is {STUDIES}/NAME.yaml, with letters, digits, _ and . in its name")
    return path


def build_comparison(advised: DatasetAdvice) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Build the table of the dataset's measures beside those of the kinds that were leaned on: header and rows."""
    kinds = advised.advice.leading_kinds
    header = ("measure", advised.name, *(f"{kind.results.kind}, weight {kind.weight:.0%}" for kind in kinds))
    measured = [advised.measures, *(kind.results.measures for kind in kinds)]
    return header, [(aspect.name, *(aspect.show(aspect.read(each)) for each in measured)) for aspect in ASPECTS]
