"""A study goes on until it is decided: who gets seeds, in which order, when it stops, and what it remembers."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from losslab.cli import app
from losslab.comparison.looking import StudyJudge
from losslab.comparison.looks import ONE_LOOK, LookPlan
from losslab.comparison.selection import select_runs, select_study
from losslab.errors import InputError
from losslab.experiments.finished_runs import RunOutputs, list_experiments
from losslab.study.engine import EndedRun
from losslab.study.look_record import DecisionPlan, LookRecord, PairState, SeenPair, add_known_seeds, read_record
from losslab.study.plan import Study, StudyRun
from losslab.study.scheduler import Budget, StudyOutcome, parse_budget, run_study
from losslab.study.state import StudyState
from losslab.study.until_decided import Findings, Judge, UntilDecided, make_plan
from tests.comparison.runs_on_disk import write_run
from tests.study.repository import STUDY, Repository
from tests.study.test_scheduler import TUNED, FakeEngine

LOSSES = ("cross_entropy", "dice", "focal")
CARD = STUDY | {"seeds": [0, 1, 2], "grid": {"loss": [*LOSSES]}}


class Drawing(FakeEngine):
    """Ends every run at once, with tables whose quality is that of its loss, give or take what its seed adds."""

    def __init__(
        self,
        repository: Repository,
        folder: Path,
        quality: Mapping[str, float],
        noise: Mapping[str, float] | None = None,
        images: int = 40,
        outcomes: Mapping[str, float | str] | None = None,
    ) -> None:
        super().__init__(repository, dict(outcomes or {}), slots=1)
        self.folder, self.quality, self.noise, self.images = folder, quality, noise or {}, images

    def collect_ended(self) -> list[EndedRun]:
        run = self.works.pop(0)
        if isinstance(outcome := self.outcomes.get(run.name, 0.5), str):
            return [EndedRun(run, 1.0, outcome)]
        loss, left = dict(run.cell.labels)["loss"], self.folder / run.name
        spread = self.noise.get(loss, 0.002) * np.random.default_rng([run.seed, LOSSES.index(loss)]).normal()
        write_run(left, self.quality[loss] + spread, run.seed, images=self.images)
        self.repository.experiment(run, outcome, left=left)
        return [EndedRun(run, 10.0)]


def go(
    study: Study,
    engine: FakeEngine,
    plan: DecisionPlan,
    judge: Judge | None = None,
    budget: Budget | None = None,
) -> tuple[StudyOutcome, list[str]]:
    lines: list[str] = []
    root = engine.repository.root
    decider = UntilDecided(study, root, plan, judge or StudyJudge(study, plan, root), lines.extend)
    state = StudyState(root, study.key)
    return run_study(study, root, state, engine, 1, planner=decider, budget=budget), lines


def make(seeds: int = 6, points: float = 1.0) -> DecisionPlan:
    return DecisionPlan(metric="miou", points=points, seeds=[0, 1, 2], last=seeds)


def wanting(*rounds: tuple[str, ...]) -> Judge:
    """Judge that wants a seed for these losses at each look, and for none after them."""
    calls: Iterator[tuple[str, ...]] = iter(rounds)

    def judge(finished: Mapping[StudyRun, RunOutputs]) -> Findings:
        cells = {str(dict(run.cell.labels)["loss"]): run.cell for run in finished}
        seeds = {loss: sum(dict(run.cell.labels)["loss"] == loss for run in finished) for loss in cells}
        wanted = [cells[loss] for loss in next(calls, ())]
        state: PairState = "open" if wanted else "real"
        numbers: dict[str, Any] = {"gap": 0.1, "low": 0.0, "high": 0.2, "p": 0.5}
        return Findings(seeds, [SeenPair(question="", better="a", worse="b", state=state, **numbers)], wanted)

    return judge


@pytest.fixture
def small(repository: Repository) -> Study:
    repository.study("small", CARD)
    return repository.read()


def get_record(study: Study, repository: Repository) -> LookRecord:
    record = read_record(study, repository.root)
    assert record is not None
    return record


def test_only_cells_of_open_pairs_get_seeds(small: Study, repository: Repository, tmp_path: Path) -> None:
    noise = {"dice": 0.005, "focal": 0.005}
    engine = Drawing(repository, tmp_path, {"cross_entropy": 0.4, "dice": 0.8, "focal": 0.805}, noise)
    outcome, lines = go(small, engine, make(5))
    assert sorted(engine.started[9:]) == [f"small-{loss}-s{seed}" for loss in ("dice", "focal") for seed in (3, 4)]
    assert outcome == StudyOutcome(13, 0, 13)
    assert lines[0].startswith("look 1 (3 seeds): 2 of 3 pairs differ, 0 equivalent, 1 open: ")
    assert lines[0].endswith("; adding seed 3 to 2 cells") and lines[-1].startswith("look 3 (3 to 5 seeds): ")
    assert lines[-1].endswith("; no more seeds, as --max-seeds is reached")


def test_equivalent_pairs_get_no_more_seeds(small: Study, repository: Repository, tmp_path: Path) -> None:
    engine = Drawing(repository, tmp_path, {"cross_entropy": 0.8, "dice": 0.801, "focal": 0.799})
    outcome, lines = go(small, engine, make(points=5.0))
    assert outcome.total == 9 and lines == ["look 1 (3 seeds): 0 of 3 pairs differ, 3 equivalent, 0 open"]


def test_hopeless_pairs_get_no_more_seeds(small: Study, repository: Repository, tmp_path: Path) -> None:
    noise = {"dice": 0.02, "focal": 0.02}
    engine = Drawing(repository, tmp_path, {"cross_entropy": 0.4, "dice": 0.8, "focal": 0.815}, noise)
    outcome, lines = go(small, engine, make(5))
    assert outcome.total == 9 and lines[1].startswith("more seeds would hardly decide focal against dice: ")


def test_too_few_test_images_stop_it(small: Study, repository: Repository, tmp_path: Path) -> None:
    engine = Drawing(repository, tmp_path, {"cross_entropy": 0.4, "dice": 0.6, "focal": 0.8}, images=4)
    outcome, lines = go(small, engine, make())
    assert outcome.total == 9 and lines[1].startswith("more seeds would hardly decide ")


def test_most_promising_cells_begin_first_also_after_a_kill(small: Study, repository: Repository) -> None:
    engine = FakeEngine(repository, {}, slots=1)
    judge = wanting(("focal", "cross_entropy"), ("dice",))
    go(small, engine, make(), judge, parse_budget("10"))
    assert engine.started[9:] == ["small-focal-s3"]
    again = FakeEngine(repository, {}, slots=1)
    assert go(small, again, make(), judge)[0] == StudyOutcome(12, 0, 12)
    assert again.started == ["small-cross_entropy-s3", "small-dice-s3"]


def test_spent_budget_begins_no_run_and_another_goes_on(small: Study, repository: Repository) -> None:
    engine = FakeEngine(repository, {}, slots=1)
    judge = wanting(("dice",), ("dice",))
    assert go(small, engine, make(), judge, parse_budget("9"))[0] == StudyOutcome(9, 0, 10, is_out_of_budget=True)
    assert len(get_record(small, repository).looks) == 1
    began = Budget(seconds=0.0)
    assert go(small, engine, make(), judge, began)[0].is_out_of_budget and len(engine.started) == 9
    outcome, lines = go(small, engine, make(), judge, parse_budget("1h"))
    assert outcome == StudyOutcome(11, 0, 11) and len(lines) == 2


class Killed(Drawing):
    """Is interrupted when it begins its eleventh run."""

    def start(self, run: StudyRun) -> None:
        if len(self.started) == 10:
            raise KeyboardInterrupt
        super().start(run)


def test_killed_study_ends_as_an_undisturbed_one(
    small: Study, repository: Repository, tmp_path_factory: pytest.TempPathFactory
) -> None:
    quality, noise = {"cross_entropy": 0.4, "dice": 0.8, "focal": 0.805}, {"dice": 0.005, "focal": 0.005}
    whole = Repository(tmp_path_factory.mktemp("whole"))
    whole.study("small", CARD)
    undisturbed = Drawing(whole, tmp_path_factory.mktemp("outs"), quality, noise)
    go(whole.read(), undisturbed, make(5))
    outs = tmp_path_factory.mktemp("outs")
    killed = Killed(repository, outs, quality, noise)
    with pytest.raises(KeyboardInterrupt):
        go(small, killed, make(5))
    again = Drawing(repository, outs, quality, noise)
    go(small, again, make(5))
    assert killed.started + again.started == undisturbed.started
    records = [get_record(each.read(), each).model_dump() for each in (whole, repository)]
    for record in records:
        for look in record["looks"]:
            look.pop("date")
    assert records[0] == records[1] and len(records[0]["looks"]) == 3


def test_look_that_sees_nothing_new_is_not_counted_twice(small: Study, repository: Repository) -> None:
    for _ in range(2):
        go(small, FakeEngine(repository, {}, slots=1), make(), wanting())
    assert [look.number for look in get_record(small, repository).looks] == [1]


def test_look_goes_on_without_a_failed_run_and_says_so(small: Study, repository: Repository, tmp_path: Path) -> None:
    noise = {"dice": 0.005, "focal": 0.005}
    engine = Drawing(repository, tmp_path, {"cross_entropy": 0.4, "dice": 0.8, "focal": 0.805}, noise)
    engine.outcomes = {"small-dice-s3": "train: it diverged"}
    _, lines = go(small, engine, make(5))
    assert "without small-dice-s3, which failed" in lines
    assert get_record(small, repository).looks[1].seeds == {"cross_entropy": 3, "dice": 3, "focal": 4}


def test_cell_with_too_few_finished_runs_waits(small: Study, repository: Repository, tmp_path: Path) -> None:
    engine = Drawing(repository, tmp_path, {"cross_entropy": 0.4, "dice": 0.8, "focal": 0.6})
    engine.outcomes = {"small-dice-s1": "train: it diverged"}
    outcome, lines = go(small, engine, make())
    assert outcome == StudyOutcome(8, 1, 9)
    assert any(line.startswith("too few finished runs for ") for line in lines)


def test_added_seeds_use_the_tuned_values(repository: Repository) -> None:
    repository.study("small", TUNED | {"seeds": [0, 1, 2]})
    study = repository.read()
    engine = FakeEngine(repository, {"small-dice-0.01-s0": 0.7, "small-cross_entropy-0.001-s0": 0.8}, slots=1)
    outcome, _ = go(study, engine, make(), wanting(("dice", "cross_entropy")))
    assert engine.started[-2:] == ["small-dice-0.01-s3", "small-cross_entropy-0.001-s3"]
    assert outcome == StudyOutcome(10, 0, 10)


def test_seeds_of_a_cell_whose_params_changed_are_forgotten(small: Study, repository: Repository) -> None:
    go(small, FakeEngine(repository, {}, slots=1), make(), wanting(("dice", "focal")))
    options = {"dice": {"loss": "dice", "loss_options": {"smooth": 2.0}}, "focal": {"loss": "focal"}}
    repository.study("small", CARD | {"grid": {"loss": options}})
    study, record = add_known_seeds(repository.read(), repository.root)
    assert record is not None and [len(study.list_seeds(cell)) for cell in study.cells] == [3, 4]
    repository.study("small", CARD | {"params": {"train": {"epochs": 4}}})
    assert add_known_seeds(repository.read(), repository.root)[1] is None


@pytest.mark.parametrize("card", [CARD, TUNED | {"seeds": [0, 1, 2]}])
def test_seeds_are_known_without_the_record_by_finished_experiments(
    card: dict[str, Any], repository: Repository
) -> None:
    repository.study("small", card)
    study = repository.read()
    go(study, FakeEngine(repository, {}, slots=1), make(), wanting(("dice",), ("dice",)))
    (repository.root / ".losslab/study/small/looks.json").unlink()
    known, record = add_known_seeds(study, repository.root)
    assert record is None and [len(known.list_seeds(cell)) for cell in known.cells][:2] == [3, 5]
    with pytest.raises(InputError, match="--max-seeds 4: there are experiments of small with 5 seeds"):
        make_plan(study, repository.root, 4, None, None)
    repository.study("small", card | {"params": {"train": {"epochs": 4}}})
    assert add_known_seeds(repository.read(), repository.root)[0].extra_seeds == {}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ((8, None, None), "--max-seeds 8: small has been looked at with 6"),
        ((None, 2.0, None), "--points 2: small has been looked at with 1"),
        ((None, None, "mdice"), "--metric mdice: small has been looked at with miou"),
    ],
)
def test_plan_stays_once_it_was_looked_at(
    options: tuple[int | None, float | None, str | None], complaint: str, small: Study, repository: Repository
) -> None:
    go(small, FakeEngine(repository, {}, slots=1), make(), wanting())
    assert make_plan(small, repository.root, None, None, None) == make()
    with pytest.raises(InputError, match=f"{complaint}.*begin anew with --as NAME"):
        make_plan(small, repository.root, *options)
    repository.study("small", CARD | {"seeds": [1, 2, 3]})
    with pytest.raises(
        InputError, match=r"seeds of studies/small\.yaml \[1, 2, 3\]: small has been looked at with \[0, 1, 2\]"
    ):
        make_plan(repository.read(), repository.root, None, None, None)


@pytest.fixture
def inside(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.chdir(repository.root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///nowhere/at/all")
    return repository


def call(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


@pytest.mark.parametrize(
    ("card", "arguments", "complaint"),
    [
        (CARD, ["--max-seeds", "5"], "--max-seeds needs --until-decided"),
        (CARD, ["--points", "2"], "--points needs --until-decided"),
        (CARD, ["--until-decided", "--points", "0"], "--points 0: must be above 0"),
        (CARD, ["--until-decided", "--max-seeds", "2"], "--max-seeds 2: studies/small.yaml has 3 seeds already"),
        (CARD, ["--until-decided", "--budget", "soon"], "--budget soon: must be a duration such as 90m, 3h or 2d"),
        (CARD, ["--until-decided", "--budget", "0h"], "--budget 0h: must be a duration"),
        (CARD, ["--until-decided", "--metric", "ece"], "--metric ece: cannot be judged, as single test images do not"),
        (CARD, ["--until-decided", "--metric", "mdicce"], "--metric mdicce: must be one of miou, mdice, "),
        (CARD, ["--until-decided", "--metric", "mdicce"], "; did you mean mdice?"),
        (STUDY, ["--until-decided"], "studies/small.yaml has 2 seeds; --until-decided begins with at least 3"),
        (CARD | {"grid": {"loss": ["dice"]}}, ["--until-decided"], "there is only one cell, so nothing to decide"),
    ],
)
def test_wrong_options_end_with_one_line(
    card: dict[str, Any], arguments: list[str], complaint: str, inside: Repository
) -> None:
    inside.study("small", card)
    output = call("study", "run", "small", *arguments, code=1)
    assert output.startswith("ERROR: ") and complaint in output and len(output.splitlines()) == 1
    assert not (inside.root / ".losslab").exists()


def test_spent_budget_is_told_with_the_command_that_goes_on(
    inside: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside.study("small", CARD)
    monkeypatch.setattr("losslab.cli.study.choose_engine", lambda *given: FakeEngine(inside, {}, slots=1))
    *_, done, judged, spent = call("study", "run", "small", "--until-decided", "--budget", "4").splitlines()
    assert done == "small: 4 of 9 done"
    assert judged == "not judged yet: small is looked at when all of its first 9 runs have ended"
    command = "losslab study run small --until-decided"
    assert spent == f"the budget of 4 is spent: run `{command}` to go on, with a --budget or to the end"


def test_status_and_comparison_know_the_added_seeds_and_the_looks(
    inside: Repository, tmp_path_factory: pytest.TempPathFactory
) -> None:
    inside.study("small", CARD)
    noise = {"dice": 0.005, "focal": 0.005}
    quality = {"cross_entropy": 0.4, "dice": 0.8, "focal": 0.805}
    go(inside.read(), Drawing(inside, tmp_path_factory.mktemp("outs"), quality, noise), make(5))
    output = call("study", "status", "small")
    assert "small-focal-s4" in output and "small: 13 done\n3 looks: 2 of 3 pairs differ" in output
    assert [row["done"] for row in json.loads(call("study", "list", "--json"))] == [13]
    assert "missing" not in call("compare", "small", "--no-timing")
    folder = inside.root / "reports/comparisons/small"
    content = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    assert [look["runs"] for look in content["looks"]] == [9, 11, 13] and content["points"] == 1.0
    shares = sorted(3 * pair["share"] for pair in content["verdict"]["pairs"])
    assert shares == pytest.approx([LookPlan(3, 5).compute_factor(3, seeds) for seeds in (3, 3, 5)])
    page, post = ((folder / name).read_text(encoding="utf-8") for name in ("index.html", "comparison.md"))
    assert 'id="looks"' in page and "dice beats cross_entropy" in page
    assert "### Looks" in post and "| 3 | " in post

    names = [name for name, _, _ in list_experiments(inside.root)]
    spec = select_runs(names, "miou", inside.root).spec
    assert spec.look_plan == LookPlan(3, 5) and spec.points == 1.0
    assert spec.warnings[0].startswith("13 of 13 runs are of small, which is looked at after each seed from 3 to 5: ")
    output = call("compare", "--runs", *names, "--no-timing")
    assert "13 of 13 runs are of small" in output
    written = next((inside.root / "reports/comparisons").glob("runs.*/comparison.json"))
    judged = json.loads(written.read_text(encoding="utf-8"))["verdict"]["pairs"]
    assert sorted(3 * pair["share"] for pair in judged) == pytest.approx(shares)

    (inside.root / ".losslab/study/small/looks.json").unlink()
    assert select_runs(names, "miou", inside.root).spec.look_plan == LookPlan(3, 5)
    inside.study("small", "broken: [")
    spec = select_runs(names, "miou", inside.root).spec
    assert (
        spec.look_plan == ONE_LOOK and "small, if there are any, are judged as if looked at once: " in spec.warnings[0]
    )
    inside.study("small", CARD)
    spec = select_study(inside.read(), "miou", inside.root).spec
    assert spec.look_plan == LookPlan(3, 5) and spec.looks == () and spec.points == 1.0
    assert "as if looked at after each seed from 3 to 5" in spec.warnings[0]
