"""A card becomes runs with names and params, all checked before anything is run."""

import re
import subprocess
from typing import Any

import pytest

from losslab.errors import InputError
from losslab.study.plan import (
    plan_final_runs,
    plan_runs,
    read_study,
)
from losslab.study.spec import list_studies
from tests.conftest import ROOT
from tests.study.repository import STUDY, Repository


def test_runs_are_cells_times_seeds_first_seed_first(repository: Repository) -> None:
    names = [run.name for run in plan_runs(repository.read())]
    cells_of_a_seed = ["cross_entropy-unet", "cross_entropy-segnet", "dice-unet", "dice-segnet"]
    assert names == [f"small-{cell}-s{seed}" for seed in (0, 1) for cell in cells_of_a_seed]


def test_params_of_a_run_are_the_committed_ones_with_the_cards_and_the_cells(repository: Repository) -> None:
    (run,) = (run for run in plan_runs(repository.read()) if run.name == "small-dice-segnet-s1")
    assert (run.params["loss"], run.params["arch"], run.params["encoder"]) == ("dice", "segnet", None)
    assert (run.params["seed"], run.params["train"]["epochs"], run.params["train"]["batch_size"]) == (1, 3, 3)


def test_workspace_params_do_not_leak_into_cells(repository: Repository) -> None:
    before = [run.params for run in plan_runs(repository.read())]
    path = repository.root / "params.yaml"
    path.write_text(path.read_text().replace("lr: 0.001", "lr: 0.5"))
    assert [run.params for run in plan_runs(repository.read())] == before
    repository.commit()
    assert plan_runs(repository.read())[0].params["train"]["lr"] == 0.5


def test_skipped_cells_are_not_run(repository: Repository) -> None:
    repository.study("small", {**STUDY, "skip": [{"loss": "dice", "net": "segnet"}]})
    assert "loss dice, net segnet" not in [str(cell) for cell in repository.read().cells]
    assert repository.read().number_of_runs == 6


def test_free_options_replace_and_dotted_ones_are_set(repository: Repository) -> None:
    grid = {
        "loss": {
            "sharp": {"loss": "focal", "loss_options": {"gamma": 3.0}},
            "own": {"loss": "focal+dice", "loss_options.focal.gamma": 4.0},
            "plain": {"loss": "dice"},
        }
    }
    repository.study("small", {**STUDY, "grid": grid})
    options = {str(run.cell): run.params["loss_options"] for run in plan_runs(repository.read())}
    assert options == {"loss sharp": {"gamma": 3.0}, "loss own": {"focal": {"gamma": 4.0}}, "loss plain": {}}


def test_tuning_tries_all_values_on_the_first_seed_and_the_chosen_one_on_the_rest(repository: Repository) -> None:
    repository.study("small", {**STUDY, "tune": {"train.lr": [0.001, 1e-05]}, "grid": {"loss": ["dice", "focal"]}})
    study = repository.read()
    first = ["small-dice-0.001-s0", "small-dice-1e_05-s0", "small-focal-0.001-s0", "small-focal-1e_05-s0"]
    assert [run.name for run in plan_runs(study)] == first
    assert (study.number_of_runs, plan_final_runs(study, study.follow_searches(lambda _: None))) == (6, [])
    scores = {"small-dice-0.001-s0": 0.5, "small-dice-1e_05-s0": 0.6, "small-focal-0.001-s0": 0.7}
    searches = study.follow_searches(lambda run: scores.get(run.name))
    chosen = plan_runs(study, searches)
    assert [run.name for run in chosen] == [*first, "small-dice-1e_05-s1"]
    assert chosen[-1].params["train"]["lr"] == 1e-05
    assert [run.name for run in plan_final_runs(study, searches)] == [
        "small-dice-1e_05-s0",
        "small-dice-1e_05-s1",
    ]


def test_cut_down_runs_have_other_names_and_an_alias_names_them(repository: Repository) -> None:
    full, cut = repository.read(), repository.read("small", "train.epochs=1", "evaluate.tta=flip")
    again, other = (
        repository.read("small", "evaluate.tta=flip", "train.epochs=1"),
        repository.read("small", "train.epochs=2"),
    )
    names = [{run.name for run in plan_runs(study)} for study in (full, cut, other)]
    assert not names[0] & names[1] and not names[1] & names[2]
    assert all(re.fullmatch(r"small-\w+-\w+-s\d-[0-9a-f]{6}", name) for name in names[1])
    assert [run.name for run in plan_runs(again)] == [run.name for run in plan_runs(cut)]
    assert plan_runs(cut)[0].params["train"]["epochs"] == 1 and plan_runs(cut)[0].params["evaluate"]["tta"] == "flip"
    quick = repository.read("small", "train.epochs=1", alias="quick")
    assert plan_runs(quick)[0].name == "quick-cross_entropy-unet-s0"
    assert len({study.key for study in (full, cut, other, quick)}) == 4 and again.key == cut.key


def test_cells_scored_at_different_sizes_are_refused_before_they_train(repository: Repository) -> None:
    fits = {fit: {"prepare.fit": fit} for fit in ("stretch", "letterbox", "tile")}
    repository.study("fits", {**STUDY, "grid": {"fit": fits}})
    wrong = (
        "studies/fits.yaml: fit stretch is scored at prepare.fit stretch, size [0-9]+, fit letterbox at prepare.fit "
        "letterbox, size [0-9]+, which cannot be compared; add evaluate.resolution: original"
    )
    with pytest.raises(InputError, match=wrong):
        repository.read("fits")
    assert len(repository.read("fits", "evaluate.resolution=original").cells) == 3
    repository.study("sizes", {**STUDY, "grid": {"size": {f"{side} px": {"prepare.size": side} for side in (64, 96)}}})
    assert len(repository.read("sizes", "prepare.fit=tile").cells) == 2


def test_set_wins_over_the_grid_as_long_as_cells_differ(repository: Repository) -> None:
    grid = {"net": {"unet": {"arch": "unet", "encoder_weights": "imagenet"}, "fpn": {"arch": "fpn"}}}
    repository.study("small", {**STUDY, "grid": grid})
    assert {run.params["encoder_weights"] for run in plan_runs(repository.read("small", "encoder_weights=null"))} == {
        None
    }


SETS = [
    ("train.epochs", "--set train.epochs: must be key=value"),
    ("train.epoch=3", "--set: no such key: train.epoch; train has epochs"),
    ("seed=3", "--set seed=3: seeds are set in the study's file"),
    ("train.lr=[", "--set train.lr=[: '[' is not YAML"),
    ("train.lr=-1", "studies/small.yaml: loss cross_entropy, net unet: train.lr is -1; it must"),
    ("loss=focal", "with --set loss=focal loss cross_entropy, net unet and loss dice, net unet are the same run"),
    ("dataset=mars", "dataset: 'mars' is not one of"),
]


@pytest.mark.parametrize(("text", "complaint"), SETS)
def test_bad_set_is_an_error_of_one_line(text: str, complaint: str, repository: Repository) -> None:
    with pytest.raises(InputError) as error:
        repository.read("small", text)
    assert complaint in str(error.value) and "\n" not in str(error.value)


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"grid": {"loss": ["dice", "dicee"]}}, "studies/small.yaml: loss dicee: "),
    (
        {"grid": {"net": {"segnet": {"arch": "segnet"}}}},
        "net segnet: encoder is 'tu-mobilenetv3_small_050', but arch segnet",
    ),
    (
        {"params": {"loss_options": {"gamma": 1.0}}},
        "loss cross_entropy, net unet: loss_options.gamma: cross_entropy has no such option",
    ),
    ({"skip": [{"loss": "dice"}, {"loss": "cross_entropy"}]}, "small.yaml: skip removes every cell of the grid"),
    ({"grid": {"loss": {"dice" * 60: {"loss": "dice"}}}}, "longer than 200 characters"),
]


@pytest.mark.parametrize(("change", "complaint"), CHANGES)
def test_every_run_is_checked_before_any_is_run(change: dict[str, Any], complaint: str, repository: Repository) -> None:
    repository.study("small", {**STUDY, **change})
    with pytest.raises(InputError) as error:
        repository.read()
    assert complaint in str(error.value) and "\n" not in str(error.value)


def test_alias_may_not_be_a_studys_name(repository: Repository) -> None:
    for alias in ("small", "a-b", "a b", ""):
        with pytest.raises(InputError, match="--as"):
            repository.read(alias=alias)


def test_outside_a_repository_one_line_says_so(repository: Repository) -> None:
    repository.git("rm", "-q", "--cached", "params.yaml")
    repository.git("commit", "-q", "-m", "gone")
    with pytest.raises(InputError, match=r"params.yaml is not committed here"):
        repository.read()


@pytest.mark.parametrize("name", list_studies(ROOT / "studies"))
def test_shipped_study_makes_runs_with_valid_names(name: str) -> None:
    study = read_study(name, ROOT)
    names = [run.name for run in plan_runs(study)]
    assert len(set(names)) == len(names)
    for example in (names[0], names[-1]):
        assert subprocess.run(["git", "check-ref-format", f"refs/exps/ab/cd/{example}"], check=False).returncode == 0
    assert all(re.fullmatch(r"[\w.]+(-[\w.]+)+-s\d", name) for name in names)
