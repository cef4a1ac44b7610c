"""Servers of a team, on loopback and in temporary folders: PostgreSQL, S3 (moto's), an MLflow server, a Ray cluster."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

PATIENCE_S = 120.0
"""Seconds that a server has to answer."""
PLACES = Path("/usr/lib/postgresql")
"""Debian's folder of PostgreSQL's versions."""
PROGRAMS = Path(sys.executable).parent


class ServiceError(Exception):
    """A server is not installed, or does not start."""


def find_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_postgres() -> Path:
    """Find the folder of PostgreSQL's programs. Raises ServiceError if it is not installed."""
    folders = sorted(PLACES.glob("*/bin"), reverse=True)
    if on_path := shutil.which("initdb"):
        folders.append(Path(on_path).parent)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise ServiceError("PostgreSQL is not installed: apt install postgresql, or brew install postgresql")


class Services:
    """Starts servers, each with a log in a folder, and ends them all."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stack = folder, ExitStack()
        self.databases = ""
        """Beginning of the URIs of PostgreSQL's databases."""

    def close(self) -> None:
        self.stack.close()

    def start(
        self, name: str, command: Sequence[str | Path], is_up: Callable[[], bool], user: str | None = None, **more: str
    ) -> "subprocess.Popen[bytes]":
        """Start a server, and wait until it answers.

        Args:
            more: environment variables over those of this process.
        """
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=os.environ | more,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
                extra_groups=[] if user else None,
            )
        self.stack.callback(end_group, process)
        deadline = time.monotonic() + PATIENCE_S
        while not is_up():
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServiceError(f"{name} does not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        return process

    def start_postgres(self) -> str:
        """Start PostgreSQL with a password and a database, and return its URI; it refuses to run as root."""
        programs, port, password = find_postgres(), find_port(), secrets.token_hex(8)
        user = "postgres" if os.getuid() == 0 else None
        home = self.folder / "postgres"
        home.mkdir()
        (home / "password").write_text(password)
        if user:
            for path in (home, home / "password"):
                shutil.chown(path, user)
        made = subprocess.run(
            [
                programs / "initdb",
                "-D",
                home / "data",
                "-U",
                "losslab",
                "-A",
                "scram-sha-256",
                "--pwfile",
                home / "password",
            ],
            cwd=home,
            capture_output=True,
            text=True,
            user=user,
            check=False,
        )
        if made.returncode:
            raise ServiceError(f"initdb fails: {made.stderr.strip()[-500:]}")
        options = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        self.start("postgres", [programs / "postgres", "-D", home / "data", *options], lambda: accepts(port), user)
        self.databases = f"postgresql://losslab:{password}@127.0.0.1:{port}/"
        return self.create_database("mlflow")

    def create_database(self, name: str) -> str:
        """Create a database in PostgreSQL, and return its URI."""
        import psycopg

        connection = psycopg.connect(f"{self.databases}postgres", autocommit=True)
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
        connection.close()
        return f"{self.databases}{name}"

    def start_s3(self) -> dict[str, str]:
        """Start an S3 server with the buckets `dvc` and `mlflow`, and return the variables by which programs find it."""
        import boto3

        port = find_port()
        url = f"http://127.0.0.1:{port}"
        self.start("s3", [PROGRAMS / "moto_server", "-H", "127.0.0.1", "-p", str(port)], lambda: answers(url))
        keys = {"AWS_ACCESS_KEY_ID": "losslab", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(8)}
        variables = {**keys, "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": url, "MLFLOW_S3_ENDPOINT_URL": url}
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        )
        for bucket in ("dvc", "mlflow"):
            client.create_bucket(Bucket=bucket)
        return variables

    def start_mlflow(self, database: str, s3: Mapping[str, str]) -> str:
        """Start an MLflow server that keeps runs in the database and artifacts in S3, and return its URL."""
        port = find_port()
        url = f"http://127.0.0.1:{port}"
        options = ["--backend-store-uri", database, "--artifacts-destination", "s3://mlflow", "--workers", "1"]
        command: list[str | Path] = [
            PROGRAMS / "mlflow",
            "server",
            *options,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        self.start("mlflow", command, lambda: answers(f"{url}/health"), **s3)
        return url

    def start_ray(self, variables: Mapping[str, str]) -> tuple[str, "subprocess.Popen[bytes]"]:
        """Start a Ray cluster of two nodes with one CPU each; return its address, and the second node to be killed."""
        port = find_port()
        ray, more = PROGRAMS / "ray", {"RAY_USAGE_STATS_ENABLED": "0", **variables}
        options: list[str | Path] = [
            "--num-cpus",
            "1",
            "--block",
            "--disable-usage-stats",
            "--object-store-memory",
            str(100 << 20),
        ]
        head: list[str | Path] = [ray, "start", "--head", "--port", str(port), "--include-dashboard", "false", *options]
        self.start("ray-head", head, lambda: accepts(port), TMPDIR=str(self._make_node("head")), **more)
        address, joined = f"127.0.0.1:{port}", self.folder / "ray-node.log"
        node = self.start(
            "ray-node",
            [ray, "start", "--address", address, *options],
            lambda: "Ray runtime started" in joined.read_text(errors="replace"),
            TMPDIR=str(self._make_node("node")),
            **more,
        )
        return address, node

    def _make_node(self, name: str) -> Path:
        """Make the temporary folder of a node: nodes of one machine would share losslab's."""
        folder = self.folder / name
        folder.mkdir()
        return folder


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, number)
            process.wait(5)


def accepts(port: int) -> bool:
    """Return whether somebody listens at a port of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def answers(url: str) -> bool:
    """Return whether a server answers a request without an error."""
    try:
        with urlopen(url, timeout=2):
            return True
    except (URLError, OSError):
        return False
