"""The study behind `losslab datasets doubt`, and what the command refuses."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from losslab.cards import read_card
from losslab.cli import app
from losslab.errors import InputError
from losslab.suspects.folds import DoubtedDataset, find_dataset, write_study
from tests.conftest import TINY_CARD
from tests.study.repository import Repository


def write_own(repository: Repository, name: str = "mine") -> None:
    """Write a card of the user's own data."""
    card = TINY_CARD | {"source": {"own": None}, "layout": "folders"}
    (repository.root / f"data/catalog/{name}.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")


def doubt(*arguments: str) -> str:
    done: Any = CliRunner().invoke(app, ["datasets", "doubt", *arguments])
    assert done.exit_code == 1, done.output
    assert done.stderr.count("\n") == 1
    return str(done.stderr)


def test_study_has_a_run_for_each_fold_and_is_the_same_each_time(repository: Repository) -> None:
    dataset = find_dataset("tiny", repository.root)
    study = write_study(dataset, 3, ["train.epochs=7"], repository.root)
    splits = [run["prepare"]["split"] for run in (study.build_run(cell, None, 0).params for cell in study.cells)]
    assert [(split["method"], split["folds"], split["fold"]) for split in splits] == [
        ("kfold", 3, fold) for fold in range(3)
    ]
    assert study.params["train"]["epochs"] == 7 and study.params["dataset"] == "tiny"
    assert write_study(dataset, 3, ["train.epochs=7"], repository.root).key == study.key
    others = {write_study(dataset, *each, repository.root).key for each in ((4, ["train.epochs=7"]), (3, []))}
    assert len(others | {study.key}) == 3


def test_another_version_of_the_data_is_another_study(repository: Repository) -> None:
    before = write_study(find_dataset("tiny", repository.root), 3, [], repository.root)
    path = repository.root / "data/catalog/tiny.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("seed: 3", "seed: 4"), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"tiny\.yaml has changes that are not committed, and runs take the last commit"
    ):
        find_dataset("tiny", repository.root)
    repository.commit()
    assert write_study(find_dataset("tiny", repository.root), 3, [], repository.root).key != before.key


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["tinny"], "no such dataset: 'tinny' (losslab datasets lists them); did you mean tiny?"),
        (["mine"], "data/raw/mine/own: the data of mine are not on this disk; dvc checkout"),
        (["tiny", "-S", "train.foo=1"], "--set: no such key: train.foo; train has"),
        (["tiny", "-S", "prepare.split.fold=1"], "--set prepare.split.fold: doubt sets it itself; --folds"),
        (["tiny", "-S", "train.epochs=0"], "train.epochs is 0; it must be greater than 0"),
        (["tiny", "-S", "train.epochs"], "--set train.epochs: must be key=value"),
        (["tiny", "-S", "train.lr=1", "-S", "train.lr=2"], "--set: train.lr is set twice"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, arguments: list[str], error: str
) -> None:
    write_own(repository)
    repository.commit()
    monkeypatch.chdir(repository.root)
    studies = sorted(Path("studies").iterdir())
    assert error in doubt(*arguments)
    assert sorted(Path("studies").iterdir()) == studies and not Path("reports/doubt").exists()


def test_more_folds_than_images_or_groups_are_refused_before_any_run(repository: Repository) -> None:
    write_own(repository)
    own = repository.root / "data/raw/mine/own"
    for folder in (own / "images", own / "masks"):
        folder.mkdir(parents=True)
        for number in range(6):
            Image.new("L", (8, 8)).save(folder / f"p{number // 2}_{number}.png")
    card = read_card("mine", repository.root / "data/catalog")
    dataset, path = DoubtedDataset("mine", card, own, "v"), repository.root / "params.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["prepare"]["split"]["fold"] = 4  # of a run with more folds
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    repository.commit()
    studies = sorted((repository.root / "studies").iterdir())
    with pytest.raises(InputError, match=r"^prepare.split.folds is 7, too many for 6 images: make it 6 or less"):
        write_study(dataset, 7, [], repository.root)
    grouped = replace(dataset, card=card.model_copy(update={"group": "^(p[0-9]+)_"}))
    with pytest.raises(InputError, match=r"^prepare.split.folds is 6, too many for 3 groups: make it 3 or less"):
        write_study(grouped, 6, [], repository.root)
    assert sorted((repository.root / "studies").iterdir()) == studies
    assert len(write_study(dataset, 3, [], repository.root).cells) == 3


def test_data_that_are_not_committed_are_refused(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    write_own(repository)
    own = repository.root / "data/raw/mine/own"
    own.mkdir(parents=True)
    monkeypatch.chdir(repository.root)
    assert "data/catalog/mine.yaml is not committed" in doubt("mine")
    repository.git("add", "data/catalog")
    repository.git("commit", "-q", "-m", "c")
    assert "own.dvc is not committed, and runs take the last commit: dvc add data/raw/mine/own, then" in doubt("mine")


def test_elsewhere_there_is_no_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "data/catalog: no such folder; run from the root of the repository" in doubt("tiny", "--json")


def test_remedy_names_the_users_files_or_says_to_copy(repository: Repository) -> None:
    write_own(repository)
    repository.commit()
    fetched = find_dataset("tiny", repository.root).describe_remedy()
    assert "losslab datasets new tiny_corrected --images" in " ".join(fetched)
    content = json.dumps(fetched)
    assert "dvc add" in content and "git commit" in content
