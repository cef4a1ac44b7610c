"""MLflow's pages, opened on the runs: as table, grouped by the cells of studies, with the mean over seeds."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from losslab.errors import InputError, mask_credentials
from losslab.formats import format_line
from losslab.io.files import make_folder, open_private
from losslab.runtime.processes import end_groups
from losslab.tracking.store import TrackingStore, describe_store, read_uri, store_errors, store_exists
from losslab.tracking.studies import STUDY

HOST, LOG = "127.0.0.1", Path(".losslab/ui.log")
START_TIMEOUT_S = 60.0
"""Seconds that MLflow's server has to start."""
VIEW = "losslab"
"""Name of the view that is opened; MLflow keeps it as a tag of the experiment."""
TRAINING = "workflowType=machine_learning"
"""Query by which MLflow shows runs and models; else it shows traces of language models."""
COLUMNS = {
    "attributes.`Run Name`": 320,
    "attributes.`Date`": 140,
    "metrics.`test/miou`": 160,
    "metrics.`best_val/miou`": 160,
    "params.`loss`": 130,
    "params.`arch`": 100,
    "params.`seed`": 70,
    "attributes.`Duration`": 90,
}
"""Columns of the table in their order, by MLflow's names, with their widths in pixels."""


def choose_page(root: Path) -> str:
    """Choose the page to open, and return the end of its address: the table of the experiment with the newest run.

    Raises InputError if there is no store, or it cannot be used.
    """
    if not store_exists(root):
        raise InputError(f"{describe_store()} has no runs yet; `dvc repro` makes one")
    with store_errors():
        client = TrackingStore(root).client
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        newest = client.search_runs(experiments, max_results=1, order_by=["attributes.start_time DESC"])
        if not newest:
            return f"/#/experiments?{TRAINING}"
        experiment = client.get_experiment(newest[0].info.experiment_id)
        studies = client.search_runs([experiment.experiment_id], f"tags.`{STUDY}` != ''", max_results=1)
        tag, view = f"mlflow.sharedViewState.{VIEW}", _build_view(grouped=bool(studies))
        if experiment.tags.get(tag) != view:
            client.set_experiment_tag(experiment.experiment_id, tag, view)
        # %4B is K: what comes after "key=" is printed as ***, as if it were a password.
        return f"/#/experiments/{experiment.experiment_id}/runs?{TRAINING}&viewStateShare%4Bey={VIEW}"


def find_server() -> str | None:
    """Return the address of the server that the runs go to, without a password; None if they go to a database."""
    uri = read_uri()
    if not uri.startswith("http"):
        return None
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def serve(root: Path, port: int | None, show: Callable[[str], None]) -> None:
    """Serve MLflow's pages on the store, to this machine alone, until an interrupt.

    Args:
        port: the port, or None for any that is free. InputError: it is taken, or the server does not start.
        show: called with the address when the server answers.
    """
    try:
        with socket.create_server((HOST, port or 0)) as free:
            port = int(free.getsockname()[1])
    except OSError:
        raise InputError(f"--port {port}: it is taken; choose another, or leave it out") from None
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    # By the environment, as everybody can read the arguments of a process.
    environment = os.environ | {"MLFLOW_BACKEND_STORE_URI": read_uri(root), "MLFLOW_DISABLE_TELEMETRY": "true"}
    make_folder((root / LOG).parent)
    with open_private(root / LOG) as log:
        server = subprocess.Popen(
            command, cwd=root, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        address = f"http://{HOST}:{port}"
        if not _wait_for(server, f"{address}/health"):
            lines = (root / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
            reason = next((line for line in reversed(lines) if line.strip()), "it does not answer")
            raise InputError(f"MLflow did not start: {format_line(mask_credentials(reason.strip()))[:200]} (see {LOG})")
        show(address)
        server.wait()
    finally:
        end_groups([server])


def _wait_for(server: "subprocess.Popen[bytes]", url: str) -> bool:
    """Wait until a server answers, and return whether it does."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(url, timeout=1):
            return True
        time.sleep(0.2)
    return False


def _build_view(grouped: bool) -> str:
    """Build the state of MLflow's table, as its Share button would."""
    keys = [{"mode": "tag", "groupByData": tag} for tag in ("study", "cell")]
    state = {
        "groupBy": {"aggregateFunction": "average", "groupByKeys": keys} if grouped else None,
        "orderByKey": "metrics.`test/miou`" if grouped else "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": [*COLUMNS][2:],
        "columnOrder": [*COLUMNS],
        "columnWidths": COLUMNS,
    }
    return json.dumps(state)
