"""Each cell gets the same number of trials, in an order that depends on nothing but their results."""

import re
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from losslab.cli import app
from losslab.errors import InputError
from losslab.study.plan import Study, plan_final_runs, plan_runs
from losslab.study.results import follow_searches, read_progress
from losslab.study.scheduler import StudyOutcome
from losslab.study.spec import SearchSpec
from losslab.study.tuning import RANDOM_TRIALS, describe_domains, propose_setting
from tests.study.repository import STUDY, Repository
from tests.study.test_scheduler import FakeEngine, go

RANGES: dict[str, Any] = {"train.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "train.weight_decay": [0.0, 0.01]}
GRID = {"loss": ["cross_entropy", "dice"]}


def write(repository: Repository, seeds: int = 2, **tune: Any) -> Study:
    tune = {"budget": 4, "params": RANGES} | tune
    repository.study("small", {**STUDY, "grid": GRID, "seeds": [*range(seeds)], "tune": tune})
    return repository.read()


class QuadraticEngine(FakeEngine):
    """The nearer the learning rate is to 0.002, the higher is val mIoU; dice diverges above 0.005."""

    kill_after: int | None = None

    def start(self, run: Any) -> None:
        if self.kill_after is not None and len(self.started) >= self.kill_after:
            raise KeyboardInterrupt
        lr = run.params["train"]["lr"]
        self.outcomes[run.name] = round(0.8 - abs(lr - 0.002) * 10, 6)
        if run.params["loss"] == "dice" and lr > 0.005:
            self.outcomes[run.name] = "train: it diverged"
        super().start(run)


def read_chosen(study: Study, repository: Repository) -> dict[str, str]:
    _, done, failed = read_progress(study, repository.root)
    searches = follow_searches(study, done, failed)
    return {run.name: str(run.tuned) for run in plan_final_runs(study, searches)}


def test_each_cell_gets_its_budget_first_one_setting_that_all_share(repository: Repository) -> None:
    study = write(repository)
    assert [run.name for run in plan_runs(study)] == ["small-cross_entropy-t00-s0", "small-dice-t00-s0"]
    assert study.shared_trial is not None and study.shared_trial.setting == "train.lr 0.001, train.weight_decay 0"
    engine = QuadraticEngine(repository, {})
    outcome, progress = go(repository, study, engine)
    assert outcome.done + outcome.failed == outcome.total == study.number_of_runs == 2 * (4 + 1)
    trials = [name for name in engine.started if name.endswith("-s0")]
    assert sorted(trials) == sorted(f"small-{loss}-t{k:02d}-s0" for loss in GRID["loss"] for k in range(4))
    assert progress[-1].finished == 10
    planned, done, _ = read_progress(study, repository.root)
    rates = {run.params["train"]["lr"] for run in planned}
    assert len(rates) > 4 and all(1e-4 <= rate <= 1e-2 and float(f"{rate:.3g}") == rate for rate in rates)
    best = max((run for run in done if run.cell == study.cells[0]), key=lambda run: engine.outcomes[run.name])
    assert next(name for name in engine.started if name.endswith("-s1")) == best.name.replace("-s0", "-s1")


@pytest.mark.parametrize("slots", [1, 2])
def test_search_that_is_killed_goes_on_as_if_it_had_not_been(slots: int, repository: Repository) -> None:
    study = write(repository, budget=RANDOM_TRIALS + 2)
    for _ in range(30):
        engine = QuadraticEngine(repository, {}, slots)
        engine.kill_after = 3
        try:
            go(repository, study, engine)
        except KeyboardInterrupt:
            continue
        break
    killed = read_chosen(study, repository)
    assert len(killed) == 4
    for name in repository.git("for-each-ref", "--format=%(refname)", "refs/exps").split():
        repository.git("update-ref", "-d", name)
    go(repository, study, QuadraticEngine(repository, {}, 3 - slots))
    assert read_chosen(study, repository) == killed


def test_search_whose_budget_is_raised_goes_on(repository: Repository) -> None:
    go(repository, write(repository), QuadraticEngine(repository, {}))
    engine = QuadraticEngine(repository, {})
    go(repository, write(repository, budget=6), engine)
    trials = [name for name in engine.started if name.startswith("small-cross_entropy-t") and name.endswith("-s0")]
    assert trials == ["small-cross_entropy-t04-s0", "small-cross_entropy-t05-s0"]


def test_finished_search_stays_so_with_another_version_of_optuna(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(repository, write(repository), QuadraticEngine(repository, {}))
    chosen = read_chosen(repository.read(), repository)
    monkeypatch.setattr("losslab.study.tuning._PROPOSED", {})
    monkeypatch.setattr(
        "losslab.study.tuning._ask_optuna", lambda *asked: {"train.lr": 0.003, "train.weight_decay": 0.0}
    )
    assert read_chosen(repository.read(), repository) == chosen
    engine = QuadraticEngine(repository, {})
    go(repository, write(repository, budget=5), engine)
    trials = [name for name in engine.started if name.startswith("small-cross_entropy-t") and name.endswith("-s0")]
    assert trials == ["small-cross_entropy-t04-s0"]


def test_run_that_fails_is_the_worst_trial_and_ends_no_search(repository: Repository) -> None:
    study = write(repository, params={"train.lr": {"low": 0.004, "high": 0.1, "log": True}})
    engine = QuadraticEngine(repository, {})
    outcome, _ = go(repository, study, engine)
    assert len([name for name in engine.started if name.startswith("small-dice-t")]) >= 4
    assert outcome.failed > 0
    assert all(not isinstance(engine.outcomes[name], str) for name in read_chosen(study, repository))


def test_pruned_trials_are_short_and_only_the_best_run_in_full(repository: Repository) -> None:
    study = write(repository, prune={"epochs": 1, "keep": 2})
    engine = QuadraticEngine(repository, {})
    outcome, _ = go(repository, study, engine)
    assert outcome == StudyOutcome(outcome.total - outcome.failed, outcome.failed, study.number_of_runs)
    planned, _, _ = read_progress(study, repository.root)
    ce = [run for run in planned if run.cell == study.cells[0]]
    short = [run for run in ce if run.params["train"]["epochs"] == 1]
    assert [run.name for run in short] == [f"small-cross_entropy-t{k:02d}e1-s0" for k in range(4)]
    full = [run for run in ce if run.params["train"]["epochs"] == 3 and run.seed == 0]
    best = sorted(short, key=lambda run: -float(engine.outcomes[run.name]))[:2]
    assert {run.name for run in full} == {run.name.replace("e1-", "-") for run in best} and len(ce) == 4 + 2 + 1


def test_seeds_are_shared_out_over_repeated_searches(repository: Repository) -> None:
    study = write(repository, seeds=3, repeats=2)
    engine = QuadraticEngine(repository, {})
    outcome, _ = go(repository, study, engine)
    assert outcome.total == study.number_of_runs == outcome.done + outcome.failed == 2 * (2 * (4 - 1) + 3)
    chosen = [name for name in read_chosen(study, repository) if "cross_entropy" in name]
    assert re.fullmatch(r"small-cross_entropy-(r0t\d\d)-s0 \S+-(r1t\d\d)-s1 \S+-\1-s2", " ".join(chosen))
    planned, done, failed = read_progress(study, repository.root)
    more = replace(study, extra_seeds={study.cells[0]: 2})
    added = [run.name for run in plan_final_runs(more, follow_searches(more, done, failed)) if run.seed > 2]
    assert more.number_of_runs == study.number_of_runs + 2
    assert re.fullmatch(r"\S+-r1t\d\d-s3 \S+-r0t\d\d-s4", " ".join(added))
    rates = [{run.params["train"]["lr"] for run in planned if run.seed == seed} for seed in (0, 1)]
    assert rates[0] & rates[1] == {0.001}


def test_setting_is_proposed_by_the_results_alone_and_whole_numbers_stay_whole() -> None:
    params = {
        "loss_options.gamma": {"low": 1, "high": 4},
        "loss": ["dice", "focal"],
        "train.lr": {"low": 1, "high": 2.5},
    }
    search = SearchSpec.model_validate({"budget": 12, "params": params})
    earlier: list[tuple[dict[str, Any], float]] = []
    for _ in range(12):
        setting = propose_setting(search, "small/loss dice/0", earlier)
        assert setting == propose_setting(search, "small/loss dice/0", list(earlier))
        assert setting not in [tried for tried, _ in earlier]
        assert isinstance(setting["loss_options.gamma"], int) and isinstance(setting["train.lr"], float)
        earlier.append((setting, -float("inf") if setting["loss"] == "focal" else 0.5))
    other = [propose_setting(search, f"small/loss dice/{repeat}", []) for repeat in range(3)]
    assert len({str(setting) for setting in other}) == 3


def test_committed_value_outside_the_range_gives_way_to_the_middle(repository: Repository) -> None:
    params = {
        "train.lr": {"low": 0.01, "high": 1.0, "log": True},
        "train.batch_size": {"low": 4, "high": 8},
        "train.weight_decay": [0.1, 0.2],
    }
    shared = write(repository, params=params).shared_trial
    assert shared is not None and shared.setting == "train.lr 0.1, train.batch_size 6, train.weight_decay 0.1"
    study = repository.read()
    assert describe_domains(study.card, study.params) == [
        ("train.lr", "0.01 to 1, log", "0.1 (the middle of the range)"),
        ("train.batch_size", "4 to 8", "6 (the middle of the range)"),
        ("train.weight_decay", "0.1, 0.2", "0.1 (the first)"),
    ]


BAD: list[tuple[dict[str, Any], tuple[str, ...], str]] = [
    (
        {"params": {"loss_options.gamma": {"low": 1, "high": 4}}},
        (),
        "loss cross_entropy: loss_options.gamma: cross_entropy has",
    ),
    (
        {"params": {"train.batch_size": {"low": 4.0, "high": 8.0}}},
        (),
        "loss cross_entropy: train.batch_size is 6.0; it must",
    ),
    ({"params": {"train.lr": {"low": -1.0, "high": 1.0}}}, (), "loss cross_entropy: train.lr is -1.0; it must"),
    ({"params": {"prepare.size": {"low": 32, "high": 64}}}, (), "which cannot be compared; add evaluate.resolution"),
    ({}, ("train.lr=0.1",), "train.lr is set by both tune and --set; set it in one of them"),
    (
        {"prune": {"epochs": 3, "keep": 1}},
        (),
        "loss cross_entropy: tune.prune.epochs is 3; it must be below train.epochs, 3",
    ),
    (
        {"prune": {"epochs": 2, "keep": 1}},
        ("train.epochs=2",),
        "tune.prune.epochs is 2; it must be below train.epochs, 2",
    ),
]


@pytest.mark.parametrize(("tune", "sets", "complaint"), BAD, ids=[complaint[:40] for *_, complaint in BAD])
def test_search_that_cannot_be_run_is_refused_in_one_line(
    tune: dict[str, Any], sets: tuple[str, ...], complaint: str, repository: Repository
) -> None:
    write(repository)
    repository.study("small", {**STUDY, "grid": GRID, "tune": {"budget": 4, "params": RANGES} | tune})
    with pytest.raises(InputError) as error:
        repository.read("small", *sets)
    assert str(error.value).startswith("studies/small.yaml: ") or str(error.value).find("/studies/small.yaml: ") > 0
    assert complaint in str(error.value) and "\n" not in str(error.value)


def test_show_and_status_tell_the_search(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    write(repository, repeats=2, prune={"epochs": 1, "keep": 2})
    monkeypatch.chdir(repository.root)
    shown = CliRunner().invoke(app, ["study", "show", "small"]).output
    assert "2 cells, seeds 0, 1, train.lr, train.weight_decay tuned on val: 24 runs" in shown
    assert "2 searches of each cell, of 4 trials of 1 epoch, the best 2 then in full" in shown
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "train.lr 0.0001 to 0.01, log 0.001 (the params)" in lines
    assert "train.weight_decay 0, 0.01 0 (the params)" in lines
    repository.experiment(plan_runs(repository.read())[0], 0.5)
    status = CliRunner().invoke(app, ["study", "status", "small"]).output
    rows = [line.split() for line in status.splitlines()]
    assert rows[0][:4] == ["run", "train.lr", "train.weight_decay", "state"]
    assert rows[1][:4] == ["small-cross_entropy-r0t00e1-s0", "0.001", "0", "done"]
    assert [row[0] for row in rows if row[0].endswith("t01e1-s0")] == ["small-cross_entropy-r0t01e1-s0"]
    assert "small: 1 done, 4 missing, 19 more after tuning" in status
