"""Whole runs through DVC, in a temporary clone with tiny data: what a newcomer does, and what must hold of it."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import yaml

from losslab.experiments.clone import STAGES
from losslab.experiments.finished_runs import list_experiments
from losslab.io.files import read_json
from tests.conftest import SHARED
from tests.pipeline.clone import Clone, stages_run
from tests.pipeline.conftest import EPOCHS, FinishedRun

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def done(finished: FinishedRun) -> Clone:
    """A clone in which the default run is done and committed; these tests alone change it."""
    assert stages_run(finished.output) == STAGES
    clone = Clone.open(finished.folder)
    clone.run("git add dvc.lock reports/metrics.json && git commit -q -m run")
    return clone


@pytest.fixture
def clone(done: Clone) -> Iterator[Clone]:
    """That clone, put back to its commit after each test; experiments, cache and MLflow stay."""
    yield done
    done.run("git reset -q --hard && dvc checkout -q")


def test_run_leaves_all_outs_and_a_clean_tree(done: Clone) -> None:
    outs = done.outs()
    for name in ("models/model.safetensors", "reports/metrics.json", "reports/report.html", "reports/per_image.csv"):
        assert outs[name]
    assert done.run("git status --porcelain") == ""
    assert "up to date" in done.run("dvc repro")


def test_mlflow_shows_the_run_with_all_that_is_known_of_it(done: Clone) -> None:
    run = next(run for run in done.runs() if "dvc.experiment" not in run.data.tags)
    lock = yaml.safe_load((done.folder / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    md5s = {out["path"]: out["md5"] for stage in lock.values() for out in stage["outs"]}
    assert run.info.status == "FINISHED"
    assert run.data.tags["losslab.data_md5"] == md5s["data/prepared/tiny"]
    assert run.data.tags["losslab.model_md5"] == md5s["models/model.safetensors"]
    assert {"losslab.hardware", "losslab.seconds.train", "losslab.seconds.evaluate", "dvc.baseline_rev"} <= set(
        run.data.tags
    )
    assert {"train/loss", "val/loss", "val/miou", "test/miou", "best_val/miou"} <= set(run.data.metrics)
    artifacts = done.folder / "mlartifacts/tiny" / run.info.run_id / "artifacts"
    assert (artifacts / "report.html").read_bytes() == done.outs()["reports/report.html"]
    assert (artifacts / "figures/curves.png").is_file()


def test_dvc_commands_show_something_useful(done: Clone) -> None:
    done.run("dvc plots show -o plots_page && rm -r plots_page")
    columns = done.run("dvc exp show --csv").splitlines()[0].split(",")
    scores = [name for name in columns if name.startswith(("test.", "val."))]
    assert scores == ["test.miou", "test.mdice", "test.boundary_iou", "test.ece", "val.miou"]
    done.run(
        "git tag -a segmenter@v1.0.0 -m first && dvc artifacts get . segmenter -o net && git tag -d segmenter@v1.0.0"
    )
    assert (done.folder / "net/model.json").read_bytes() == (done.folder / "models/model.json").read_bytes()
    shutil.rmtree(done.folder / "net")


def test_experiment_with_another_loss_and_net_runs_three_stages(clone: Clone) -> None:
    output = clone.run("dvc exp run -n other-loss -S loss=0.5*bce+0.5*dice -S arch=simple_segnet")
    assert stages_run(output) == ["plugins", "train", "evaluate", "report"]
    assert "0.5*bce+0.5*dice" in clone.run("dvc params diff")
    assert "test.miou" in clone.run("dvc exp diff main other-loss")
    (run,) = (run for run in clone.runs() if run.data.tags.get("dvc.experiment") == "other-loss")
    assert run.data.params["loss"] == "0.5*bce+0.5*dice"
    assert {"train/loss_bce", "train/loss_dice", "test/miou"} <= set(run.data.metrics)


def test_run_is_verified_in_a_clone_and_put_back_whatever_the_workspace_holds(clone: Clone) -> None:
    """The committed run, by its MLflow id; all but the download is run again, with the threads that it had."""
    run = next(run for run in clone.runs() if "dvc.experiment" not in run.data.tags)
    threads = run.data.tags["losslab.threads"]
    clone.run("sed -i 's/^loss: .*/loss: dice/' params.yaml && rm dvc.lock")
    kept = ".dvc/cache mlartifacts .losslab models reports mlflow.db params.yaml"
    listing = f"find {kept} -type f -printf '%p %s %T@\\n' | sort; git for-each-ref; git status --porcelain"
    before = clone.run(listing)
    output = clone.run(f"losslab verify {run.info.run_id[:8]}", OMP_NUM_THREADS=str(int(threads) + 1))
    stages = stages_run(output)
    assert (
        stages == [STAGES[0], *STAGES[2:-1]] and f"epoch {EPOCHS}/{EPOCHS}" in output
    )  # the record was made while the report was
    outs = 17
    assert f"{threads} thread" in output and "as recorded" in output and f"identical: {outs} outs" in output
    assert clone.run(listing) == before
    clone.run("rm -r models")
    assert "would be lost" in clone.run(f"losslab reproduce {run.info.run_id}", ok=False)
    assert f"and {outs + 1} outs" in clone.run(f"losslab reproduce {run.info.run_id} --force")
    assert stages_run(clone.run("dvc repro")) == []
    assert clone.run("git diff -- dvc.lock") == ""


def test_impossible_value_ends_the_first_stage_that_runs(clone: Clone) -> None:
    """Here through DVC; tests/test_stage.py and tests/test_params.py have more values."""
    output = clone.run("dvc exp run -S train.batch_size=0", ok=False)
    assert stages_run(output) == ["train"]
    assert [line for line in output.splitlines() if "train.batch_size is 0; it must be greater than 0" in line]
    assert "Traceback" not in output


def test_two_experiments_at_once_pair_no_loss_with_the_weights_of_the_other(clone: Clone) -> None:
    """DVC refuses one of them, or both, by its lock; a stage under which params.yaml changes fails."""
    losses = ["focal", "lovasz"]
    started = [
        subprocess.Popen(
            ["dvc", "exp", "run", "-n", loss, "-S", f"loss={loss}"],
            cwd=clone.folder,
            env=clone.preloaded_environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for loss in losses
    ]
    for process in started:
        process.wait(300)
    clone.run("git reset -q --hard && dvc checkout -q && dvc exp run -n after -S loss=lovasz")
    locks = [clone.run(f"git show {revision}:dvc.lock") for _, _, revision in list_experiments(clone.folder)]
    entries = [yaml.safe_load(lock)["stages"]["train"] for lock in locks]
    entries += [yaml.safe_load(path.read_text()) for path in clone.folder.glob(".dvc/cache/runs/*/*/*")]
    trained = [entry for entry in entries if "src/train.py" in entry["cmd"]]
    for entry in trained:
        (md5,) = (out["md5"] for out in entry["outs"] if out["path"] == "models/model.json")
        description = read_json(clone.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:])
        assert description["run"]["loss"] == entry["params"]["params.yaml"]["loss"]
    assert any(entry["params"]["params.yaml"]["loss"] == "lovasz" for entry in trained)


def test_params_changed_under_a_training_never_label_it(clone: Clone) -> None:
    """Neither dvc.lock nor DVC's run cache has the weights of one loss under the name of another."""
    change = "sed -i 's/^loss: .*/loss: tversky/; s/^seed: .*/seed: 7/' params.yaml"
    wait = "until grep -q 'epoch 2/' .losslab/log; do kill -0 $! && sleep 0.02; done"
    clone.run("sed -i 's/^loss: .*/loss: jaccard/' params.yaml")
    output = clone.run(f"dvc repro > .losslab/log 2>&1 & {wait}; {change}; wait $! || ! cat .losslab/log", ok=False)
    assert "ERROR: train: params.yaml changed while this stage ran (seed was 0, is 7 now; loss was jaccard" in output
    locks = [
        yaml.safe_load(text)["stages"] for text in (clone.run("git show HEAD:dvc.lock"), clone.run("cat dvc.lock"))
    ]
    assert locks[0].pop("plugins") != locks[1].pop("plugins") and locks[0] == locks[1]
    output = clone.run("dvc repro train")
    assert stages_run(output) == ["plugins", "train"] and "resuming" not in output
    model = read_json(clone.folder / "models/model.json")
    assert (model["run"]["loss"], model["run"]["seed"]) == ("tversky", 7)


def test_another_image_size_is_never_taken_from_the_cache_of_this_one(clone: Clone) -> None:
    assert stages_run(clone.run("dvc exp run -S prepare.size=32 prepare")) == ["prepare"]
    assert np.load(clone.folder / "data/prepared/tiny/test/masks.npy").shape == (3, 32, 32)


def test_changing_the_report_runs_it_alone(clone: Clone) -> None:
    clone.run("sed -i 's/examples: .*/examples: 1/' params.yaml")
    assert stages_run(clone.run("dvc repro --dry")) == ["report"]


def test_queue_from_an_empty_store_loses_nothing(clone: Clone) -> None:
    (clone.folder / "mlflow.db").unlink()
    shutil.rmtree(clone.folder / "mlartifacts")
    clone.run(
        "dvc exp run --queue -n q-dice -S loss=dice -S seed=1 && dvc exp run --queue -n q-focal -S loss=focal -S seed=1"
    )
    clone.run("dvc queue start -j 2 >/dev/null 2>&1")
    clone.wait_for_experiments("q-dice", "q-focal")
    runs = clone.runs()
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert {(run.data.params["loss"], run.data.params["seed"]) for run in runs} == {("dice", "1"), ("focal", "1")}
    client = clone.mlflow()
    for run in runs:
        assert [point.step for point in client.get_metric_history(run.info.run_id, "val/miou")] == list(
            range(1, EPOCHS + 1)
        )
        assert "test/miou" in run.data.metrics and run.data.tags["dvc.experiment"] in run.info.run_name
        artifacts = clone.folder / "mlartifacts/tiny" / run.info.run_id / "artifacts"
        assert (artifacts / "report.html").is_file() and (artifacts / "figures/confusion.png").is_file()


def test_experiments_become_an_ensemble_that_is_compared_with_them(clone: Clone) -> None:
    """After the queue: its experiments share their test images, so they can be scored as one."""
    state = "git status --porcelain; cat params.yaml dvc.lock; git rev-parse HEAD"
    before = clone.run(state)
    output = clone.run("losslab ensemble 'q-*' --name both")
    assert stages_run(output) == ["evaluate", "report"] and "both: an experiment beside q-dice" in output
    assert clone.run(state) == before
    compared = clone.run("losslab compare --runs 'q-*' both --no-timing --name ensembles")
    assert "ensemble of 2 nets" in compared and "no difference can be claimed" in compared
    content = read_json(clone.folder / "reports/comparisons/ensembles/comparison.json")
    assert [len(cell["runs"]) for cell in content["cells"]] == [1, 1, 1]
    clone.run("losslab reproduce both --force")
    facts = read_json(clone.folder / "reports/evaluation.json")["ensemble_facts"]
    assert [member["run"] for member in facts["members"]] == ["q-dice", "q-focal"]
    assert facts["val"] == {"images": 2, "members": [2, 2]}
    clone.run("git reset -q --hard && dvc checkout -q && dvc exp remove both")


def test_runs_that_dvc_took_from_its_cache_are_rebuilt_by_sync(clone: Clone) -> None:
    """After the queue: the store is lost, and an experiment is repeated under a new name, which runs nothing.

    An experiment that stopped at prepare has a model in its dvc.lock, but not one of its own: it is no run.
    """
    clone.run("dvc exp run -n prepared-only -S prepare.size=32 prepare")
    clone.run("git reset -q --hard && dvc checkout -q")
    (clone.folder / "mlflow.db").unlink()
    shutil.rmtree(clone.folder / "mlartifacts")
    assert stages_run(clone.run("dvc exp run -n again -S loss=dice -S seed=1")) == []
    clone.run("git reset -q --hard && dvc checkout -q")
    output = clone.run("losslab sync")
    runs = {run.data.tags.get("dvc.experiment"): run for run in clone.runs()}
    assert "added again" in output and "added workspace" in output
    assert runs["again"].data.params["loss"] == "dice" and "test/miou" in runs["again"].data.metrics
    assert len([run for run in runs.values() if run.data.params["loss"] == "focal"]) == 1
    inputs: Any = runs["again"].inputs
    assert [json.loads(each.dataset.profile)["num_images"] for each in inputs.dataset_inputs] == [6, 2, 3]
    assert all(run.outputs.model_outputs for run in runs.values() if run.outputs is not None)
    assert "prepared-only" not in runs and "skipped prepared-only: not finished" in output
    assert all(run.info.status == "FINISHED" for run in runs.values())
    (clone.folder / "reports/metrics.json").unlink()
    output = clone.run("losslab sync")
    assert "sync: 0 added" in output
    assert "skipped workspace: reports/metrics.json is not what dvc.lock says" in output
    assert len(clone.runs()) == len(runs)


def test_without_a_store_the_run_is_complete_and_warns(clone: Clone) -> None:
    for _ in range(2):  # forced again it trains again, though no later stage has said that DVC has taken in the first
        output = clone.run("dvc repro --force -s train", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
        assert f"epoch 1/{EPOCHS}" in output and "resuming after epoch" not in output
    assert output.count("WARNING: MLflow at http://127.0.0.1:9 cannot be used") == 1
    assert clone.run("git status --porcelain") == ""
    assert "sync: 0 added" in clone.run("losslab sync")


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared is not there")
def test_real_pets_from_a_folder_on_disk(clone: Clone) -> None:
    source = SHARED / "datasets/oxford_pet"
    output = clone.run(
        f"dvc repro -q prepare && dvc exp run --temp -S dataset=oxford_pet -S download.source={source} prepare"
    )
    assert "audit: note: 3 x not an image: images/Abyssinian_100.mat; images/Abyssinian_101.mat" in output
    assert "240 train, 60 val, 298 test images" in output
