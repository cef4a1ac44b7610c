"""The finished runs of one study of the odyssey as rows, and losslab's own verdicts on them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.odyssey.tables import (
    DATASETS,
    REFERENCE,
    RUN_COLUMNS,
    VERDICT_COLUMNS,
    Row,
    format_number,
    replace_row,
    write_command,
    write_table,
)
from losslab.cards import read_card
from losslab.comparison.breakdowns import break_down_by_strata
from losslab.comparison.compare import ComparisonSpec, build_table, drop_duplicates, find_metric, judge_table
from losslab.comparison.evidence import RunEvidence, check_judgeable, read_evidence
from losslab.comparison.result import ComparedMetric
from losslab.comparison.selection import select_study
from losslab.comparison.verdicts import MIN_SEEDS, JudgedPair, Verdict
from losslab.data.measures import DatasetMeasures, measure_dataset
from losslab.errors import InputError
from losslab.experiments.dvc_cache import DvcCache
from losslab.experiments.ensembles import find_prepared
from losslab.experiments.run_finder import RunFinder, RunRecord
from losslab.io.files import JsonObject
from losslab.study.plan import Study, StudyRun, plan_final_runs
from losslab.study.results import follow_searches, read_progress
from losslab.study.state import StudyState, find_study
from losslab.tracking.lookup import list_trained_runs
from losslab.tracking.runs import DURATION
from losslab.tracking.store import TrackingStore, store_errors, store_exists

METRICS = ("miou", "boundary_iou")
"""Metrics by which losses are judged, beside the IoU of the rarest class."""
CELL_METRICS = ("miou",)
"""Metrics by which losses are judged on each net too."""
RARE = 0.1
"""Share of the test pixels below which a class is rare."""
STRATA = {"recall_tiny": ("object_size", "tiny"), "recall_small": ("object_size", "small")}
STRATA |= {"border_error": ("border_distance", "1")}
"""Column → breakdown and stratum of strata.csv."""


@dataclass(frozen=True)
class CollectedStudy:
    """A study of the odyssey, as far as it has come."""

    kind: str
    study: Study
    root: Path
    final: frozenset[StudyRun]
    """Runs that count: those with the values that were chosen."""
    searched: frozenset[StudyRun]
    """Runs of searches that have ended."""
    failed: Mapping[StudyRun, JsonObject]
    missing: int
    evidence: Mapping[StudyRun, RunEvidence]
    records: Mapping[StudyRun, RunRecord]
    spec: ComparisonSpec

    @cached_property
    def classes(self) -> list[str]:
        return next(iter(self.evidence.values())).classes

    @cached_property
    def rare_class(self) -> str | None:
        """The rarest class that can be judged, if it is rare."""
        runs = list(self.evidence.values())
        pixels = dict(zip(self.classes, map(sum, zip(*runs[0].truth.values(), strict=True)), strict=True))
        known = runs[0].list_metrics()
        judged = [name for name in self.classes if check_judgeable(known[f"iou_{name}"], runs).has_images]
        rarest = min(judged, key=lambda name: pixels[name], default=None)
        return rarest if rarest is not None and pixels[rarest] < RARE * sum(pixels.values()) else None

    @cached_property
    def stage_seconds(self) -> dict[str, float]:
        """MLflow run → seconds of its train, evaluate and report stages; nothing where the store cannot be used."""
        try:
            with store_errors():
                known = list_trained_runs(TrackingStore(self.root)) if store_exists(self.root) else []
        except InputError:
            return {}
        tags = {run.info.run_id: run.data.tags for run in known}
        return {
            run: sum(float(text) for key, text in each.items() if key.startswith(f"{DURATION}."))
            for run, each in tags.items()
            if f"{DURATION}.train" in each
        }


def collect(kind: str, root: Path, folder: Path) -> list[str]:
    """Write KIND.runs.csv, KIND.verdicts.csv and the row of datasets.csv; return lines that say what was found.

    Raises:
        InputError: there is no such study, none of its runs has finished, or nothing can be judged yet.
    """
    collected = read_collected(kind, root)
    runs, verdicts = list(list_runs(collected)), list(list_verdicts(collected))
    if sum(int(row["seeds"]) >= MIN_SEEDS for row in verdicts if not row["net"]) < 2:
        raise InputError(
            f"odyssey_{kind}: nothing can be claimed yet, which takes two losses with {MIN_SEEDS} seeds on every "
            f"net: see `losslab study status odyssey_{kind}`"
        )
    about = describe_dataset(collected)
    write_table(folder / f"{kind}.runs.csv", runs)
    write_table(folder / f"{kind}.verdicts.csv", verdicts)
    replace_row(folder / DATASETS, about, "kind")
    left_out = sorted({row["loss"] for row in runs} - {row["loss"] for row in verdicts})
    lines = [f"{kind}: {about['runs']} runs, {about['failed']} failed, {about['missing']} missing"]
    return lines + [f"{kind}: {name} has no run that counts on some net, and is not judged" for name in left_out]


def read_collected(kind: str, root: Path) -> CollectedStudy:
    """Read the study odyssey_KIND of a project. Raises InputError: there is none, or no run has finished."""
    key = f"odyssey_{kind}"
    name, _, alias = StudyState(root, key).read_origin()
    if alias != key:
        remedy = f"run `losslab study run odyssey_small --set dataset=NAME --as {key}` there"
        raise InputError(f"{root}: no study was run as {key}; {remedy}")
    study = find_study(key, root)
    _, done, failed = read_progress(study, root)
    if not done:
        raise InputError(f"{key}: no run has finished yet: see `losslab study status {key}`")
    searches = follow_searches(study, done, failed)
    finder, evidence, records = RunFinder(root), {}, {}
    for run, outs in done.items():
        records[run] = finder.build_record(outs)
        with records[run].files() as folder:
            evidence[run] = read_evidence(
                folder, run.name, dict(run.cell.labels), run.params, outs.model_md5, records[run].train_seconds
            )
    if axes := [axis for axis in ("loss", "net") if axis not in study.card.axes]:
        raise InputError(f"studies/{name}.yaml: no axis {' and '.join(axes)}")
    return CollectedStudy(
        kind=kind,
        study=study,
        root=root,
        final=frozenset(plan_final_runs(study, searches)),
        searched=frozenset(run for each in searches if each.chosen for batch in each.batches for run in batch),
        failed=failed,
        missing=study.number_of_runs - len(done) - len(failed),
        evidence=evidence,
        records=records,
        spec=select_study(study, METRICS[0], root).spec,
    )


def list_runs(collected: CollectedStudy) -> Iterator[Row]:
    """Yield a row for each run, in the order of losses and nets in the study's file, trials included."""
    cells = {cell: place for place, cell in enumerate(collected.study.cells)}
    runs = sorted(
        [*collected.evidence, *collected.failed], key=lambda run: (cells[run.cell], run.seed, _format_tuned(run))
    )
    columns = [*RUN_COLUMNS]
    place = columns.index("recall_tiny")
    columns[place:place] = [f"iou_{name}" for name in collected.classes]
    strata = read_strata(list(collected.evidence.values()))
    for run in runs:
        row: dict[str, str] = {"run": run.name, **dict(run.cell.labels), "seed": str(run.seed)}
        row |= {"lr": _format_tuned(run), "chosen": _describe_choice(run, collected)}
        if run in collected.evidence:
            row |= describe_run(collected.evidence[run], collected.records[run]) | strata[run.name] | {"state": "done"}
        else:
            row |= {"state": "failed", "reason": str(collected.failed[run]["reason"])}
        yield {name: row.get(name, "") for name in columns}


def describe_run(run: RunEvidence, record: RunRecord) -> dict[str, str]:
    """Describe a finished run: where it comes from, its training and its scores on test."""
    scored = [float(row["val_miou"] or "nan") for row in run.history]
    best = max(range(len(scored)), key=lambda epoch: -math.inf if math.isnan(scored[epoch]) else scored[epoch])
    row = {
        "commit": (record.baseline or "")[:10],
        "model_md5": run.model_md5[:12],
        "epochs": str(len(run.history)),
        "best_epoch": run.history[best]["epoch"],
        "val_miou": format_number(scored[best]),
        "train_seconds": format_number(run.train_seconds, 1),
    }
    row |= describe_scores(run.metrics)
    return row | {f"iou_{name}": format_number(run.compute_score(f"iou_{name}")) for name in run.classes}


def describe_scores(scores: JsonObject) -> dict[str, str]:
    """Write the scores of a test set, from scores.json, as they stand in a row."""
    names = ("miou", "mdice", "boundary_iou", "hd95", "surface_dice_1", "ece", "mcc")
    return {name: format_number(scores.get(name), 2 if name == "hd95" else 4) for name in names}


def read_strata(runs: Sequence[RunEvidence]) -> dict[str, dict[str, str]]:
    """Read recall of tiny and small objects, and the share of wrong pixels at borders: run → column → number."""
    numbers: dict[str, dict[str, str]] = {run.name: {} for run in runs}
    breakdowns = {each.id: each for each in break_down_by_strata({run.name: [run] for run in runs})}
    for column, (by, stratum) in STRATA.items():
        if by in breakdowns and stratum in breakdowns[by].columns:
            place = breakdowns[by].columns.index(stratum)
            for name, values in breakdowns[by].rows:
                numbers[name][column] = format_number(values[place].mean)
    return numbers


def list_verdicts(collected: CollectedStudy) -> Iterator[Row]:
    """Yield the standing of each loss by each metric: as a mean over nets, and on each net.

    Losses that lack a run on some net are left out, so that all are averaged over the same nets.
    """
    final = [collected.evidence[run] for run in collected.evidence if run in collected.final]
    nets: dict[str, set[str]] = {}
    for run in final:
        nets.setdefault(run.labels["loss"], set()).add(run.labels["net"])
    every = set[str]().union(*nets.values())
    runs, _ = drop_duplicates([run for run in final if nets[run.labels["loss"]] == every])
    if len({run.labels["loss"] for run in runs}) < 2:
        return
    spec = collected.spec
    table = build_table(runs, spec.name, spec.axes)
    factor = spec.look_plan.compute_factor(len(table.cells), min(map(len, table.cells.values())))
    rare = [f"iou_{collected.rare_class}"] if collected.rare_class else []
    for key in (*METRICS, *rare):
        metric = find_metric(key, table.sets, "metric")
        verdicts = judge_table(table, metric, spec.look_plan, spec.points)
        if not verdicts:
            continue
        yield from _list_standings(verdicts["loss"], metric, "", {name: name for name in nets}, factor)
        for net in [label for label in spec.axes["net"] if label in every and key in CELL_METRICS]:
            labels = {name: table.get_labels(name) for name in table.cells}
            cells = {name: each["loss"] for name, each in labels.items() if each["net"] == net}
            yield from _list_standings(verdicts[""], metric, net, cells, factor)


def _list_standings(
    verdict: Verdict, metric: ComparedMetric, net: str, losses: Mapping[str, str], factor: float
) -> Iterator[Row]:
    """Yield the rows of the standings whose names `losses` has, name → loss; all pairs of the verdict share its level."""
    standings = [standing for standing in verdict.standings if standing.name in losses]
    pairs = [pair for pair in verdict.pairs if pair.better in losses and pair.worse in losses]
    worse: dict[str, list[str]] = {}
    for pair in pairs:
        if pair.is_real:
            worse.setdefault(pair.better, []).append(losses[pair.worse])
    claimable = {name for pair in pairs if pair.may_be_claimed for name in (pair.better, pair.worse)}
    gains = dict(_list_gains(pairs, losses, factor, metric.limits[1] - metric.limits[0]))
    for rank, standing in enumerate(standings, start=1):
        loss, interval = losses[standing.name], standing.interval or (math.nan, math.nan)
        numbers = [format_number(number) for number in (standing.mean, *interval, standing.sd)]
        row = [
            metric.key,
            net,
            loss,
            str(rank),
            *numbers,
            str(standing.seeds),
            "yes" if standing.name in claimable else "no",
        ]
        row += [*gains.get(standing.name, ("", "", "", "")), ";".join(worse.get(standing.name, []))]
        yield dict(zip(VERDICT_COLUMNS, row, strict=True))


def _list_gains(
    pairs: Sequence[JudgedPair], losses: Mapping[str, str], factor: float, largest: float
) -> Iterator[tuple[str, tuple[str, str, str, str]]]:
    """Yield what each loss gains over cross entropy, above zero where it is better, its interval, and whether that is real.

    To hold each loss against cross entropy alone is a question of its own, so these pairs share the level among
    themselves; `factor` is what few seeds and looks leave of it, and `largest` the largest difference that is possible.
    """
    own = [pair for pair in pairs if REFERENCE in (losses[pair.better], losses[pair.worse])]
    for pair in own:
        sign, loss = (1, pair.better) if losses[pair.worse] == REFERENCE else (-1, pair.worse)
        estimate = (
            pair.estimate.adjust(factor / len(own)).clip(-largest, largest) if pair.estimate is not None else None
        )
        ends = (math.nan, math.nan) if estimate is None else (sign * estimate.low, sign * estimate.high)
        is_real = pair.may_be_claimed and estimate is not None and estimate.low > 0
        low, high = map(format_number, sorted(ends))
        yield loss, (format_number(sign * pair.gap), low, high, "yes" if is_real else "no")


def describe_dataset(collected: CollectedStudy) -> Row:
    """Describe the data, how nets were trained on them, and what that cost."""
    runs, records = list(collected.evidence.values()), list(collected.records.values())
    params, study = runs[0].params, collected.study
    timed = [record for record in records if record.mlflow_run in collected.stage_seconds]
    seconds = sum(collected.stage_seconds[record.mlflow_run or ""] * (record.threads or 1) for record in timed)
    return {
        "kind": collected.kind,
        "dataset": str(params["dataset"]),
        "title": read_card(str(params["dataset"]), collected.root / "data/catalog").title,
        "classes": str(len(collected.classes)),
        "rare_class": collected.rare_class or "",
        "test_images": str(len(runs[0].images)),
        "test_groups": str(len(set(runs[0].groups))) if runs[0].groups else "",
        "size": str(params["prepare"]["size"]),
        "epochs": ";".join(sorted({str(run.params["train"]["epochs"]) for run in runs}, key=int)),
        "batch_size": str(params["train"]["batch_size"]),
        "seeds": str(len(study.seeds)),
        "losses": str(len(study.card.axes["loss"])),
        "nets": ";".join(study.card.axes["net"]),
        "runs": str(len(runs)),
        "failed": str(len(collected.failed)),
        "missing": str(collected.missing),
        "commit": _join(sorted({(record.baseline or "")[:10] for record in records})),
        "hardware": _join(sorted({record.hardware for record in records if record.hardware})),
        "precision": _join(sorted({run.model.get("precision", "") for run in runs})),
        "threads": _join(sorted({str(record.threads) for record in records if record.threads})),
        "cpu_hours": format_number(seconds / 3600, 2) if timed else "",
        "timed_runs": str(len(timed)),
        **{name: f"{value:.6g}" for name, value in asdict(measure_data(records[0], collected.root)).items()},
        "command": write_command(*StudyState(collected.root, study.key).read_origin()),
    }


def measure_data(record: RunRecord, root: Path) -> DatasetMeasures:
    """Measure the prepared data of a run of a project, from DVC's cache. Raises InputError if they are lost."""
    prepared = find_prepared(record)
    with TemporaryDirectory(prefix="losslab-odyssey-") as name:
        if prepared is None or not DvcCache(root).link(prepared, Path(name, "prepared")):
            raise InputError(f"{record.name}: its prepared data are not in DVC's cache: run dvc fetch")
        return measure_dataset(Path(name, "prepared"))


def _format_tuned(run: StudyRun) -> str:
    """Format the values that a run has from its search, mostly one learning rate."""
    return " ".join(str(value) for value in run.tuned.values.values()) if run.tuned is not None else ""


def _describe_choice(run: StudyRun, collected: CollectedStudy) -> str:
    """Say whether a run counts; `open`: a trial whose search has not ended."""
    if run in collected.final:
        return "yes"
    return "no" if run in collected.searched or run in collected.failed else "open"


def _join(names: Sequence[Any]) -> str:
    return "; ".join(filter(None, names))
