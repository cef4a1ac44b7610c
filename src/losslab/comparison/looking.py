"""Looks at a study that goes on until it is decided: its finished runs are judged as `losslab compare` judges them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from losslab.cards import read_card
from losslab.comparison.compare import build_table, drop_duplicates, find_metric, judge_table
from losslab.comparison.evidence import RunEvidence, read_evidence
from losslab.comparison.looks import LookPlan
from losslab.comparison.metrics import TITLES, list_judged_metrics
from losslab.comparison.score_table import ScoreTable
from losslab.comparison.verdicts import MIN_SEEDS, JudgedPair
from losslab.errors import InputError, suggest_name
from losslab.experiments.finished_runs import RunOutputs
from losslab.study.look_record import DecisionPlan, PairState, SeenPair
from losslab.study.plan import GridCell, Study, StudyRun, list_kinds_of_runs
from losslab.study.until_decided import Findings
from losslab.tracking.store import RECORD_FILES

CATALOG = Path("data/catalog")


class StudyJudge:
    """Judges the finished runs of a study at its looks; the tables of a run are read once.

    Raises InputError if the study has too few seeds to begin with, or its runs cannot be judged by the metric.
    """

    def __init__(self, study: Study, plan: DecisionPlan, root: Path) -> None:
        if plan.first < MIN_SEEDS:
            raise InputError(
                f"studies/{study.name}.yaml has {plan.first} seeds; --until-decided begins with at least {MIN_SEEDS}"
            )
        check_metric(plan.metric, study, root)
        self.study, self.plan = study, plan
        self.known: dict[StudyRun, RunEvidence] = {}

    def __call__(self, finished: Mapping[StudyRun, RunOutputs]) -> Findings:
        """Judge the runs. Raises InputError if they cannot be compared, or nothing can be judged by the metric."""
        runs, _ = drop_duplicates([self._read(run, outs) for run, outs in finished.items()])
        table = build_table(runs, self.study.key, {axis: list(labels) for axis, labels in self.study.card.axes.items()})
        metric = find_metric(self.plan.metric, table.sets, "--metric")
        verdicts = judge_table(table, metric, LookPlan(self.plan.first, self.plan.last), self.plan.points)
        if not verdicts:
            why = metric.why_not or "there is only one cell with finished runs"
            raise InputError(f"{self.study.key} cannot be decided by {metric.key}: {why}")
        judged = [(question, pair) for question, verdict in verdicts.items() for pair in verdict.pairs]
        ranked = sorted(judged, key=lambda each: -each[1].chance)
        states = [(question, pair, find_state(pair)) for question, pair in ranked]
        wanted = [
            cell
            for question, pair, state in states
            if state == "open"
            for name in (pair.better, pair.worse)
            for cell in self._find_cells(table, question, name)
        ]
        return Findings(
            seeds={
                cell: min(len(table.list_runs(cell, label)) for label in table.sets) for cell in sorted(table.cells)
            },
            pairs=[_describe_pair(*each) for each in states],
            wanted=list(dict.fromkeys(wanted)),
        )

    def _read(self, run: StudyRun, outs: RunOutputs) -> RunEvidence:
        if run not in self.known:
            with outs.files(RECORD_FILES) as folder:
                labels, params = dict(run.cell.labels), outs.params
                self.known[run] = read_evidence(folder, run.name, labels, params, outs.model_md5)
        return self.known[run]

    def _find_cells(self, table: ScoreTable, question: str, name: str) -> Sequence[GridCell]:
        """Find the cells of the grid that a name in a question stands for: a cell, or a label of an axis."""
        names = table.find_factors()[question][name] if question else [name]
        labels = [table.get_labels(cell).items() for cell in names]
        return [cell for cell in self.study.cells if any(each <= dict(cell.labels).items() for each in labels)]


def find_state(pair: JudgedPair) -> PairState:
    """Say whether a pair is decided, or what it waits for; at the last look an undecided one is open."""
    if pair.is_real:
        return "real"
    if pair.is_equivalent:
        return "equivalent"
    if pair.seeds < MIN_SEEDS:
        return "short"
    return "limited" if not pair.may_be_claimed or (pair.is_hopeless and pair.seeds < pair.looks.last) else "open"


def _describe_pair(question: str, pair: JudgedPair, state: PairState) -> SeenPair:
    estimate = pair.estimate
    ends = (estimate.low, estimate.high) if estimate is not None else (None, None)
    return SeenPair(
        question=question,
        better=pair.better,
        worse=pair.worse,
        state=state,
        gap=pair.gap,
        low=ends[0],
        high=ends[1],
        p=pair.p,
    )


def check_metric(metric: str, study: Study, root: Path) -> None:
    """Raise InputError for a metric that runs of the study will not have, or cannot be judged by, before any is run."""
    judged: list[str] | None = None
    kinds = [(run.params["dataset"], tuple(run.params["evaluate"]["metrics"])) for run in list_kinds_of_runs(study)]
    for dataset, own in dict.fromkeys(kinds):
        card = read_card(dataset, root / CATALOG)
        listed = list_judged_metrics(
            [each.name for each in card.classes], card.num_outputs == 1, own, card.is_overlapping
        )
        judged = [key for key in judged or listed if key in listed]
    if metric not in (judged or ()):
        is_shown = metric in TITLES or metric.startswith("surface_dice_")
        why = "cannot be judged, as single test images do not have it; it " if is_shown else ""
        close = "" if is_shown else suggest_name(metric, judged or ())
        raise InputError(f"--metric {metric}: {why}must be one of {', '.join(judged or ())}{close}")
