"""Runs as objects, on experiments that nobody trained and runs that only seem to run."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import losslab
from losslab import models
from losslab.api import runs
from losslab.experiments.clone import KILLED_EXIT_CODE
from losslab.params import load
from losslab.prediction.label_map import predict_image
from losslab.study.plan import GridCell, StudyRun
from losslab.study.worker import WorkerJob
from tests.comparison.runs_on_disk import write_run
from tests.conftest import ROOT
from tests.export.small_model import describe_bands, save_small_model
from tests.study.repository import Repository


@pytest.fixture
def inside(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///nowhere/at/all")
    monkeypatch.chdir(repository.root)
    return repository


@pytest.fixture
def finish(inside: Repository, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Finish a run under a name, and give the folder that it left."""

    def finish(name: str, params: dict[str, Any], quality: float = 0.9, model: bool = True, **about: Any) -> Path:
        left = tmp_path_factory.mktemp("left")
        write_run(left, quality, params["seed"])
        if model:
            # So that colours decide the class.
            save_small_model(left / "models", **{"std": [0.01, 0.01, 0.01], **about})
        inside.experiment(StudyRun(name, GridCell((), {}), None, params["seed"], params), 0.5, left=left)
        return left

    return finish


def read_params(**changes: Any) -> dict[str, Any]:
    return load().model_dump(mode="json") | changes


def test_run_is_loaded_with_all_that_it_left(
    inside: Repository, finish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish("mine", read_params(loss="dice"))
    (inside.root / "notebooks").mkdir()
    monkeypatch.chdir(inside.root / "notebooks")  # from any folder of the project
    run = losslab.load_run("mine")
    assert run.name == "mine" and run.params["loss"] == "dice"
    assert run.metrics["val"]["iou"] == {"skin": 0.5, "hair": 0.5}
    assert repr(run) == "<Run mine: test mIoU 0.500>"
    assert [row["epoch"] for row in run.history] == [1, 2, 3] and run.history[1]["val_miou"] == 0.5
    assert Path.cwd() == inside.root / "notebooks"
    with pytest.raises(losslab.InputError, match=r"no such run: yours \(available: mine\)"):
        losslab.load_run("yours")
    with pytest.raises(losslab.InputError, match="load_run: 3 is not the name of a run"):
        losslab.load_run(3)  # type: ignore[arg-type]


def test_run_predicts_files_and_arrays_alike(
    finish: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory, rng: np.random.Generator
) -> None:
    left = finish("mine", read_params())
    run, pixels = losslab.load_run("mine"), np.repeat(rng.integers(0, 256, (5, 6, 3), np.uint8), 8, axis=0)
    path = tmp_path_factory.mktemp("images") / "a.png"
    Image.fromarray(pixels).save(path)
    masks = [*run.predict([path, pixels]), *run.predict(pixels), *run.predict(str(path)), *run.predict(pixels[None])]
    assert all(mask.shape == (40, 6) and mask.dtype == np.uint8 for mask in masks) and len(masks) == 5
    expected = predict_image(run._predictor, pixels)
    assert len(np.unique(expected)) > 1 and all((mask == expected).all() for mask in masks)
    weights = hashlib.md5((left / "models/model.safetensors").read_bytes()).hexdigest()
    assert run.record.model_md5 == weights and not run.model.training


def test_run_on_other_bands_predicts_files_and_arrays_of_them(
    finish: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory, rng: np.random.Generator
) -> None:
    finish("mine", read_params(), **describe_bands(6) | {"std": [0.01] * 6})
    run, pixels = losslab.load_run("mine"), np.repeat(rng.integers(0, 9999, (5, 6, 6), np.uint16), 8, axis=0)
    path = tmp_path_factory.mktemp("images") / "a.tif"
    tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig")
    masks = [*run.predict([path, pixels]), *run.predict(pixels), *run.predict(str(path)), *run.predict(pixels[None])]
    expected = predict_image(run._predictor, pixels)
    assert len(masks) == 5 and len(np.unique(expected)) > 1 and all((mask == expected).all() for mask in masks)
    assert run.model(torch.zeros(1, 6, 8, 8)).shape == (1, 3, 8, 8)
    with pytest.raises(
        losslab.InputError, match=r"^image 0: an array must be uint16 \[H, W, 6\], bands B02, .*, not uint8"
    ):
        run.predict(pixels.astype(np.uint8))
    Image.fromarray(pixels[..., :3].astype(np.uint8)).save(path.with_suffix(".png"))
    with pytest.raises(losslab.InputError, match=r"a.png: .*3 bands of uint8"):
        run.predict(path.with_suffix(".png"))


@pytest.mark.parametrize(
    ("images", "complaint"),
    [
        (["nowhere.png"], "nowhere.png: unreadable image: No such file or directory"),
        (3, r"image 0: an array must be uint8 \[H, W, 3\], RGB, not int64 \[\]"),
        (np.zeros((4, 4, 3)), r"image 0: an array must be uint8 \[H, W, 3\], RGB, not float64 \[4, 4, 3\]"),
        (
            [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)],
            r"image 1: an array must be .* not uint8 \[4, 4\]",
        ),
    ],
)
def test_what_is_no_image_is_named(finish: Callable[..., Path], images: Any, complaint: str) -> None:
    finish("mine", read_params())
    with pytest.raises(losslab.InputError, match=f"^{complaint}$"):
        losslab.load_run("mine").predict(images)


def test_all_need_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (lambda: losslab.load_run("mine"), losslab.run, lambda: losslab.compare("demo")):
        with pytest.raises(
            losslab.InputError, match="not in a losslab project; change to one, or make one with `losslab"
        ):
            call()


def pretend(
    monkeypatch: pytest.MonkeyPatch, code: int, output: str, end: Callable[[WorkerJob], object] = lambda job: None
) -> list[WorkerJob]:
    """Let runs print this and end with this code; return the jobs that are begun."""
    jobs: list[WorkerJob] = []

    def execute(job: WorkerJob, lock: int, *, own_group: bool, output: Any) -> int:
        jobs.append(job)
        Path(job.slot).mkdir()
        output.write(text)
        end(job)
        return code

    text = output.encode()
    monkeypatch.setattr(runs, "execute_job", execute)
    return jobs


def test_finished_run_is_not_run_again(
    inside: Repository, finish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = pretend(monkeypatch, 0, "", lambda job: finish(str(job.experiment), job.params))
    first = losslab.run({"loss": "dice", "train": {"epochs": np.int64(3)}, "evaluate.tolerances": (1, 3)})
    assert (jobs[0].params["loss"], jobs[0].params["train"]["epochs"], jobs[0].baseline) == (
        "dice",
        3,
        inside.git("rev-parse", "HEAD"),
    )
    assert losslab.run({"loss": "dice", "train.epochs": 3}) == first and len(jobs) == 1
    assert [path.suffix for path in (inside.root / ".losslab/runs").iterdir()] == [".log"]
    inside.git("commit", "-q", "--allow-empty", "-m", "other code")
    assert losslab.run({"loss": "dice", "train.epochs": 3}).name != first.name and len(jobs) == 2


@pytest.mark.parametrize(
    ("code", "output", "complaint"),
    [
        (
            1,
            "x\nERROR: train: no room at http://me:secret@host/\nERROR: failed\n",
            r"train: no room at http://\*\*\*@host/;",
        ),
        (KILLED_EXIT_CODE, "", "it was killed, and goes on when you run it again;"),
        (0, "", "it ended without an error, but left no complete experiment"),
    ],
)
def test_failed_run_says_why_in_one_line(
    code: int, output: str, complaint: str, inside: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, code, output)
    with pytest.raises(losslab.InputError, match=f"^run-[0-9a-f]{{10}}: {complaint}") as caught:
        losslab.run()
    assert "\n" not in str(caught.value)
    (log,) = (inside.root / ".losslab/runs").iterdir()  # no clone is left
    assert "secret" not in log.read_text()


@pytest.mark.parametrize("place", ["pipe", "notebook"])
def test_run_shows_how_far_it_is(
    place: str, inside: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if place == "notebook":
        monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    stages = "Running stage 'prepare':\n> python\n\nRunning stage 'train':\n"
    pretend(monkeypatch, KILLED_EXIT_CODE, f"{stages}epoch 1/2  loss\nepoch 2/2  loss\n")
    with pytest.raises(losslab.InputError):
        losslab.run()
    out, err = capsys.readouterr()
    (name, *_), *lines = (line.split(": ") for line in out.splitlines())
    if place == "pipe":
        assert lines == [[name, "prepare"], [name, "train"]] and err == ""
    else:
        assert lines == [] and name in err and "2/2 epochs" in err and "train" in err


def test_interrupted_run_leaves_no_clone(inside: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(job: WorkerJob) -> None:
        raise KeyboardInterrupt

    pretend(monkeypatch, 0, "http://me:secret@host/", interrupt)
    with pytest.raises(KeyboardInterrupt):
        losslab.run()
    (log,) = (inside.root / ".losslab/runs").iterdir()
    assert "secret" not in log.read_text()


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        ({"los": "dice"}, "run: no such key: los; params.yaml has dataset"),
        ({"loss": "dise"}, "run: loss: .*did you mean dice"),
        ({"train": 3}, "run: train is 3; it must have keys with values"),
        ({"train.epochs": 1, "train": {"epochs": 2}}, "run: train.epochs and train.epochs set the same key"),
        ({"seed": object()}, "run: params.yaml has no place for '?<object object"),
        (["loss"], r"run: the changes to params.yaml are \['loss'\], but must be a dict"),
    ],
)
def test_wrong_override_ends_before_any_work(
    overrides: Any, complaint: str, inside: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = pretend(monkeypatch, 0, "")
    with pytest.raises(losslab.InputError, match=complaint):
        losslab.run(overrides)
    assert not jobs and not (inside.root / ".losslab/runs").exists()


@pytest.mark.parametrize("name", ["plugins/mine.py", "data/catalog/tiny.yaml", "data/raw/tiny/own.dvc"])
def test_code_must_be_committed_and_params_need_not(
    name: str, inside: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = pretend(monkeypatch, 1, "ERROR: train: no")
    path = inside.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + "\n# new\n")
    with pytest.raises(losslab.InputError, match="not committed; commit first, because runs take the last commit"):
        losslab.run()
    inside.commit()
    (inside.root / "params.yaml").write_text(json.dumps(read_params(seed=7)))
    with pytest.raises(losslab.InputError, match="train: no"):
        losslab.run()
    assert [job.params["seed"] for job in jobs] == [7]


def test_documented_code_runs(
    inside: Repository, finish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts, project = (
        block.split("```")[0]
        for block in (ROOT / "docs/how-to/python.md").read_text(encoding="utf-8").split("```python\n")[1:]
    )
    exec(parts, {})
    quality = {"cross_entropy": 0.8, "dice": 0.9}
    pretend(
        monkeypatch,
        0,
        "",
        lambda job: finish(str(job.experiment), job.params, quality[job.params["loss"]], model=False),
    )
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save("photo.png")
    monkeypatch.setattr(
        losslab.Run, "_loaded", property(lambda run: models.load(save_small_model(inside.root / "models")))
    )
    names: dict[str, Any] = {}
    exec(project, names)
    assert names["mask"].shape == (5, 7) and names["verdict"].p_value < 0.05
    assert "dice is best: mean IoU" in capsys.readouterr().out
