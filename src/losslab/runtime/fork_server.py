"""Commands that start at once: `python`, `dvc` and `losslab` as forks of one process that has imported the libraries.

The imports of torch, Lightning, MLflow and DVC take seconds of every process, and a run has eight. A `ForkServer`
imports them once, and nothing of losslab: each command imports that from its own clone. Its folder is to come first in PATH;
each command in it has its caller's folder, environment, streams and locks. Whoever kills a command kills its fork, and a command
ends with its caller. All forks are in the process group of the server, and end when the server or its owner does. `top`
shows them as `worker`, `dvc`, `train`, ….

This file runs as a script, so it must not import losslab.
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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, cast

PRELOADED = (
    "albumentations",
    "alembic.command",
    "dvc.cachemgr",
    "dvc.cli.parser",
    "dvc.commands.experiments.run",
    "dvc.data_cloud",
    "dvc.dirs",
    "dvc.repo.artifacts",
    "dvc.repo.datasets",
    "dvc.repo.experiments.executor.local",
    "dvc.repo.experiments.queue.tempdir",
    "dvc.repo.graph",
    "dvc.repo.open_repo",
    "dvc.repo.plots",
    "dvc.repo.reproduce",
    "dvc.utils.strictyaml",
    "email.policy",
    "imagecodecs.imagecodecs",
    "jinja2",
    "lightning",
    "matplotlib.backends.backend_agg",
    "matplotlib.pyplot",
    "mlflow",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "omegaconf",
    "ruamel.yaml",
    "segmentation_models_pytorch",
    "sqlalchemy.dialects.sqlite",
    "tifffile",
    "torch",
    "torch._dynamo",
    "torchmetrics",
    "torchvision",
)
"""Modules that the commands need, none of them losslab's."""
COMMANDS = ("python", "dvc", "losslab")
UNFORKED = ("DVC_", "MLFLOW_", "GIT_", "PYTHON")
"""Prefixes of variables that the server does not take from its caller: commands bring theirs."""

MAX_STREAMS = 253
"""Open files of a command: as many as Linux sends at once."""


def is_supported() -> bool:
    """Return whether commands can be forked here: on Linux."""
    return hasattr(os, "pidfd_open") and Path("/proc/self/fd").is_dir()


def find_forker() -> Path | None:
    """Find the folder of the server that this process is a fork of; None: it is a process as others are."""
    folder = Path(sys.executable).parent
    return folder if (folder / "socket").exists() else None


class ForkedCommand:
    """A command that a server has forked, with the interface of `subprocess.Popen`.

    Args:
        server: the server's folder.
        arguments: as for Python: a script, or `-m` and a module, and its arguments.
        cwd: folder in which it runs.
        environment: its variables.
        output: descriptor of the file for what it prints.
    """

    def __init__(
        self, server: Path, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], output: int
    ) -> None:
        self.pid = int((server / "pid").read_text())
        """Leader of the process group that it is in."""
        self.returncode: int | None = None
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(str(server / "socket"))
        content = [str(server / "python"), list(arguments), str(cwd.resolve()), dict(environment), [0, 1, 2]]
        request = json.dumps(content).encode()
        with Path(os.devnull).open("rb") as nothing:
            socket.send_fds(self._connection, [len(request).to_bytes(4)], [nothing.fileno(), output, output])
        self._connection.sendall(request)
        if not (answer := self._connection.recv(4)):
            raise ConnectionResetError(f"{server}: the fork server has ended")
        self.own_pid = int.from_bytes(answer)

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""
        return self._receive(0.0)

    def wait(self) -> int:
        """Wait until it ends, and return its exit code."""
        while (code := self._receive(None)) is None:
            pass
        return code

    def _receive(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self._connection.settimeout(timeout)
            with suppress(BlockingIOError, TimeoutError):
                try:
                    answer = self._connection.recv(4)
                except ConnectionResetError:
                    answer = b""
                self.returncode = int.from_bytes(answer, signed=True) if answer else -signal.SIGKILL
                self._connection.close()
        return self.returncode


class ForkServer:
    """A process that forks commands, and ends with its owner.

    Args:
        folder: the folder that it makes once it is ready, with the commands to put first in PATH.
        owner: the process whose end ends it.
        threads: `OMP_NUM_THREADS` of its commands, which may set another; None: that is left to torch.
        parent: a server to be forked from, whose imports are there already; it has a process group of its own all the same.
            None: the one that this process is a fork of, if it is one.
    """

    def __init__(
        self, folder: Path, owner: int, threads: str | None = None, parent: "ForkServer | None" = None
    ) -> None:
        self.folder = folder
        environment = {key: value for key, value in os.environ.items() if not key.startswith((*UNFORKED, "OMP_NUM"))}
        environment = {
            "OMP_WAIT_POLICY": "PASSIVE",
            "GOMP_SPINCOUNT": "0",
            "NO_ALBUMENTATIONS_UPDATE": "1",
        } | environment
        environment |= {"OMP_NUM_THREADS": threads} if threads else {}
        arguments = [__file__, str(folder), str(owner)]
        self._process: subprocess.Popen[bytes] | ForkedCommand
        forker = parent.folder if parent is not None and parent.wait_until_ready() else find_forker()
        with Path(os.devnull).open("r+b") as nothing:
            if forker is not None:
                self._process = ForkedCommand(forker, arguments, folder.parent, environment, nothing.fileno())
            else:
                self._process = subprocess.Popen(
                    [sys.executable, *arguments],
                    env=environment,
                    stdin=nothing,
                    stdout=nothing,
                    stderr=nothing,
                    start_new_session=True,
                )

    @property
    def pid(self) -> int:
        """Leader of the process group of the server and its commands."""
        return self._process.own_pid if isinstance(self._process, ForkedCommand) else self._process.pid

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""
        return self._process.poll()

    def wait_until_ready(self) -> bool:
        """Wait until it takes requests, and return whether it does; it may have ended."""
        while not self.folder.exists():
            if self.poll() is not None:
                return False
            time.sleep(0.02)
        return self.poll() is None

    def start(self, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], output: int) -> ForkedCommand:
        """Start a command; the arguments are those of `ForkedCommand`."""
        return ForkedCommand(self.folder, arguments, cwd, environment, output)


@dataclass(frozen=True)
class Request:
    """A command, the Python that it starts others with, where it runs, and its open files by their numbers."""

    python: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    streams: dict[int, int]

    @classmethod
    def read(cls, connection: socket.socket) -> "Request":
        size, received, _, _ = socket.recv_fds(connection, 4, MAX_STREAMS)
        with connection.makefile("rb") as file:
            python, arguments, folder, environment, numbers = json.loads(file.read(int.from_bytes(size)))
        return cls(python, arguments, folder, environment, dict(zip(numbers, received, strict=True)))

    def run(self) -> NoReturn:
        """Become the process that the caller asked for, and end without the seconds that libraries take to unload."""
        _move_streams(self.streams)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        sys.executable = self.python  # for the processes that this one starts
        os.chdir(self.folder)
        imported_with = os.environ.get("OMP_NUM_THREADS")
        os.environ.clear()
        os.environ.update(self.environment)
        program, *arguments = self.arguments
        module = arguments.pop(0) if program == "-m" else None
        sys.argv = [program, *arguments]
        Path("/proc/self/comm").write_text(Path(program).stem if module is None else module.rpartition(".")[2])
        paths = filter(None, self.environment.get("PYTHONPATH", "").split(os.pathsep))
        sys.path[:0] = [self.folder if module else str(Path(program).resolve().parent), *paths]
        if (wanted := self.environment.get("OMP_NUM_THREADS")) != imported_with:
            _set_threads((wanted or "").partition(",")[0].strip())
        code = 0
        try:
            if module:
                runpy.run_module(module, run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(program, run_name="__main__")
        except SystemExit as exit_request:
            code = exit_request.code if isinstance(exit_request.code, int) else int(exit_request.code is not None)
            if exit_request.code not in (None, code):
                sys.stderr.write(f"{exit_request.code}\n")
        except BaseException:
            traceback.print_exc()
            code = 1
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        with suppress(BrokenPipeError):
            sys.stdout.flush()
        os._exit(code)


def _set_threads(wanted: str) -> None:
    """Set the number of threads as torch does where it finds `OMP_NUM_THREADS` at import; MKL takes no more than cores."""
    import torch

    if wanted.isdecimal() and int(wanted) > 0:
        has_mkl = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
        limit = torch.get_num_threads() if has_mkl else int(wanted)
        torch.set_num_threads(min(int(wanted), limit))


def _move_streams(streams: dict[int, int]) -> None:
    """Give open files the numbers that they have in the caller."""
    above = max(*streams, *streams.values(), 2) + 1
    moved = {}
    for number, received in streams.items():
        while True:  # beyond all numbers that are wanted
            copy = os.dup(received)
            if copy >= above:
                break
            moved[-copy - 1] = copy
        moved[number] = copy
        os.close(received)
    for number, copy in moved.items():
        if number >= 0:
            os.dup2(copy, number, inheritable=True)
        os.close(copy)


def serve(folder: Path, owner: int) -> Request | None:
    """Fork for each request until the owner has ended, or SIGINT or SIGTERM comes; the forked process gets its request."""
    made = Path(tempfile.mkdtemp(dir=folder.parent))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(made / "socket"))
    listener.listen(64)
    command = Path(__file__).with_name("forked_command.py").read_text(encoding="utf-8")
    for name in COMMANDS:
        (made / name).write_text(f"#!{sys.executable} -IS\n{command}", encoding="utf-8")
        (made / name).chmod(0o755)
    subprocess.run([made / "python", "--version"], check=True)  # folders may forbid programs, and paths have spaces
    (made / "pid").write_text(str(os.getpid()))
    told, tell = os.pipe()
    for number in (signal.SIGINT, signal.SIGTERM):  # the commands get it too, as they are of the same group
        signal.signal(number, lambda *_: os.write(tell, b"!"))
    selector = selectors.DefaultSelector()
    ended = os.pidfd_open(owner)
    for readable in (listener, ended, told):
        selector.register(readable, selectors.EVENT_READ)
    made.rename(folder)
    is_ending, running = False, dict[int, socket.socket]()
    try:
        while running or not is_ending:
            for key, _ in selector.select():
                if key.fd == ended:
                    return None
                if key.fd == told:
                    os.read(told, 1)
                    is_ending = True
                elif key.fileobj is listener:
                    connection, _ = listener.accept()
                    try:
                        request = Request.read(connection)
                    except (OSError, ValueError):  # the caller was killed
                        connection.close()
                        continue
                    pid = os.fork()
                    if pid == 0:  # what is open here must close with the server, and not with this process
                        for other in (connection, *(key.fileobj for key in selector.get_map().values())):
                            os.close(other.detach() if isinstance(other, socket.socket) else cast(int, other))
                        os.close(tell)
                        selector.close()
                        return request
                    for stream in request.streams.values():
                        os.close(stream)
                    with suppress(OSError):  # the caller was killed
                        connection.sendall(pid.to_bytes(4))
                    running[pid] = connection
                    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
                    selector.register(connection, selectors.EVENT_READ, pid)
                elif isinstance(key.fileobj, socket.socket):  # the caller was killed
                    if key.data in running:  # else its fork has ended too, and was dealt with a moment ago
                        selector.unregister(key.fileobj)
                        os.kill(key.data, signal.SIGKILL)
                else:
                    pid, connection = key.data, running.pop(key.data)
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    if connection in selector.get_map():
                        selector.unregister(connection)
                        with suppress(OSError):
                            connection.sendall(code.to_bytes(4, signed=True))
                    connection.close()
        return None
    finally:
        if selector.get_map() is not None:  # in the server itself
            shutil.rmtree(folder, ignore_errors=True)


def _survives_fork() -> bool:
    """Return whether a fork can compute: CUDA is then unused as yet, not even asked for its devices."""
    import torch

    pid = os.fork()
    if pid == 0:
        os._exit(int(torch.cuda._is_in_bad_fork()))
    return os.waitpid(pid, 0)[1] == 0 and threading.active_count() == 1


def main() -> None:
    folder, owner = Path(sys.argv[1]), int(sys.argv[2])
    with suppress(PermissionError):  # it leads a session already
        os.setsid()
    del sys.path[0]  # the folder of this file, whose modules are losslab's
    for module in PRELOADED:
        importlib.import_module(module)
    if not _survives_fork():
        sys.exit("CUDA and threads do not survive a fork; an import has started one")
    gc.freeze()
    if request := serve(folder, owner):
        request.run()
    with suppress(ProcessLookupError):
        os.killpg(os.getpid(), signal.SIGKILL)  # whatever is left


if __name__ == "__main__":
    main()
