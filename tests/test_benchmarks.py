"""`make bench` summarises measurements, and each contestant measures; no time is asserted."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from benchmarks import bare_step, gemm, growth, machine, paired_steps, run, study_runs
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
        "loader_busy": [0.9, 0.125],
        "precision": "32-true",
        "step_gflops": 5.0,
        "gemm_gflops_per_s": {"32-true": 40.0},
        "peak_mib": 900.0,
        "peak_worker_mib": 0.0,
    }


def build_results() -> dict[str, Any]:
    seconds = [(8, 4, 2, 2), (6, 4, 2, 1), (20, 1, 4, 3)]
    rounds = [
        {
            "notebook": build_measurement(notebook, 2),
            "lightning": build_measurement(lightning, 2),
            "losslab": build_measurement(losslab, 1),
            "bare": build_measurement(bare, 1) | {"evaluation": []},
        }
        for notebook, lightning, losslab, bare in seconds
    ]
    return {
        "machine": {
            "hardware": "CPU, 2 cores",
            "features": ["avx2"],
            "threads": 2,
            "load": 0.25,
            "environment": {"OMP_NUM_THREADS": "1"},
            "bf16_unit": None,
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
    content["machine"] |= {"native_bf16": True, "bf16_unit": "AMX"}
    content["rounds"] = content["rounds"][1:2]
    assert not read_verdicts(summarise(content))[
        "training over the notebook loop, on a CPU with native bf16 (AMX): at least 4 times"
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
    assert "| c. losslab | float32 | 4.00 (2.00 to 4.00) |  | 50% (25% to 50%) | 12.5% | 4.00 |  | 10.0 | 900 |" in text
    notebook = (
        "float32 | 1.00 (0.40 to 1.33) | 4.00 (3.00 to 5.00) | 12% (5% to 17%) | 12.5% | 2.00 | 2.00 | 10.0 | 900 |"
    )
    assert f"| a. notebook loop | {notebook}" in text
    bare = "float32 | 4.00 (2.67 to 8.00) | 0.75 (0.50 to 1.00) | 50% (33% to 100%) | 12.5% |  |  | 10.0 | 900 |"
    assert f"| d. bare step | {bare}" in text
    assert "5.0 GFLOP for an image; products of large matrices (GEMM) reach 40 GFLOP/s in float32." in text
    assert "avx2; AMX: no, AVX-512 bf16: no, no native bf16;" in text
    assert "| 40 | 112 |  |" in text
    assert "Load before the start: 0.2. OMP_NUM_THREADS=1" in text
    write_json(tmp_path / "bench.json", summary)
    content = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert content["comparison"]["ratios"]["train"]["notebook"] == {"median": 4.0, "low": 3.0, "high": 5.0}
    assert render_markdown(content) == text


def test_the_share_of_gemm_is_of_the_precision_that_a_contestant_trains_in() -> None:
    content = build_results()
    for one in content["rounds"]:
        for name in ("losslab", "bare"):
            one[name] |= {"precision": "bf16-mixed", "gemm_gflops_per_s": {"32-true": 40.0, "bf16-mixed": 400.0}}
    comparison = compare(content["rounds"])
    shares = {name: figures["gemm_share"].median for name, figures in comparison.figures.items()}
    assert shares == pytest.approx({"notebook": 0.125, "lightning": 0.25, "losslab": 0.05, "bare": 0.05})
    text = render_markdown(summarise(content))
    assert "| c. losslab | bf16 |" in text and "| a. notebook loop | float32 |" in text


def test_training_is_held_against_the_bare_step() -> None:
    claim = "training over the bare step: at least 0.95 times"
    content = build_results()
    assert not read_verdicts(summarise(content))[claim]
    for one in content["rounds"]:
        one["bare"] = build_measurement(one["losslab"]["train"][1][0] * 0.96, 1) | {"evaluation": []}
    assert read_verdicts(summarise(content))[claim]


def test_the_unit_that_multiplies_bf16_is_named_within_the_limit_set_to_onednn() -> None:
    both = {"amx_bf16": True, "avx512_bf16": True}
    assert machine.name_bf16_unit(both, "DEFAULT") == machine.name_bf16_unit(both, "AVX512_CORE_AMX") == "AMX"
    assert machine.name_bf16_unit(both, "AVX512_CORE_BF16") == "AVX-512 without AMX"
    assert machine.name_bf16_unit({"avx2": True}, "DEFAULT") is None


def test_the_bare_step_flips_each_image_with_its_mask_or_neither() -> None:
    images = torch.arange(64 * 4 * 6, dtype=torch.int32).view(64, 4, 6, 1)
    changed, masks = bare_step.flip(images, images[..., 0] + 1)
    assert torch.equal(changed[..., 0] + 1, masks)
    flipped = [bool((new != old).any()) for new, old in zip(changed, images, strict=True)]
    assert 0 < sum(flipped) < 64
    expected = torch.stack([old.flip(1) if turned else old for turned, old in zip(flipped, images, strict=True)])
    assert torch.equal(changed, expected)


def test_operations_of_a_step_are_those_of_forward_and_backward_and_gemm_has_a_rate() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 2, 1))
    first, second = 2 * 3 * 4 * 8 * 8, 2 * 4 * 2 * 8 * 8
    assert gemm.count_step_gflops(net, 8) * 1e9 == 2 * first + 3 * second  # no gradient of the images is needed
    rates = gemm.measure_gemm_rates(torch.device("cpu"), "bf16-mixed", side=16, seconds=0.0)
    assert set(rates) == {"32-true", "bf16-mixed"} and min(rates.values()) > 0


def test_pairs_of_steps_are_compared_one_by_one() -> None:
    both = [(10, 9), (20, 19), (5, 5)]
    pairs = [
        (dict.fromkeys(paired_steps.CLOCKS, a / 1000), dict.fromkeys(paired_steps.CLOCKS, b / 1000)) for a, b in both
    ]
    assert "| processor time | 10.0 | 9.0 | 0.950 (0.900 to 1.000) |" in paired_steps.render_pairs(pairs)


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
        assert [images for _, images in measures["evaluation"]] == ([] if name == "bare" else [2, 2])
        assert measures["first_step_s"] > 0
        assert [0 < share < 1 for share in measures["loader_busy"]] == [name != "bare"] * 2
    assert measures["step_gflops"] > 0 and measures["gemm_gflops_per_s"]["32-true"] > 0
    assert len(paired_steps.measure(work, TINY)) == 1  # of two steps in the second epoch
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
