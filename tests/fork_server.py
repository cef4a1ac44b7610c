"""Commands that start at once: `python`, `dvc` and `losslab` as forks of one process that has imported the libraries.

The imports of torch, Lightning, MLflow and DVC take seconds of every process, and the tests of the pipeline start
hundreds. `start_server` gives a folder to put first in PATH; each command in it has its caller's folder, environment and
streams, and imports losslab itself, from the clone that it runs in. Whoever kills a command kills its fork. Tests of what
processes themselves do when others are killed run real ones.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from filelock import FileLock

PRELOADED = (
    "albumentations",
    "dvc.cli.parser",
    "dvc.commands.experiments.run",
    "dvc.repo.experiments.executor.local",
    "dvc.repo.experiments.queue.tempdir",
    "dvc.repo.reproduce",
    "lightning",
    "matplotlib.pyplot",
    "mlflow",
    "mlflow.store.tracking.sqlalchemy_store",
    "torch",
    "torch._dynamo",
    "torchvision",
)
"""Modules that the commands need, none of them losslab's."""

COMMAND = """#!{real_python} -IS
import array, json, os, socket, sys
arguments = [{real!r}, *sys.argv[1:]]
if os.path.basename(arguments[0]) == "python":
    if not arguments[1:] or not (arguments[1] == "-m" or arguments[1].endswith(".py")):
        os.execv(arguments[0], arguments)
    del arguments[0]
connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
request = json.dumps([{python!r}, arguments, os.getcwd(), dict(os.environ)]).encode()
connection.sendmsg([len(request).to_bytes(4)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
connection.sendall(request)
code = int.from_bytes(connection.recv(4), signed=True)
if code < 0:
    os.kill(os.getpid(), -code)
os._exit(code)
"""


def start_server() -> Path:
    """Give the folder of the commands; the first caller of a test run starts the server, which ends with that run."""
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    folder = Path(tempfile.gettempdir(), f"losslab-fork-server-{owner}")
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            left_out = ("DVC_", "MLFLOW_", "GIT_", "OMP_", "PYTHON")
            environment = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
            process = subprocess.Popen(
                [sys.executable, __file__, str(folder), str(owner)],
                env=environment | {"OMP_WAIT_POLICY": "PASSIVE"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            while not folder.exists():
                assert process.poll() is None, "the fork server ended before it was ready"
                time.sleep(0.05)
    return folder


@dataclass(frozen=True)
class Request:
    """A command, the Python that it starts others with, where it runs, and its standard streams."""

    python: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    streams: list[int]

    @classmethod
    def read(cls, connection: socket.socket) -> "Request":
        size, streams, _, _ = socket.recv_fds(connection, 4, 3)
        with connection.makefile("rb") as file:
            python, arguments, folder, environment = json.loads(file.read(int.from_bytes(size)))
        return cls(python, arguments, folder, environment, streams)

    def run(self) -> NoReturn:
        """Become the process that the caller asked for, and end without the seconds that libraries take to unload."""
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
            os.close(stream)
        sys.executable = self.python  # for the processes that this one starts
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        program, *arguments = self.arguments
        module = arguments.pop(0) if program == "-m" else None
        sys.argv = [program, *arguments]
        paths = filter(None, self.environment.get("PYTHONPATH", "").split(os.pathsep))
        sys.path[:1] = [self.folder if module else str(Path(program).resolve().parent), *paths]
        if threads := self.environment.get("OMP_NUM_THREADS"):
            torch.set_num_threads(int(threads))
        code = 0
        try:
            if module:
                runpy.run_module(module, run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(program, run_name="__main__")
        except SystemExit as exit_request:
            code = exit_request.code if isinstance(exit_request.code, int) else int(exit_request.code is not None)
        except BaseException:
            traceback.print_exc()
            code = 1
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        with suppress(BrokenPipeError):
            sys.stdout.flush()
        os._exit(code)


def serve(folder: Path, owner: int) -> Request | None:
    """Fork for each request until the owner of the test run has ended; the forked process gets its request."""
    made = Path(tempfile.mkdtemp(dir=folder.parent))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(made / "socket"))
    listener.listen(64)
    for name in ("python", "dvc", "losslab"):
        command = COMMAND.format(
            real_python=sys.executable,
            real=str(Path(sys.executable).with_name(name)),
            python=str(folder / "python"),
            address=str(folder / "socket"),
        )
        (made / name).write_text(command)
        (made / name).chmod(0o755)
    made.rename(folder)
    selector = selectors.DefaultSelector()
    ended = os.pidfd_open(owner)
    selector.register(listener, selectors.EVENT_READ)
    selector.register(ended, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fd == ended:
                shutil.rmtree(folder)
                Path(f"{folder}.lock").unlink(missing_ok=True)
                return None
            if key.fileobj is listener:
                connection, _ = listener.accept()
                request = Request.read(connection)
                pid = os.fork()
                if pid == 0:
                    selector.close()
                    return request
                for stream in request.streams:
                    os.close(stream)
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))
                selector.register(connection, selectors.EVENT_READ, (pid, connection))
            elif key.fileobj is key.data[1]:  # the caller was killed
                selector.unregister(key.fileobj)
                os.kill(key.data[0], signal.SIGKILL)
            else:
                pid, connection = key.data
                selector.unregister(key.fd)
                os.close(key.fd)
                if connection in selector.get_map():
                    selector.unregister(connection)
                    connection.sendall(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]).to_bytes(4, signed=True))
                connection.close()


if __name__ == "__main__":
    for module in PRELOADED:
        importlib.import_module(module)
    gc.freeze()
    if request := serve(Path(sys.argv[1]), int(sys.argv[2])):
        request.run()
