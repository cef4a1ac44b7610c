"""The processes of a run: which one writes, and that they end together, a child with its parent and a group as one."""

import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from losslab.runtime.forked_command import Callers

GRACE_S = 5.0
"""Seconds an interrupted process has to end by itself; a stage tells MLflow meanwhile."""


def is_main_process() -> bool:
    """Return whether this process writes files: the only one, or the first of torchrun, SLURM or Lightning."""
    return all(int(os.environ.get(name, "0")) == 0 for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def die_with_parent(parent: int, kill_group: bool = False) -> None:
    """End this process, or its group, once its parent is gone, so that it does not write beside a successor.

    So does the end of the DVC that started the parent, if that is a shell.
    """
    callers = Callers()

    def watch() -> None:
        while callers.parent == parent and callers.are_there():
            time.sleep(0.05)
        if kill_group:
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def signal_group(leader: int, number: int) -> None:
    """Send a signal to a process group; do nothing if it is gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


class GroupLeader(Protocol):
    """A process whose id is that of its group."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...


def end_groups(leaders: Sequence[GroupLeader]) -> None:
    """Interrupt the process groups of these leaders, and kill those that are still there after `GRACE_S`, or at Ctrl+C."""
    for number in (signal.SIGINT, signal.SIGKILL):
        for leader in leaders:
            signal_group(leader.pid, number)
        deadline = time.monotonic() + GRACE_S
        with suppress(KeyboardInterrupt):  # a second one: do not wait
            while any(_is_group_alive(leader) for leader in leaders) and time.monotonic() < deadline:
                time.sleep(0.1)


def _is_group_alive(leader: GroupLeader) -> bool:
    leader.poll()  # a zombie would keep its group alive
    try:
        os.killpg(leader.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
