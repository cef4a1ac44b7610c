"""`make bench` summarises measurements, and each contestant measures; no time is asserted."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmarks import growth, run, study_runs
from benchmarks.data import make, repeat
from benchmarks.report import compare, compute_images_per_second, render_markdown, summarise
from benchmarks.settings import Settings, Work
from losslab.data.loading.arrays import PreparedData
from losslab.io.files import write_json
from tests.fork_server import start_server

TINY = Settings(size=64, batch_size=2, images=4, epochs=1, encoder="tu-mobilenetv3_small_050")


def build_measurement(train_s: float, evaluation_s: float) -> dict[str, Any]:
    """Build the measurements of eight images in a slow first and a second epoch, with half as many evaluated."""
    return {
        "train": [[100.0, 8], [train_s, 8]],
        "evaluation": [[100.0, 4], [evaluation_s, 4]],
        "first_step_s": 10.0,
        "gpu_busy": [],
        "peak_mib": 900.0,
        "peak_worker_mib": 0.0,
    }


def build_results() -> dict[str, Any]:
    rounds = [
        {"notebook": build_measurement(8, 2), "lightning": build_measurement(4, 2), "losslab": build_measurement(2, 1)},
        {"notebook": build_measurement(6, 2), "lightning": build_measurement(4, 2), "losslab": build_measurement(2, 1)},
        {
            "notebook": build_measurement(20, 2),
            "lightning": build_measurement(1, 2),
            "losslab": build_measurement(4, 1),
        },
    ]
    return {
        "machine": {
            "hardware": "CPU, 2 cores",
            "features": ["avx2"],
            "threads": 2,
            "load": 0.25,
            "environment": {"OMP_NUM_THREADS": "1"},
            "native_bf16": False,
            "cuda": False,
            "versions": {"torch": "2"},
        },
        "data": "images",
        "settings": {"size": 64, "batch_size": 2, "images": 8, "epochs": 1, "encoder": "resnet18", "rounds": 3},
        "rounds": rounds,
        "memory": {"images": [4, 40], "peak_mib": [100.0, 112.0], "anonymous_mib": [90.0, None]},
        "preparing": {
            "data": "pets",
            "images": [6, 60],
            "rounds": [
                {"plain_loop": {"images_per_s": 100.0}, "losslab": {"images_per_s": rate}}
                for rate in (200.0, 260.0, 300.0)
            ],
            "anonymous_mib": [100.0, 120.0],
        },
        "imports": {"torch": 1.5},
        "gpu_rounds": [],
    }


def read_verdicts(summary: dict[str, Any]) -> dict[str, bool]:
    return {verdict["claim"]: verdict["passed"] for verdict in summary["verdicts"]}


def test_the_first_epoch_does_not_count() -> None:
    assert compute_images_per_second([(100, 8), (2, 8), (6, 8)]) == 2


def test_ratios_are_taken_round_by_round() -> None:
    ratios = compare(build_results()["rounds"]).ratios["train"]
    assert (ratios["notebook"].median, ratios["notebook"].low, ratios["notebook"].high) == (4, 3, 5)
    assert (ratios["lightning"].median, ratios["lightning"].low, ratios["lightning"].high) == (2, 0.25, 2)


def test_verdicts_follow_the_medians() -> None:
    passed = read_verdicts(summarise(build_results()))
    assert passed["training over the notebook loop, on a CPU without native bf16: at least 1.5 times"]
    assert passed["training over smp's example: at least 1 times"]
    assert not passed["peak memory at 10 times the images: at most 1.1"]
    assert passed["python src/train.py to the end of its first step: at most 12 s"]


def test_native_bf16_asks_for_more() -> None:
    content = copy.deepcopy(build_results())
    content["machine"]["native_bf16"] = True
    content["rounds"] = content["rounds"][1:2]
    assert not read_verdicts(summarise(content))[
        "training over the notebook loop, on a CPU with native bf16: at least 4 times"
    ]


def test_a_gpu_brings_its_own_table_and_the_price_of_determinism() -> None:
    content = build_results()
    content["machine"]["cuda"] = True
    content["gpu_rounds"] = [one | {"losslab_free": build_measurement(1, 1)} for one in content["rounds"]]
    for one in content["gpu_rounds"]:
        one["losslab"] = one["losslab"] | {"gpu_busy": [0.1, 0.9]}
    text = render_markdown(summarise(content))
    assert "## GPU" in text
    assert "| 90% |" in text
    assert "Deterministic training runs at 0.50 (0.25 to 0.50) of the speed" in text


def test_markdown_and_json_say_the_same(tmp_path: Path) -> None:
    summary = summarise(build_results())
    text = render_markdown(summary)
    assert "| c. losslab | 4.00 (2.00 to 4.00) |  | 4.00 |  | 10.0 | 900 |" in text
    assert "| a. notebook loop | 1.00 (0.40 to 1.33) | 4.00 (3.00 to 5.00) | 2.00 | 2.00 | 10.0 | 900 |" in text
    assert "| 40 | 112 |  |" in text
    assert "Load before the start: 0.2. OMP_NUM_THREADS=1" in text
    write_json(tmp_path / "bench.json", summary)
    content = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert content["comparison"]["ratios"]["train"]["notebook"] == {"median": 4.0, "low": 3.0, "high": 5.0}
    assert render_markdown(content) == text


def test_an_option_out_of_range_is_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.main(["--size", "100"])
    assert "--size is 100, but must be a multiple of 32" in capsys.readouterr().err


def test_repeated_data_are_complete(tmp_path: Path) -> None:
    work = Work(tmp_path / "work")
    make(work, TINY, drawn=True)
    repeat(work.prepared, tmp_path / "more", 3)
    few, many = PreparedData(work.prepared), PreparedData(tmp_path / "more")
    assert [len(many.images(split)) for split in ("train", "val", "test")] == [12, 6, 6]
    assert (many.masks("val")[2:4] == few.masks("val")).all()
    assert many.names("test") == few.names("test") * 3


def test_preparing_is_measured_beside_the_loop_and_with_many_images(tmp_path: Path) -> None:
    measured = run._measure_preparing(tmp_path / "images", rounds=1, few=6, many=12)
    assert (
        measured["rounds"][0]["losslab"]["images_per_s"] > 0 and measured["rounds"][0]["plain_loop"]["images_per_s"] > 0
    )
    arrays = [
        np.load(tmp_path / f"images/many/out/{split}/images.npy", mmap_mode="r") for split in ("train", "val", "test")
    ]
    assert sum(map(len, arrays)) == 12 and len(np.load(tmp_path / "images/few/images.npy", mmap_mode="r")) == 6
    text = render_markdown(summarise(build_results()))
    assert "| losslab, 6 images | 260 (200 to 300) (2.60 (2.00 to 3.00) times the loop) | 100 |" in text
    assert "| prepare: at least 250 images a second | 260 (200 to 300) | PASS |" in text
    assert "| prepare's own memory at 10 times the images: at most 1.5 | 1.20 | PASS |" in text


@pytest.mark.pipeline
def test_every_contestant_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(start_server() / "python"))
    work = Work(tmp_path / "work")
    make(work, TINY, drawn=True)
    for name in run.CONTESTANTS:
        measures = run.contest(name, work, TINY)
        assert [images for _, images in measures["train"]] == [4, 4]
        assert [images for _, images in measures["evaluation"]] == [2, 2]
        assert measures["first_step_s"] > 0
    assert run.time_first_step(work) > 0
    assert (work.folder / ".losslab").exists()  # in the temporary folder, not in the user's repository


def test_runs_of_a_study_are_compared_within_a_run_and_say_when_training_begins(tmp_path: Path) -> None:
    project = study_runs.make_project(tmp_path / "project", 3, 2)
    assert [run.params["train"]["epochs"] for run in study_runs.list_runs(project)] == [3] * 4
    assert "print('first step', flush=True)" in (project / "src/losslab/training/fit.py").read_text()
    slow, quick = (dict.fromkeys(study_runs.PHASES, seconds) for seconds in (4.0, 1.0))
    table = study_runs.render_table({"processes": [slow, slow], "forks": [quick, slow]})
    assert "| epochs | 4.0 | 2.5 | 0.62 (0.25 to 1.00) |" in table
    assert "| **all but the epochs** | 28.0 | 17.5 | 0.62 (0.25 to 1.00) |" in table


def test_growth_is_measured_on_images_unlike_each_other_and_shown_by_step(tmp_path: Path) -> None:
    growth.draw_images(tmp_path, 5)
    files = [sorted((tmp_path / kind).iterdir()) for kind in ("images", "masks")]
    assert len({path.read_bytes() for path in files[0]}) == 5
    assert {path.name for path in files[0]} == {path.name for path in files[1]}
    growth.write_params(Path(shutil.copy("params.yaml", tmp_path)))
    assert yaml.safe_load((tmp_path / "params.yaml").read_text())["train"]["epochs"] == 1
    cost = growth.measure_step(tmp_path, ["-c", "open('out', 'w').write('a' * 2**20)"], [tmp_path / "out"])
    assert cost.written_mib == 1 and cost.peak_mib > 1
    text = growth.render_table({1000: dict.fromkeys(growth.STEPS, growth.Cost(12.4, 9.6, 640.2, 1.25))})
    assert "| train | 12 s (10 s), 640 MiB, 1.2 MiB |" in text and "plugins" not in text
