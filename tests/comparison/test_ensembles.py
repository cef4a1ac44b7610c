"""The labels of ensembles and of folds among runs that are compared."""

import dataclasses
from pathlib import Path
from typing import Any

from losslab.comparison.ensembles import describe_draw, identify_model, label_ensembles, sum_training_seconds
from losslab.experiments.run_finder import RunRecord


def record(name: str, members: str = "", average: str = "probabilities", **settings: Any) -> RunRecord:
    """A run of one net, or an ensemble of a member for each letter."""
    listed = [{"run": each, "weights": each * 32, "settings": dict.fromkeys(settings, each)} for each in members]
    ensemble = {"average": average, "members": listed} if members else None
    split = {"method": "crossval", "fold": 2}
    known: dict[str, Any] = {field.name: None for field in dataclasses.fields(RunRecord)}
    params = {"seed": 1, "prepare": {"split": split}, "evaluate": {"ensemble": ensemble}}
    about = {"name": name, "params": params, "model_md5": "a" * 32, "train_seconds": 3.0, "root": Path()}
    return RunRecord(**(known | about))


def test_ensembles_that_share_a_member_are_no_repeats_of_each_other() -> None:
    runs = [record("one"), record("x", "ab"), record("y", "cd"), record("z", "de"), record("s", "ab", "weights")]
    labels = [each["ensemble"] for each in label_ensembles(runs)]
    assert labels == [
        "single net",
        "ensemble of 2 nets",
        "ensemble of 2 nets (y)",
        "ensemble of 2 nets (z)",
        "soup of 2 nets",
    ]
    twice = label_ensembles([record("x", "ab"), record("again", "ba")])
    assert [each["ensemble"] for each in twice] == ["ensemble of 2 nets"] * 2
    assert identify_model(record("x", "ab")) == identify_model(record("again", "ba")) != identify_model(runs[4])
    assert identify_model(runs[0]) == "a" * 32


def test_params_in_which_members_differ_are_mixed() -> None:
    assert label_ensembles([record("x", "ab", loss=True)]) == [{"loss": "mixed", "ensemble": "ensemble of 2 nets"}]


def test_a_fold_is_a_repeat_and_an_ensemble_takes_the_time_of_its_members() -> None:
    assert describe_draw(record("one").params) == "seed 1, fold 2"
    known = {"a" * 32: 2.0, "b" * 32: 5.0, "c" * 32: None}
    assert [sum_training_seconds(each, known) for each in (record("one"), record("x", "ab"), record("y", "bc"))] == [
        3.0,
        7.0,
        None,
    ]
