"""A team's day with losslab on its servers: `python -m tests.servers` (or `make servers`) does it, and times each step."""

import base64
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.request import Request, urlopen

import yaml
from mlflow import MlflowClient

from tests.pipeline.clone import QUICK, Clone, stages_run
from tests.servers.services import PROGRAMS, Services, answers, find_port

STUDY: dict[str, Any] = {
    "title": "Two losses",
    "question": "Which?",
    "params": {**QUICK, "train": {"epochs": 2, "device": "cpu"}, "evaluate": {"predictions": 0}},
    "grid": {"loss": ["dice", "cross_entropy"]},
    "seeds": [0, 1],
}
FINISHED = "attributes.status = 'FINISHED'"


class TeamClone(Clone):
    """A clone whose commands know the team's servers."""

    variables: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | self.variables

    def empty_store(self) -> None:
        """There is none here: runs go to the server."""


class Walk:
    """The steps, in their order; each raises AssertionError, with the output of a command, if something is not as it must be."""

    def __init__(self, folder: Path, services: Services) -> None:
        self.folder, self.services = folder, services
        self.database, self.url = "", ""

    def start_servers(self) -> None:
        self.database = self.services.start_postgres()
        TeamClone.variables = self.services.start_s3()
        self.url = self.services.start_mlflow(self.database, TeamClone.variables)
        TeamClone.variables |= {"MLFLOW_TRACKING_URI": self.url}
        os.environ |= TeamClone.variables

    def reproduce_pipeline(self) -> None:
        self.clone = TeamClone(self.folder / "first")
        (self.clone.folder / "studies/two.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
        endpoint = TeamClone.variables["AWS_ENDPOINT_URL"]
        self.clone.run(f"dvc remote add -q -d s3 s3://dvc/lesions && dvc remote modify -q s3 endpointurl {endpoint}")
        self.clone.run(
            f"git init -q --bare -b main {self.folder}/origin.git && git remote add origin {self.folder}/origin.git"
        )
        self.clone.run("git add -A && git commit -q -m 'A remote and a study' && dvc repro")
        self.clone.run(
            "git add -A && git commit -q -m 'First run' && git push -q origin main && dvc push -q --run-cache"
        )
        (run,) = self.find_runs()
        assert run.info.artifact_uri.startswith("mlflow-artifacts:"), run.info.artifact_uri
        assert {each.path for each in self.client.list_artifacts(run.info.run_id)} >= {"outs", "report.html"}

    def run_experiment(self) -> None:
        self.clone.run("dvc exp run -n jaccard -S loss=jaccard")
        self.clone.run("git checkout -q . && dvc checkout -q && dvc exp push -q origin jaccard --run-cache")

    def run_queue(self) -> None:
        for loss in ("focal", "bce"):
            self.clone.run(f"dvc exp run --queue -n {loss} -S loss={loss}")
        self.clone.run("dvc queue start -j 1")
        self.clone.wait_for_experiments("focal", "bce")
        self.clone.run("dvc queue stop")
        assert len(self.find_runs()) == 4

    def run_study(self) -> None:
        output = self.clone.run("losslab study run two --jobs 2")
        assert "two: 4 of 4 done" in output, output
        assert len(self.find_runs()) >= 8
        self.clone.run("losslab compare two && dvc exp push -q origin --all-commits")

    def register_and_serve(self) -> None:
        self.clone.run("losslab register jaccard --name lesions --alias champion")
        self.clone.run("losslab predict data/raw/tiny/fetched/test/images -o masks --model models:/lesions@champion")
        shutil.rmtree(self.clone.folder / "masks")
        (version,) = self.client.search_model_versions("name='lesions'")
        port = find_port()
        url = f"http://127.0.0.1:{port}"
        options = [
            "-m",
            f"models:/lesions/{version.version}",
            "--env-manager",
            "local",
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
        ]
        self.services.start(
            "served", [PROGRAMS / "mlflow", "models", "serve", *options], lambda: answers(f"{url}/ping"), PYTHONPATH=""
        )
        raw = (self.clone.folder / "data/raw/tiny/fetched").rglob("*")
        image = next(path for path in sorted(raw) if path.suffix == ".bmp").read_bytes()
        rows = {"dataframe_records": [{"image": base64.b64encode(image).decode()}], "params": {"masks": "png"}}
        request = Request(f"{url}/invocations", json.dumps(rows).encode(), {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            (mask,) = json.load(answer)["predictions"]
        assert base64.b64decode(mask).startswith(b"\x89PNG")

    def work_elsewhere(self) -> None:
        """Another member of the team clones the repository: data, outs and experiments come from S3, and no stage runs."""
        other = self.folder / "second"
        self.clone.run(f"git clone -q {self.folder}/origin.git {other}")
        self.other = TeamClone.open(other)
        self.other.run("git config user.name t && git config user.email t@t && dvc pull --run-cache")
        assert stages_run(self.other.run("dvc repro")) == []
        self.other.run("dvc exp pull origin jaccard")
        before = len(self.find_runs())
        self.other.run("losslab sync")
        assert len(self.find_runs()) == before, "the server has all runs"
        assert "identical" in self.other.run("losslab verify jaccard")
        self.other.run("losslab reproduce jaccard")
        assert self.other.outs()["models/model.safetensors"] != self.clone.outs()["models/model.safetensors"]

    def run_on_ray(self) -> None:
        """A study on two nodes, of which one is killed while it trains."""
        address, node = self.services.start_ray(self.clone.environment)
        study = STUDY | {
            "title": "On Ray",
            "seeds": [5, 6],
            "params": STUDY["params"] | {"train": {"epochs": 40, "device": "cpu"}},
        }
        (self.clone.folder / "studies/ray.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
        self.clone.run("git add -A && git commit -q -m 'A study for Ray'")
        killed = Killer(self.services.folder / "node", node.pid)
        output = killed.watch(
            lambda: self.clone.run(f"losslab study run ray --engine ray --address {address} --jobs 2")
        )
        assert killed.is_done and "ray: 4 of 4 done" in output, output
        assert len(output.splitlines()) < 15, output
        self.clone.run("losslab compare ray")

    def store_in_database(self) -> None:
        """MLflow without a server: PostgreSQL's URI directly. Artifacts then lie in the repository, not in a study's clone."""
        study = STUDY | {"title": "Direct", "seeds": [7], "grid": {"loss": ["dice"]}}
        (self.clone.folder / "studies/direct.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
        self.clone.run("git add -A && git commit -q -m 'A study without a server'")
        uri = self.services.create_database("direct")
        self.clone.run("losslab study run direct", MLFLOW_TRACKING_URI=uri)
        client = MlflowClient(uri)
        runs = client.search_runs([each.experiment_id for each in client.search_experiments()], FINISHED)
        run = next(each for each in runs if each.data.tags.get("dvc.experiment") == "direct-dice-s7")
        assert {each.path for each in client.list_artifacts(run.info.run_id)} >= {"outs", "report.html"}, (
            run.info.artifact_uri
        )

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.url)

    def find_runs(self) -> list[Any]:
        experiments = [each.experiment_id for each in self.client.search_experiments()]
        return list(self.client.search_runs(experiments, FINISHED))


class Killer:
    """Kills a node of a cluster once a run trains on it."""

    def __init__(self, folder: Path, leader: int) -> None:
        self.folder, self.leader, self.is_done = folder, leader, False

    def watch(self, work: Callable[[], str]) -> str:
        """Do the work, and meanwhile kill the node when it has begun an epoch; return what the work returns."""
        is_over = Event()

        def kill() -> None:
            while not self.is_done and not is_over.wait(0.1):
                logs = [log.read_text(errors="replace") for log in self.folder.glob("losslab-ray-*/*/log")]
                if any("\nepoch 2/" in text for text in logs):
                    os.killpg(self.leader, signal.SIGKILL)
                    self.is_done = True

        thread = Thread(target=kill, daemon=True)
        thread.start()
        try:
            return work()
        finally:
            is_over.set()
            thread.join()


def run_steps(steps: Sequence[Callable[[], None]], folder: Path) -> bool:
    """Do the steps, and print the seconds of each; return whether all went well. The first that fails is the last."""
    for step in steps:
        start = time.monotonic()
        try:
            step()
        except Exception as error:
            print(f"{step.__name__}: FAILED after {time.monotonic() - start:.1f} s; logs in {folder}\n{error}")
            return False
        print(f"{step.__name__:20} {time.monotonic() - start:6.1f} s", flush=True)
    return True


def main(names: list[str]) -> int:
    """Do all steps, or the first two and those that are named."""
    folder = Path(tempfile.mkdtemp(prefix="losslab-servers-"))
    folder.chmod(0o755)  # PostgreSQL runs as another user
    services = Services(folder)
    walk = Walk(folder, services)
    first = [walk.start_servers, walk.reproduce_pipeline]
    more = [walk.run_experiment, walk.run_queue, walk.run_study, walk.register_and_serve, walk.work_elsewhere]
    more += [walk.store_in_database, walk.run_on_ray]
    try:
        went_well = run_steps([*first, *(step for step in more if not names or step.__name__ in names)], folder)
    finally:
        services.close()
    if went_well:
        shutil.rmtree(folder)
    return int(not went_well)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
