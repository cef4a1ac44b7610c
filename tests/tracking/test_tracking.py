"""MLflow runs: begun by train, completed by later stages, rebuilt from outs, and never in the way."""

import json
import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import Mock
from urllib.parse import unquote

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.data.schema import TensorDatasetSchema
from mlflow.entities import Run

from losslab import tracking
from losslab.errors import InputError
from losslab.io.files import write_csv, write_json
from losslab.io.hashing import compute_file_md5
from losslab.params import MlflowParams, Params
from losslab.tracking.store import TrackingStore, _import_client, build_sqlite_uri, describe_failure
from losslab.tracking.system_metrics import SystemMeter
from tests.conftest import TINY_CHANGES, write_params

HISTORY = [{"epoch": e, "lr": 0.001, "train_loss": 1.0 - e / 10, "val_miou": e / 10} for e in range(3)]
SCORES = {"miou": 0.5, "iou": {"skin": 0.75, "hair": None}}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests here; each uses a dataset, so an MLflow experiment, of its own."""
    return tmp_path_factory.mktemp("root")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def params(tiny_params: Params, request: pytest.FixtureRequest) -> Params:
    return tiny_params.model_copy(update={"dataset": request.node.name})


@pytest.fixture
def outs(tmp_path: Path, params: Params) -> Path:
    """Write what a run leaves behind."""
    path = write_params(tmp_path, TINY_CHANGES)
    path.write_text(
        path.read_text(encoding="utf-8").replace("dataset: tiny", f"dataset: {params.dataset}"), encoding="utf-8"
    )
    (tmp_path / "models").mkdir()
    (tmp_path / "models/model.safetensors").write_bytes(b"weights")
    write_json(tmp_path / "models/model.json", {"data_md5": "d.dir"})
    write_csv(tmp_path / "reports/history.csv", HISTORY)
    write_json(tmp_path / "reports/scores.json", {"test": SCORES, "val": SCORES})
    (tmp_path / "reports/report.html").write_text("<p>report", encoding="utf-8")
    (tmp_path / "reports/figures").mkdir()
    (tmp_path / "reports/figures/curves.png").write_bytes(b"png")
    return tmp_path


@pytest.fixture
def warnings() -> list[str]:
    return []


def runs(root: Path, dataset: str) -> list[Run]:
    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(dataset)
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def series(root: Path, run: Run, metric: str) -> list[tuple[int, float]]:
    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, metric)]


def begin(params: Params, root: Path, warnings: list[str]) -> Any:
    return tracking.track_training(params, "key", "d.dir", "a chip", root, warnings.append)


def train(params: Params, root: Path, outs: Path, warnings: list[str]) -> None:
    with begin(params, root, warnings) as run:
        for row in HISTORY:
            run.log_epoch(row)
        run.log_model(outs / "models", seconds=12.3)


def test_training_is_seen_while_it_runs(params: Params, root: Path, outs: Path, warnings: list[str]) -> None:
    with begin(params, root, warnings) as run:
        run.log_epoch(HISTORY[0])
        (live,) = runs(root, params.dataset)
        assert live.info.status == "RUNNING"
        assert live.data.params["train.epochs"] == "2" and live.data.params["loss"] == "cross_entropy"
        assert series(root, live, "train/loss") == [(0, 1.0)]
        run.log_model(outs / "models", seconds=12.3)
    (done,) = runs(root, params.dataset)
    assert done.info.status == "FINISHED"
    assert done.data.tags["losslab.model_md5"] == compute_file_md5(outs / "models/model.safetensors")
    assert done.data.tags["losslab.data_md5"] == "d.dir"
    assert done.data.tags["losslab.hardware"] == "a chip"
    assert done.data.tags["losslab.seconds.train"] == "12.3"
    assert warnings == []


@pytest.mark.parametrize(("error", "status"), [(ValueError("x"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_run_that_breaks_is_marked(
    error: BaseException, status: str, params: Params, root: Path, warnings: list[str]
) -> None:
    with pytest.raises(type(error)), begin(params, root, warnings):
        raise error
    assert runs(root, params.dataset)[0].info.status == status


@pytest.mark.parametrize("error", [KeyboardInterrupt(), None])
def test_interrupted_run_goes_on_as_the_same_run(
    error: BaseException | None, params: Params, root: Path, outs: Path, warnings: list[str]
) -> None:
    """None: killed, nothing could be told. Its first epoch was logged; it comes again out of the checkpoint."""
    with suppress(KeyboardInterrupt), ExitStack() as killed:
        run = killed.enter_context(begin(params, root, warnings))
        run.log_epoch(HISTORY[0])
        if error is None:
            killed.pop_all()
        else:
            raise error
    train(params, root, outs, warnings)
    (done,) = runs(root, params.dataset)
    assert done.info.status == "FINISHED" and "losslab.model_md5" in done.data.tags
    assert [step for step, _ in series(root, done, "train/loss")] == [0, 1, 2]
    assert warnings == []


def test_experiment_that_is_queued_again_goes_on_under_its_new_name(
    params: Params, root: Path, outs: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for experiment in ("first-try", "second-try"):
        monkeypatch.setenv("DVC_EXP_NAME", experiment)
        with suppress(ZeroDivisionError), begin(params, root, warnings) as run:
            run.log_epoch(HISTORY[0])
            raise ZeroDivisionError
    monkeypatch.delenv("DVC_EXP_NAME")
    train(params, root, outs, warnings)
    (run,) = runs(root, params.dataset)
    assert "dvc.experiment" not in run.data.tags and not run.info.run_name.startswith("first-try")


def test_same_run_of_another_repository_is_left_alone(
    params: Params,
    root: Path,
    warnings: list[str],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    with begin(params, root, warnings) as first:
        first.log_epoch(HISTORY[0])
        with begin(params, tmp_path_factory.mktemp("another"), warnings) as second:
            second.log_epoch(HISTORY[0])
    assert len(runs(root, params.dataset)) == 2


@pytest.mark.parametrize("how", ["trained", "rebuilt"])
def test_inputs_of_a_run_are_its_splits(
    how: str, params: Params, root: Path, outs: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(outs)
    prepared = {"classes": ["skin", "hair"], "size": 64, "fit": "stretch", "images": {"train": 6, "val": 2, "test": 3}}
    write_json(outs / "data/prepared" / params.dataset / "dataset.json", prepared)
    card = outs / "data/catalog" / f"{params.dataset}.yaml"
    card.parent.mkdir(parents=True, exist_ok=True)
    card.write_text("title: Tiny\nlicence: CC0\nhome: null\n", encoding="utf-8")
    if how == "trained":
        train(params, root, outs, warnings)
        tracking.record_stage(outs, root, warnings.append, "evaluate", 1.0)
    else:
        tracking.rebuild_run(outs, compute_file_md5(outs / "models/model.safetensors"), None, None, TrackingStore(root))
    (run,) = runs(root, params.dataset)
    logged: Any = run.inputs
    inputs = {tag.value: each.dataset for each in logged.dataset_inputs for tag in each.tags}
    assert warnings == [] and set(inputs) == {"train", "val", "test"} and len(inputs) == 3
    dataset = inputs["val"]
    assert (dataset.name, dataset.digest) == (f"{params.dataset}/val", "d.dir")
    assert json.loads(dataset.source) == {"uri": f"data/catalog/{params.dataset}.yaml"}
    shared = {"classes": ["skin", "hair"], "size": 64, "fit": "stretch", "title": "Tiny", "licence": "CC0"}
    assert json.loads(dataset.profile) == {"num_images": 2} | shared
    features = TensorDatasetSchema.from_dict(json.loads(dataset.schema)).features
    assert [(spec.name, spec.shape) for spec in features.inputs] == [("images", (-1, 64, 64, 3))]


@pytest.mark.parametrize("how", ["trained", "rebuilt"])
@pytest.mark.parametrize("weights", ["reference", "copy"])
def test_trained_net_is_a_logged_model_with_scores_of_the_splits(
    how: str, weights: str, params: Params, root: Path, outs: Path, warnings: list[str]
) -> None:
    md5, path = compute_file_md5(outs / "models/model.safetensors"), outs / "params.yaml"
    params = params.model_copy(update={"mlflow": MlflowParams.model_validate({"weights": weights})})
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("weights: reference", f"weights: {weights}"), encoding="utf-8")
    if how == "trained":
        train(params, root, outs, warnings)
    for _ in range(2):
        tracking.rebuild_run(outs, md5, None, None, TrackingStore(root))
    client, (run,) = MlflowClient(f"sqlite:///{root / 'mlflow.db'}"), runs(root, params.dataset)
    (model,) = client.search_logged_models([run.info.experiment_id], "metrics.`test/miou` >= 0.5")
    outputs: Any = run.outputs
    assert [output.model_id for output in outputs.model_outputs] == [model.model_id] and warnings == []
    assert (model.name, model.status, model.source_run_id) == (
        "unet-tu-mobilenetv3_small_050",
        "READY",
        run.info.run_id,
    )
    assert (model.params["loss"], model.tags["losslab.model_md5"]) == ("cross_entropy", md5)
    scores = {(metric.key, metric.value, metric.dataset_name, metric.dataset_digest) for metric in model.metrics or []}
    assert {
        ("test/miou", 0.5, f"{params.dataset}/test", "d.dir"),
        ("best_val/miou", 0.5, f"{params.dataset}/val", "d.dir"),
    } <= scores
    assert series(root, run, "test/miou") == [(0, 0.5)]
    folder = Path(unquote(model.artifact_location.removeprefix("file://"))) / "data/model"
    files = {each.name: each.read_text(encoding="utf-8") for each in folder.iterdir()}
    assert "d.dir" in files.pop("model.json")
    if weights == "copy":
        assert files == {"model.safetensors": "weights"}
    else:
        (reference,) = yaml.safe_load(files.pop("model.safetensors.dvc"))["outs"]
        assert reference == {"md5": md5, "hash": "md5", "path": "model.safetensors"} and not files


class Codecarbon(ModuleType):
    """As much of codecarbon as losslab calls."""

    final_emissions_data = SimpleNamespace(energy_consumed=0.25)

    def __init__(self) -> None:
        super().__init__("codecarbon")
        self.started = self.stopped = False

    def OfflineEmissionsTracker(self, **options: Any) -> "Codecarbon":  # noqa: N802
        assert options["save_to_file"] is False, "else it writes emissions.csv"
        return self

    def start(self) -> None:
        self.started = True

    def stop(self) -> None:
        self.stopped = True


def test_cost_of_a_run_is_told_to_mlflow(
    params: Params, root: Path, outs: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    codecarbon = Codecarbon()
    monkeypatch.setitem(sys.modules, "codecarbon", codecarbon)
    with begin(params, root, warnings) as run:
        run.log_epoch({**HISTORY[0], "epoch_seconds": 2.0, "images_per_second": 3.0})
        deadline = time.monotonic() + 10
        while run.opening.result().system._energy is None and time.monotonic() < deadline:
            time.sleep(0.01)
        run.log_model(outs / "models", seconds=1.0)
    (done,) = runs(root, params.dataset)
    metrics = done.data.metrics
    assert (metrics["epoch_seconds"], metrics["images_per_second"], metrics["energy_kwh"]) == (2.0, 3.0, 0.25)
    assert metrics["system/system_memory_usage_megabytes"] > 0 and "system/cpu_utilization_percentage" in metrics
    assert done.data.tags["losslab.energy_kwh"] == "0.25" and codecarbon.stopped and warnings == []
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    codecarbon.started = False
    assert (meter := SystemMeter()).measure() == {} and meter.stop() == {} and not codecarbon.started


def test_model_that_is_scored_otherwise_is_another_run(
    params: Params, root: Path, outs: Path, warnings: list[str]
) -> None:
    train(params, root, outs, warnings)
    tracking.record_stage(outs, root, warnings.append, "report", 1.0)
    path = outs / "params.yaml"
    changed = path.read_text(encoding="utf-8").replace("resolution: prepared", "resolution: original")
    path.write_text(changed, encoding="utf-8")
    for _ in range(2):
        tracking.record_stage(outs, root, warnings.append, "report", 1.0)
    scores = {
        run.data.params["evaluate.resolution"]: run.data.metrics["test/miou"] for run in runs(root, params.dataset)
    }
    assert scores == {"prepared": 0.5, "original": 0.5} and len(runs(root, params.dataset)) == 2 and not warnings


def test_complete_run_is_repeated_as_a_new_one(
    params: Params, root: Path, outs: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(params, root, outs, warnings)
    train(params, root, outs, warnings)  # killed before DVC took the outs: no report yet
    assert len(runs(root, params.dataset)) == 1
    tracking.record_stage(outs, root, warnings.append, "report", 1.0)
    train(params, root, outs, warnings)
    assert len(runs(root, params.dataset)) == 2
    monkeypatch.setenv("DVC_EXP_NAME", "other")
    train(params, root, outs, warnings)
    assert len(runs(root, params.dataset)) == 3


def test_experiment_and_baseline_are_tagged(
    params: Params, root: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "great-lion")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "abc123")
    with begin(params, root, warnings):
        pass
    (run,) = runs(root, params.dataset)
    assert run.info.run_name == "great-lion: cross_entropy unet s0"
    assert (run.data.tags["dvc.experiment"], run.data.tags["dvc.baseline_rev"]) == ("great-lion", "abc123")


def test_run_of_a_study_has_its_name_and_the_params_that_tell_it_from_others(
    params: Params, root: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Null says that weights began from scratch; of anything else it says that it is off."""
    monkeypatch.setenv("DVC_EXP_NAME", "demo-dice-s0")
    with begin(params, root, warnings):
        pass
    (run,) = runs(root, params.dataset)
    assert run.info.run_name == "demo-dice-s0" and run.data.params["encoder_weights"] == "null"
    noise = {"train.workers", "train.ema", "dataset", "download.source", "loss_options", "evaluate.predictions"}
    assert not noise & run.data.params.keys() and {"train.lr", "evaluate.resolution"} <= run.data.params.keys()


def test_later_stages_complete_the_run_that_train_began(
    params: Params, root: Path, outs: Path, warnings: list[str]
) -> None:
    train(params, root, outs, warnings)
    for stage in ("evaluate", "report"):
        tracking.record_stage(outs, root, warnings.append, stage, 1.0)
    (run,) = runs(root, params.dataset)
    assert run.data.metrics["test/miou"] == run.data.metrics["best_val/miou"] == 0.5
    assert run.data.metrics["test/iou/skin"] == 0.75 and "test/iou/hair" not in run.data.metrics
    assert series(root, run, "val/miou") == [(0, 0.0), (1, 0.1), (2, 0.2)]
    artifacts = root / "mlartifacts" / params.dataset / run.info.run_id / "artifacts"
    assert (artifacts / "report.html").is_file() and (artifacts / "figures/curves.png").is_file()
    assert run.data.tags["losslab.seconds.report"] == "1.0"
    assert series(root, run, "test/miou") == [(0, 0.5)]
    assert warnings == []


def test_run_carries_its_record_and_the_way_back(
    params: Params, root: Path, outs: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "calm-cat")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    write_csv(outs / "reports/per_image.csv", [{"image": "a", "iou": 0.5}])
    (outs / "dvc.lock").write_text("stages: {}\n", encoding="utf-8")
    train(params, root, outs, warnings)
    tracking.record_stage(outs, root, warnings.append, "report", 1.0)
    (run,) = (run for run in tracking.list_tracked_runs(root) if run.experiment == "calm-cat" and run.threads == 3)
    assert (run.has_outs, run.train_seconds, run.hardware) == (True, 12.3, "a chip")
    note = runs(root, params.dataset)[0].data.tags["mlflow.note.content"]
    assert note.startswith("**test mIoU 0.5000, val 0.5000**\n")
    assert f"`losslab reproduce {run.run_id}`" in note and "DVC experiment `calm-cat`" in note
    tracking.download_outs(run, tmp_path / "all", root)
    tracking.download_outs(run, tmp_path / "one", root, "models/model.json")
    kept = ["dvc.lock", "models/model.json", "params.yaml"]
    kept += [f"reports/{name}" for name in ("history.csv", "scores.json", "per_image.csv")]
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/**/*") if path.is_file()}
    assert {f"all/{name}" for name in kept} | {"one/models/model.json"} <= names
    assert (tmp_path / "all/reports/history.csv").read_bytes() == (outs / "reports/history.csv").read_bytes()
    assert warnings == []


def test_run_of_an_older_losslab_is_given_its_record_by_sync(params: Params, root: Path, outs: Path) -> None:
    md5s = [compute_file_md5(outs / path) for path in ("models/model.safetensors", "reports/report.html")]
    tracking.rebuild_run(outs, md5s[0], "old-cat", "abc", tracking.open_store(root))
    client, (run,) = MlflowClient(f"sqlite:///{root / 'mlflow.db'}"), runs(root, params.dataset)
    client.delete_tag(run.info.run_id, "losslab.outs")
    (old,) = (each for each in tracking.list_tracked_runs(root) if each.experiment == "old-cat")
    with pytest.raises(InputError, match="an older losslab recorded it; run `losslab sync`"):
        tracking.download_outs(old, outs / "got", root)
    assert not tracking.is_recorded(params.dataset, md5s[0], md5s[1], "old-cat", tracking.open_store(root))


def test_run_whose_artifacts_are_gone_is_not_recorded_until_they_are_there_again(
    params: Params, root: Path, outs: Path
) -> None:
    model, report = compute_file_md5(outs / "models/model.safetensors"), compute_file_md5(outs / "reports/report.html")
    store = tracking.open_store(root)
    for _ in range(2):
        tracking.rebuild_run(outs, model, None, None, store)
        (run,) = runs(root, params.dataset)
        assert tracking.is_recorded(params.dataset, model, report, None, store)
        shutil.rmtree(root / "mlartifacts" / params.dataset / run.info.run_id)
        assert not tracking.is_recorded(params.dataset, model, report, None, store)


def test_description_that_a_user_wrote_is_kept(params: Params, root: Path, outs: Path, warnings: list[str]) -> None:
    train(params, root, outs, warnings)
    client, (run,) = MlflowClient(f"sqlite:///{root / 'mlflow.db'}"), runs(root, params.dataset)
    client.set_tag(run.info.run_id, "mlflow.note.content", "mine")
    tracking.record_stage(outs, root, warnings.append, "report", 1.0)
    assert runs(root, params.dataset)[0].data.tags["mlflow.note.content"] == "mine"


@pytest.mark.parametrize("uri", ["postgresql://127.0.0.1/x", "file:store", "http://127.0.0.1:9"])
def test_artifacts_lie_in_the_repository_unless_a_server_keeps_them(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they lie where the process works that comes first: in a folder that is deleted."""
    client = Mock(get_experiment_by_name=lambda name: None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr("losslab.tracking.store._import_client", lambda: lambda uri: client)
    TrackingStore(tmp_path).get_experiment("pets")
    location = None if uri.startswith("http") else (tmp_path / "mlartifacts/pets").as_uri()
    kind = {"mlflow.experimentKind": "custom_model_development"}
    client.create_experiment.assert_called_once_with("pets", location, kind)


def test_artifacts_in_a_folder_that_was_deleted_are_an_error_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "/home/me/pets/.losslab/study/demo/slot-1/mlruns/3"
    old = Mock(artifact_location=place, experiment_id="3", lifecycle_stage="active")
    old.name = "pets"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://127.0.0.1/x")
    monkeypatch.setattr(
        "losslab.tracking.store._import_client", lambda: lambda uri: Mock(get_experiment_by_name=lambda name: old)
    )
    with pytest.raises(InputError, match=r"rename -x 3 --new-name pets\.old`, then run `losslab sync`"):
        TrackingStore(tmp_path).get_experiment("pets")


def test_looking_for_runs_makes_no_store(tmp_path: Path) -> None:
    assert tracking.list_tracked_runs(tmp_path) == [] and not list(tmp_path.iterdir())


def test_two_runs_of_one_model_are_distinguished_by_experiment(
    params: Params, root: Path, outs: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        monkeypatch.setenv("DVC_EXP_NAME", name)
        train(params, root, outs, warnings)
    monkeypatch.setenv("DVC_EXP_NAME", "first")
    tracking.record_stage(outs, root, warnings.append, "evaluate", 1.0)
    complete = {run.data.tags["dvc.experiment"]: "test/miou" in run.data.metrics for run in runs(root, params.dataset)}
    assert complete == {"first": True, "second": False}


def test_run_is_rebuilt_from_its_outs(params: Params, root: Path, outs: Path) -> None:
    model, report = compute_file_md5(outs / "models/model.safetensors"), compute_file_md5(outs / "reports/report.html")
    assert not tracking.is_recorded(params.dataset, model, report, "calm-cat", tracking.open_store(root))
    tracking.rebuild_run(outs, model, "calm-cat", "abc", tracking.open_store(root))
    assert tracking.is_recorded(params.dataset, model, report, "calm-cat", tracking.open_store(root))
    assert not tracking.is_recorded(params.dataset, model, report, "other", tracking.open_store(root))
    tracking.rebuild_run(outs, model, "calm-cat", "abc", tracking.open_store(root))
    (run,) = runs(root, params.dataset)
    assert (run.data.tags["dvc.experiment"], run.info.status) == ("calm-cat", "FINISHED")
    assert run.data.tags["dvc.baseline_rev"] == "abc"
    assert run.data.params["train.epochs"] == "2"
    assert series(root, run, "train/loss") == [(0, 1.0), (1, 0.9), (2, 0.8)]


def test_epochs_lost_while_the_store_was_away_are_added_later(
    params: Params, root: Path, outs: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with begin(params, root, warnings) as run:
        run.log_epoch(HISTORY[0])
        with monkeypatch.context() as broken:
            broken.setattr(MlflowClient, "log_batch", lambda *a, **k: (_ for _ in ()).throw(OSError("disk is gone")))
            run.log_epoch(HISTORY[1])
        run.log_epoch(HISTORY[2])
        run.log_model(outs / "models", 1.0)
    assert len(warnings) == 1 and "disk is gone" in warnings[0] and "losslab sync" in warnings[0]
    tracking.record_stage(outs, root, warnings.append, "evaluate", 1.0)
    (done,) = runs(root, params.dataset)
    assert done.info.status == "FINISHED"
    assert done.data.tags["losslab.hardware"] == "a chip"
    assert [step for step, _ in series(root, done, "train/loss")] == [0, 1, 2]


def test_deleted_experiment_is_brought_back(params: Params, root: Path, warnings: list[str]) -> None:
    with begin(params, root, warnings):
        pass
    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    client.delete_experiment(runs(root, params.dataset)[0].info.experiment_id)
    with begin(params, root, warnings):
        pass
    assert warnings == []


def test_evaluate_leaves_the_report_of_the_run_before_alone(
    params: Params, root: Path, outs: Path, warnings: list[str]
) -> None:
    train(params, root, outs, warnings)
    tracking.record_stage(outs, root, warnings.append, "evaluate", 1.0)
    (run,) = runs(root, params.dataset)
    assert "losslab.report_md5" not in run.data.tags
    assert not (root / "mlartifacts" / params.dataset / run.info.run_id).exists()


def test_workspace_never_takes_the_complete_run_of_an_experiment(params: Params, root: Path, outs: Path) -> None:
    model, report = compute_file_md5(outs / "models/model.safetensors"), outs / "reports/report.html"
    tracking.rebuild_run(outs, model, "with-another-report", "abc", tracking.open_store(root))
    first = compute_file_md5(report)
    report.write_text("<p>other report", encoding="utf-8")
    tracking.rebuild_run(outs, model, None, None, tracking.open_store(root))
    assert tracking.is_recorded(params.dataset, model, first, "with-another-report", tracking.open_store(root))
    assert tracking.is_recorded(params.dataset, model, compute_file_md5(report), None, tracking.open_store(root))
    assert len(runs(root, params.dataset)) == 2


def test_repro_goes_on_with_the_run_that_an_experiment_left(
    params: Params, root: Path, outs: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as experiment:
        experiment.setenv("DVC_EXP_NAME", "stopped")
        train(params, root, outs, warnings)
    tracking.record_stage(outs, root, warnings.append, "evaluate", 1.0)
    (run,) = runs(root, params.dataset)
    assert run.data.metrics["test/miou"] == 0.5


@pytest.mark.parametrize("uri", [None, "sqlite:///mlflow.db?timeout=30"])
def test_path_of_a_store_may_have_any_character(
    uri: str | None, params: Params, tmp_path: Path, outs: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "repositories/100%25 of my%20project? #1 & ü"
    if uri is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    train(params, root, outs, warnings)
    tracking.record_stage(outs, root, warnings.append, "report", 1.0)
    assert warnings == [] and [run.has_outs for run in tracking.list_tracked_runs(root)] == [True]
    assert [path.name for path in (tmp_path / "repositories").iterdir()] == [root.name], "MLflow made another folder"
    assert {path.name for path in root.iterdir()} == {".losslab", ".mlflow.db.lock", "mlflow.db", "mlartifacts"}
    assert len(list((root / "mlartifacts").rglob("report.html"))) == 1
    monkeypatch.setenv("MLFLOW_TRACKING_URI", build_sqlite_uri(root / "mlflow.db"))
    assert len(tracking.list_tracked_runs(tmp_path / "elsewhere")) == 1


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_store_without_a_file_is_refused(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(InputError, match="cannot be used: name a file: sqlite:"):
        tracking.list_tracked_runs(tmp_path)


@pytest.mark.parametrize("uri", ["sqlite:///sub/own.db", "sqlite:///{root}/sub/own.db"])
def test_named_sqlite_store_lies_in_the_repository_with_its_artifacts(
    uri: str, params: Params, tmp_path: Path, outs: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "repo"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(root=root))
    train(params, root, outs, warnings)
    tracking.record_stage(outs, root, warnings.append, "evaluate", 1.0)
    tracking.record_stage(outs, root, warnings.append, "report", 1.0)
    assert warnings == []
    assert (root / "sub/own.db").is_file()
    assert len(list((root / "sub/mlartifacts").rglob("report.html"))) == 1


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    yield


@pytest.mark.usefixtures("unreachable")
def test_without_a_store_training_goes_on_with_one_warning(
    params: Params, root: Path, outs: Path, warnings: list[str]
) -> None:
    train(params, root, outs, warnings)
    assert len(warnings) == 1
    assert warnings[0].startswith("MLflow at http://127.0.0.1:9 cannot be used")
    assert "\n" not in warnings[0]


@pytest.mark.usefixtures("unreachable")
def test_without_a_store_sync_fails_with_one_line(outs: Path, params: Params, root: Path) -> None:
    with pytest.raises(InputError, match=r"MLflow at http://127.0.0.1:9 cannot be used"):
        tracking.is_recorded(params.dataset, "m", "r", None, tracking.open_store(root))


def test_processes_that_come_first_at_once_share_one_store(tmp_path: Path, params: Params) -> None:
    code = (
        "import sys; from pathlib import Path; from losslab import tracking; from losslab.params import Params\n"
        "params = Params.model_validate_json(sys.argv[2])\n"
        "with tracking.track_training(params, sys.argv[3], 'd.dir', 'chip', Path(sys.argv[1]), sys.exit) as run:\n"
        "    run.log_epoch({'epoch': 0, 'val_miou': 0.5})\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path), params.model_dump_json()]
    started = [subprocess.Popen([*command, key], stderr=subprocess.PIPE, text=True) for key in "abc"]
    assert [process.communicate()[1] for process in started] == ["", "", ""]
    logged = runs(tmp_path, params.dataset)
    assert [(run.info.status, run.data.metrics["val/miou"]) for run in logged] == [("FINISHED", 0.5)] * 3
    assert list(tmp_path.glob(".*partial*")) == []


def test_clock_that_is_set_back_makes_no_negative_duration(
    params: Params, root: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with begin(params, root, warnings) as run:
        run.log_epoch(HISTORY[0])
        monkeypatch.setattr("time.time", lambda: 1_000_000.0)
    (ended,) = runs(root, params.dataset)
    assert (warnings, ended.info.status) == ([], "FINISHED") and ended.info.end_time == ended.info.start_time


def test_full_disk_of_the_store_is_one_line() -> None:
    """MLflow logs the traceback of what it raises too, and SQLAlchemy begins with advice to programmers."""
    _import_client()
    assert not logging.getLogger("mlflow.store.db.utils").isEnabledFor(logging.ERROR)
    advice = "(raised as a result of Query-invoked autoflush; consider …)\n(sqlite3.OperationalError) database or disk is full"
    assert describe_failure(RuntimeError(advice)).endswith(
        "cannot be used: (sqlite3.OperationalError) database or disk is full"
    )
