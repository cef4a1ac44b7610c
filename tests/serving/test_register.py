"""A run's model is registered in MLflow once, and is loaded and served without this repository."""

import base64
import hashlib
import io
import json
import os
import site
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from dvc.repo import Repo
from mlflow import MlflowClient
from PIL import Image
from typer.testing import CliRunner

from losslab import models, tracking
from losslab.cli import app
from losslab.errors import InputError
from losslab.experiments.finished_runs import open_model
from losslab.inference.predictor import Predictor
from losslab.io.files import write_text
from losslab.io.hashing import compute_file_md5
from losslab.params import Params, load
from losslab.prediction.label_map import predict_image
from losslab.serving.register import register_model
from tests.conftest import ROOT, TINY_CHANGES, write_params
from tests.export.small_model import save_small_model


def train(root: Path, params: Params, seed: int = 0, experiment: str | None = None) -> str:
    """Write a model to models/ and its run to MLflow, and return the weights' md5."""
    save_small_model(root / "models", size=32 + 4 * seed)
    net, description = models.load(root / "models")
    for parameter in net.parameters():
        parameter.data += seed / 100
    models.save(root / "models", net, description)
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        environment.delenv("DVC_EXP_NAME", raising=False)
        if experiment:
            environment.setenv("DVC_EXP_NAME", experiment)
        with tracking.track_training(params, f"key {seed} {experiment}", "d.dir", "chip", root, pytest.fail) as run:
            run.log_model(root / "models", 1.0)
    return compute_file_md5(root / "models/model.safetensors")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record the run of the workspace, and before it two of one name, one of them a DVC experiment."""
    root = tmp_path_factory.mktemp("root")
    params = load(write_params(root, TINY_CHANGES))
    train(root, params, seed=1, experiment="calm-cat")
    train(root, params.model_copy(update={"loss": "dice"}), seed=2)
    train(root, params.model_copy(update={"loss": "dice"}), seed=0)
    register_model("workspace", "lesions", root)
    return root


@pytest.fixture(autouse=True)
def here(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(root)


@pytest.fixture
def image(rng: Any) -> Any:
    return rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)


def client(root: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{root / 'mlflow.db'}")


def expected(root: Path, image: Any) -> Any:
    return predict_image(Predictor(*models.load(root / "models")), image)


def test_version_is_of_the_run_and_says_how_it_is_used(root: Path) -> None:
    version = client(root).get_model_version("lesions", "1")
    run = client(root).get_run(str(version.run_id))
    assert version.status == "READY" and version.tags["losslab.model_md5"] == run.data.tags["losslab.model_md5"]
    (logged,) = client(root).search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert json.loads(logged.tags["mlflow.modelVersions"])[0] == {"name": "lesions", "version": 1}
    assert (logged.source_run_id, logged.params["loss"]) == (run.info.run_id, "dice")
    folder = Path(logged.artifact_location.removeprefix("file://"))
    assert folder.is_relative_to(root / "mlartifacts")
    about = (folder / "MLmodel").read_text(encoding="utf-8")
    assert '"name": "image"' in about and '"name": "masks", "default": "array"' in about
    assert "torch==" in (folder / "requirements.txt").read_text(encoding="utf-8")
    assert (folder / "input_example.json").is_file()
    for path in folder.rglob("*"):
        assert path.is_dir() or str(root).encode() not in path.read_bytes(), path


def test_same_model_is_registered_once_under_a_name(root: Path) -> None:
    again = register_model("workspace", "lesions", root)
    assert (again.version, again.is_new) == ("1", False)
    assert register_model("workspace", "it's another name", root).version == "1"
    result = CliRunner().invoke(app, ["register", "workspace", "--name", "lesions"])
    assert result.exit_code == 0 and result.stdout.startswith("already registered as models:/lesions/1, from run dice ")


def test_version_is_the_logged_model_of_training(root: Path) -> None:
    """Later code is packed into a model of its own, so that the version stays as it was registered."""
    store = client(root)
    version = store.get_model_version("lesions", "1")
    run = store.get_run(str(version.run_id))
    found = store.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    outputs: Any = run.outputs
    assert [model.model_id for model in found] == [output.model_id for output in outputs.model_outputs]
    assert version.source == found[0].artifact_location and found[0].status == "READY"
    with pytest.MonkeyPatch.context() as later:
        later.setattr("importlib.metadata.version", lambda name: "9.9")
        assert register_model("workspace", "later", root).is_new
    made = store.get_model_version("later", "1")
    assert made.source != version.source and made.run_id == version.run_id


def test_alias_names_the_version_that_predict_takes(
    root: Path, image: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["register", "workspace", "--name", "lesions", "--alias", "champion", "--tag", "by=me"]
    result = CliRunner().invoke(app, arguments)
    assert result.stdout.startswith("already registered as models:/lesions/1, models:/lesions@champion, from run dice ")
    version = client(root).get_model_version_by_alias("lesions", "champion")
    assert (str(version.version), version.tags["by"]) == ("1", "me")
    Image.fromarray(image).save(tmp_path / "a.png")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    for model in ("models:/lesions@champion", "models:/lesions/1"):
        done = CliRunner().invoke(app, ["predict", "a.png", "-o", f"out{model[15:]}", "--model", model])
        assert done.exit_code == 0, done.output
        mask = np.asarray(Image.open(tmp_path / f"out{model[15:]}/a.png"))
        np.testing.assert_array_equal(mask, expected(root, image))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["register", "workspace", "--name", "x", "--alias", "v1"],
            "--alias 'v1': use letters, digits, - and _; latest",
        ),
        (["register", "workspace", "--name", "x", "--tag", "me"], "--tag 'me': write KEY=VALUE"),
        (["register", "workspace", "--name", "x", "--tag", "=me"], "--tag '=me': a key is made of letters"),
        (["predict", "a.png", "-o", "out", "--model", "models:/x"], "--model models:/x: write models:/NAME@ALIAS or"),
        (
            ["predict", "a.png", "-o", "out", "--model", "models:/lesions@nobody"],
            "--model models:/lesions@nobody: MLflow at mlflow.db has no such version of a model that losslab registered",
        ),
        (
            ["predict", "a.png", "-o", "out", "--model", "models:/nobody/7"],
            "--model models:/nobody/7: MLflow at mlflow.db has no such version of a model that losslab registered",
        ),
    ],
)
def test_alias_tag_or_version_that_cannot_be_is_refused(
    arguments: list[str], complaint: str, image: Any, tmp_path: Path, root: Path
) -> None:
    Image.fromarray(image).save(root / "a.png")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1 and result.stderr.startswith(f"ERROR: {complaint}") and result.stderr.count("\n") == 1
    assert not (root / "out").exists()


def test_run_can_be_named_by_its_id_and_by_its_experiment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workspace no longer has the model, so its weights are looked up elsewhere."""
    md5s = []

    def note(md5: str, _: Path) -> NoReturn:
        md5s.append(md5)
        raise InputError("looked up")

    monkeypatch.setattr("losslab.serving.register.open_model", note)
    runs = client(root).search_runs([experiment.experiment_id for experiment in client(root).search_experiments()])
    (run,) = (run for run in runs if run.data.tags.get("dvc.experiment") == "calm-cat")
    for name in (run.info.run_id, "calm-cat", run.info.run_name):
        with pytest.raises(InputError, match="looked up"):
            register_model(str(name), "x", root)
    assert md5s == [run.data.tags["losslab.model_md5"]] * 3


@pytest.mark.parametrize(
    ("run", "name", "complaint"),
    [
        ("nobody", "a\nb", r"--name 'a\\nb': a model's name must be one line of printable characters"),
        ("nobody", "x", r"no such run: nobody in MLflow at mlflow.db \(available: .*calm-cat"),
        ("dice unet s0", "x", "2 runs are called 'dice .*give the id of one: "),
        ("calm-cat", "a/b", "--name 'a/b': a model's name must not"),
        ("calm-cat", " ", "--name ' ': a model's name must not"),
    ],
)
def test_what_cannot_be_registered_is_refused(run: str, name: str, complaint: str, root: Path) -> None:
    with pytest.raises(InputError, match=complaint):
        register_model(run, name, root)


def test_workspace_without_a_run_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
        with pytest.raises(InputError, match=r"workspace: .*models/model.safetensors does not exist"):
            register_model("workspace", "x", tmp_path)
        (tmp_path / "models/model.safetensors").write_bytes(b"another")
        with pytest.raises(InputError, match=r"has no run of this model; run `losslab sync` to add it"):
            register_model("workspace", "x", tmp_path)


def test_registry_that_cannot_be_reached_is_reported_in_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    result = CliRunner().invoke(app, ["register", "workspace", "--name", "x"])
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("ERROR: MLflow at http://127.0.0.1:9 cannot be used")


def test_model_is_taken_from_the_cache_while_it_is_there(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    with Repo.init(str(tmp_path)) as repo:
        cache = Path(repo.cache.local.path)
    with (
        pytest.raises(InputError, match=r"is no longer in models/ or DVC's cache; train it again"),
        open_model("0" * 32, tmp_path),
    ):
        pass
    weights, description = (hashlib.md5(content).hexdigest() for content in (b"weights", b"{}"))
    for md5, content in ((weights, b"weights"), (description, b"{}")):
        (cache / md5[:2]).mkdir(parents=True)
        (cache / md5[:2] / md5[2:]).write_bytes(content)
    outs = {"models/model.json": description, "models/model.safetensors": weights}
    entry = {"cmd": "python src/train.py", "outs": [{"path": path, "md5": md5} for path, md5 in outs.items()]}
    write_text(tmp_path / ".dvc/cache/runs/ab/abc/def", json.dumps(entry))
    with open_model(weights, tmp_path) as folder:
        assert (folder / "model.safetensors").read_bytes() == b"weights"
        assert (folder / "model.json").read_bytes() == b"{}"
    (cache / weights[:2] / weights[2:]).write_bytes(b"Weights")
    with (
        pytest.raises(InputError, match=f"{weights[2:]} in DVC's cache is damaged: remove it"),
        open_model(weights, tmp_path),
    ):
        pass


LOAD = """
import sys
sys.path.append(sys.argv[1])
try:
    import losslab
except ImportError:
    pass
else:
    sys.exit("losslab is here already")
import mlflow, numpy
mlflow.set_tracking_uri(sys.argv[2])
model = mlflow.pyfunc.load_model("models:/lesions/1")
image = numpy.load("image.npy")
(mask,) = model.predict({"image": [image]})
(same,) = model.predict({"image": [open("image.png", "rb").read()]})
assert (mask == same).all()
numpy.save("mask.npy", mask)
print(sys.modules["losslab"].__file__)
"""


def test_model_is_loaded_where_losslab_is_not_installed(root: Path, image: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", image)
    Image.fromarray(image).save(tmp_path / "image.png")
    packages = next(path for path in site.getsitepackages() if (Path(path) / "mlflow").is_dir())
    command = [sys.executable, "-I", "-S", "-c", LOAD, packages, f"sqlite:///{root / 'mlflow.db'}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parts[-4:-1] != ("src", "losslab")
    np.testing.assert_array_equal(np.load(tmp_path / "mask.npy"), expected(root, image))


@contextmanager
def serving(root: Path) -> Iterator[str]:
    """`mlflow models serve`, as docs/how-to/deploy.md says it; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"MLFLOW_TRACKING_URI": f"sqlite:///{root / 'mlflow.db'}", "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = f"mlflow models serve -m models:/lesions/1 --env-manager local --workers 1 -p {port}"
    server = subprocess.Popen(
        command.split(),
        cwd=root,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/ping", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < deadline, "the server did not start"
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, 15)
        server.communicate(timeout=30)


def post(address: str, content: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{address}/invocations", json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["predictions"]


@pytest.mark.pipeline
def test_served_model_answers_with_the_masks_of_predict(root: Path, image: Any, tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    text = base64.b64encode(file.getvalue()).decode()
    with serving(root) as address:
        records = {"dataframe_records": [{"image": text}], "params": {"masks": "png"}}
        (mask,) = post(address, records)
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(mask)))), expected(root, image))
        documented = (ROOT / "docs/how-to/deploy.md").read_text(encoding="utf-8").split("```sh\n")[-1].split("```")[0]
        command = documented.partition("\n")[2].replace("localhost:5001", address).replace("a.jpg", "a.png")
        (tmp_path / "a.png").write_bytes(file.getvalue())
        subprocess.run(["sh", "-c", command.replace("> a.png", "> mask.png")], cwd=tmp_path, check=True)
        assert (tmp_path / "mask.png").read_bytes() == base64.b64decode(mask)
        with pytest.raises(urllib.error.HTTPError, match="400"):
            post(address, {"dataframe_records": [{"image": "aGFsbG8="}]})
        with pytest.raises(urllib.error.HTTPError, match="400") as refused:
            post(address, {"dataframe_records": [{"image": text}] * 65})
        assert "more than 64 rows; send them in several requests" in refused.value.read().decode()
        split = {"dataframe_split": {"columns": ["image"], "data": [[text], [text]]}}
        first, second = post(address, split)
        assert first == second == expected(root, image).tolist()
        example = json.loads(
            next((root / "mlartifacts").rglob("serving_input_example.json")).read_text(encoding="utf-8")
        )
        assert np.asarray(post(address, example)).shape == (1, 32, 32)
