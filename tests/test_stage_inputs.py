"""What a stage has read is compared with what lies there when it ends, because DVC hashes its inputs only then."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from losslab.errors import InputError
from losslab.io.files import write_text
from losslab.io.hashing import compute_bytes_md5, compute_folder_md5
from losslab.params import load
from losslab.stage_inputs import StageInputs, check_checkout, check_data, check_evaluation, check_model
from losslab.training.plan import RECORDED_PARAMS
from tests.conftest import ROOT, TINY_CHANGES, merge, write_params

RAW = Path("data/raw/tiny/own/images")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with this repository's dvc.yaml, code, cards and params, and some raw data."""
    write_params(tmp_path, TINY_CHANGES)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    RAW.mkdir(parents=True)
    for name in ("a.png", "b.png"):
        (RAW / name).write_bytes(b"pixels")
    return tmp_path


def edit(path: str, old: str, new: str) -> Callable[[], object]:
    def replace() -> None:
        text = Path(path).read_text(encoding="utf-8")
        assert old in text
        Path(path).write_text(text.replace(old, new), encoding="utf-8")

    return replace


def edit_params(**changes: Any) -> Callable[[], object]:
    return lambda: write_params(Path(), merge(TINY_CHANGES, changes))


def rewrite_later(path: Path) -> None:
    """As an editor does that keeps the size."""
    path.write_bytes(b"PIXELS")
    os.utime(path, ns=(0, 1))


CHANGES: list[tuple[str, Callable[[], object], str]] = [
    ("train", edit_params(loss="dice"), "params.yaml changed while this stage ran (loss was cross_entropy, is dice now)"),
    (
        "train",
        edit_params(seed=7, train={"lr": 0.5, "ema": 0.9, "epochs": 3}),
        "params.yaml changed while this stage ran (seed was 0, is 7 now; train.ema was null, is 0.9 now; "
        "train.epochs was 2, is 3 now; and 1 more)",
    ),
    ("prepare", edit_params(prepare={"limit": 5}), "params.yaml changed while this stage ran (prepare.limit was null, is 5 now)"),
    ("download", edit_params(dataset="camvid"), "params.yaml changed while this stage ran (dataset was tiny, is camvid now)"),
    (
        "download",
        edit("data/catalog/tiny.yaml", "seed: 3", "seed: 4"),
        "data/catalog/tiny.yaml changed while this stage ran (source.seed was 3, is 4 now)",
    ),
    ("prepare", edit("data/catalog/tiny.yaml", "skin", "skim"), "data/catalog/tiny.yaml changed while this stage ran"),
    ("train", edit("src/losslab/losses/focal.py", "gamma", "Gamma"), "src/losslab/losses/focal.py changed while this stage ran"),
    ("prepare", lambda: (RAW / "a.png").unlink(), f"{RAW}/a.png went away while this stage ran"),
    ("evaluate", lambda: (RAW / "c.png").touch(), f"{RAW}/c.png appeared while this stage ran"),
    ("prepare", lambda: rewrite_later(RAW / "a.png"), f"{RAW}/a.png changed while this stage ran"),
    ("evaluate", lambda: shutil.rmtree(RAW), " went away while this stage ran (2 files differ)"),
    ("train", lambda: Path("params.yaml").unlink(), "params.yaml changed while this stage ran (seed was 0, is null now"),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "change", "said"), CHANGES)
def test_change_of_an_input_is_named(stage: str, change: Callable[[], object], said: str, folder: Path) -> None:
    inputs = StageInputs(stage)
    assert inputs.describe_change() is None
    change()
    assert said in (inputs.describe_change() or "nothing changed")


NO_CHANGES: list[tuple[str, Callable[[], object]]] = [
    ("train", edit_params(report={"examples": 7})),
    ("train", edit_params(prepare={"limit": 5}, evaluate={"tta": "flip"}, dataset="camvid")),
    ("download", edit("data/catalog/tiny.yaml", "skin", "skim")),
    ("download", lambda: (RAW / "c.png").touch()),
    ("report", edit("src/losslab/losses/focal.py", "gamma", "Gamma")),
    ("train", lambda: os.utime("src/losslab/losses/focal.py", ns=(0, 1))),
    ("train", lambda: shutil.copytree("src/losslab/losses", "src/losslab/losses/__pycache__")),
    ("prepare", lambda: (RAW / ".a.png.partial").touch()),
    ("train", edit("params.yaml", "loss: cross_entropy", "loss:   cross_entropy # the first")),
    ("-c", edit_params(loss="dice")),
]


@pytest.mark.parametrize(("stage", "change"), NO_CHANGES)
def test_change_of_what_the_stage_does_not_read_is_none(stage: str, change: Callable[[], object], folder: Path) -> None:
    inputs = StageInputs(stage)
    change()
    assert inputs.describe_change() is None


def test_params_of_earlier_stages_are_part_of_an_experiment(folder: Path) -> None:
    alone, in_experiment = StageInputs("report"), StageInputs("report", with_earlier=True)
    edit_params(loss="dice")()
    assert alone.describe_change() is None
    assert "loss was cross_entropy, is dice now" in str(in_experiment.describe_change())
    assert StageInputs("prepare", with_earlier=True).params["params.yaml"].keys().isdisjoint({"seed", "train"})


def test_dataset_that_dvc_did_not_begin_with_is_noticed(folder: Path) -> None:
    deps: list[str] = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]["train"]["deps"]
    locks = Path(".dvc/tmp/rwlock")
    assert StageInputs("train").find_foreign_dep() is None
    locks.parent.mkdir(parents=True)
    for dataset, foreign in (("tiny", None), ("camvid", "data/prepared/tiny")):
        known: dict[str, list[Any]] = {f"{folder}/{dep.replace('${dataset}', dataset)}": [] for dep in deps}
        locks.write_text(json.dumps({"write": {}, "read": known}), encoding="utf-8")
        assert StageInputs("train").find_foreign_dep() == foreign
    for text in ("{}", '{"write": {}, "read": {}}', '{"wri'):
        locks.write_text(text, encoding="utf-8")
        assert StageInputs("train").find_foreign_dep() is None


def test_model_of_other_params_is_refused(folder: Path) -> None:
    """The words of params.yaml count, `auto` among them; what only evaluate and report read does not."""
    params = load()
    description = {
        "size": 64,
        "fit": "stretch",
        "run": json.loads(json.dumps(params.model_dump(include=RECORDED_PARAMS))),
    }
    check_model(description, params)
    edit_params(evaluate={"tta": "flip"}, report={"examples": 7}, prepare={"audit": "warn"})()
    check_model(description, load())
    for changes, said in (
        ({"loss": "dice"}, "with loss cross_entropy, but params.yaml has dice: run `dvc repro`"),
        ({"train": {"device": "cpu"}}, "with train.device auto, but params.yaml has cpu"),
        (
            {"loss_options": {"label_smoothing": 0.1}},
            "with loss_options.label_smoothing unset, but params.yaml has 0.1",
        ),
        ({"prepare": {"size": 128}}, "with prepare.size 64, but params.yaml has 128"),
    ):
        edit_params(**changes)()
        with pytest.raises(InputError, match=f"^models/model.json: this model was trained {said}"):
            check_model(description, load())


def test_data_of_a_damaged_cache_are_refused_with_the_files_to_remove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC checks out what its cache has under an md5, without a look at the bytes."""
    monkeypatch.chdir(tmp_path)
    folder = Path("data/prepared/tiny")
    write_text(folder / "a.npy", "a")
    write_text(folder / "b c.npy", "b")
    md5, entries = compute_folder_md5(folder), [("a.npy", "a"), ("b c.npy", "b")]
    listed = [{"md5": compute_bytes_md5(text.encode()), "relpath": name} for name, text in entries]
    write_text(Path(".dvc/cache/files/md5", md5[:2], md5[2:]), json.dumps(listed))
    lock = {"stages": {"prepare": {"outs": [{"path": "data/prepared/tiny", "md5": md5}]}}}
    write_text(Path("dvc.lock"), yaml.safe_dump(lock))
    monkeypatch.setenv("DVC_STAGE", "train")
    check_checkout(folder, md5)
    check_checkout(Path("data/prepared/other"), "0")  # of a run without DVC
    write_text(folder / "b c.npy", "B")
    with pytest.raises(InputError) as caught:
        check_checkout(folder, compute_folder_md5(folder))
    damaged = f".dvc/cache/files/md5/{listed[1]['md5'][:2]}/{listed[1]['md5'][2:]}"
    assert f"is damaged: run rm -rf data/prepared/tiny {damaged}, then dvc repro again" in str(caught.value)
    monkeypatch.delenv("DVC_STAGE")
    check_checkout(folder, compute_folder_md5(folder))


def test_data_or_scores_of_other_params_are_refused(folder: Path) -> None:
    """Params that changed when prepare or evaluate had ended, before DVC hashed them, name no outs of others."""
    prepared = load().prepare.model_dump()
    check_data(prepared, load())
    edit_params(prepare={"split": {"seed": 3}})()
    message = (
        "^data/prepared/tiny/audit.json: these data were prepared with prepare.split.seed 0, but params.yaml has 3: run"
    )
    with pytest.raises(InputError, match=message):
        check_data(prepared, load())
    settings = {"resolution": "prepared", "tta": "none", "tolerances": [1, 3]}
    edit_params(evaluate={"predictions": 1, "batch_size": 1})()
    check_evaluation(settings, load())
    edit_params(evaluate={"tolerances": [1, 2]})()
    message = r"^reports/evaluation.json: the scores were computed with evaluate.tolerances \[1, 3\], but params.yaml has \[1, 2\]"
    with pytest.raises(InputError, match=message + ": run `dvc repro`, or `dvc repro --force evaluate` if it says"):
        check_evaluation(settings, load())
