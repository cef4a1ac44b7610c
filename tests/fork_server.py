"""The fork server of a test run: tests of the pipeline start hundreds of processes, whose imports would take most of the time.

Tests of what processes themselves do when others are killed run real ones.
"""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from losslab.runtime.fork_server import ForkServer


def start_server() -> Path:
    """Give the folder of the commands; the first caller of a test run starts the server, which ends with that run."""
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    folder = Path(tempfile.gettempdir(), f"losslab-fork-server-{owner}")
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            assert ForkServer(folder, owner).wait_until_ready(), "the fork server ended before it was ready"
    return folder


def find_forks(name: str, folder: Path) -> list[int]:
    """Find the processes that a server has forked for `worker`, `dvc` or a script, and that work in a folder or below it."""
    pids = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):  # not a process, or gone, or another user's
            if (process / "cwd").readlink().is_relative_to(folder) and (process / "comm").read_text() == f"{name}\n":
                pids.append(int(process.name))
    return pids
