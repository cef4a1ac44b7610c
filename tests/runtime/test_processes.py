"""No process outlives the one that started it, and groups end whole."""

import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest

from losslab.runtime import processes
from losslab.runtime.processes import end_groups, is_main_process, signal_group

SLEEP = "import time; time.sleep(60)"


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until_gone(*pids: int) -> None:
    deadline = time.monotonic() + 30
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see processes of other parents")
@pytest.mark.parametrize("has_shell", [False, True])
@pytest.mark.parametrize("kill_group", [False, True])
def test_child_dies_with_its_parent(kill_group: bool, has_shell: bool, tmp_path: Path) -> None:
    """A parent starts a child, perhaps through a shell that outlives it, which starts a grandchild in its group."""
    (tmp_path / "child.py").write_text(
        "import os, subprocess, sys, time\n"
        "from losslab.runtime.processes import die_with_parent\n"
        f"grandchild = subprocess.Popen([sys.executable, '-c', {SLEEP!r}])\n"
        f"die_with_parent(os.getppid(), kill_group={kill_group})\n"
        "print(os.getpid(), os.getpgrp(), grandchild.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "child.py"]
    command = ["/bin/sh", "-c", f"{shlex.join(command)}; true"] if has_shell else command
    parent_code = f"import subprocess; subprocess.run({command}, start_new_session=True)"
    parent = subprocess.Popen([sys.executable, "-c", parent_code], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid, group, grandchild = map(int, parent.stdout.readline().split())
    try:
        time.sleep(0.5)
        assert is_alive(pid), "not before its parent"
        parent.kill()
        parent.wait()
        wait_until_gone(*([pid, grandchild] if kill_group else [pid]))
        assert is_alive(grandchild) != kill_group
    finally:
        signal_group(group, signal.SIGKILL)
        parent.stdout.close()


def start_group(on_interrupt: str) -> "subprocess.Popen[bytes]":
    code = (
        f"import signal, time; signal.signal(signal.SIGINT, signal.{on_interrupt}); print(flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert process.stdout is not None and process.stdout.readline()
    process.stdout.close()
    return process


def test_group_is_interrupted_and_then_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_S", 1.0)
    started = [start_group("SIG_DFL"), start_group("SIG_IGN")]
    end_groups(started)
    assert [process.wait(5) for process in started] == [-signal.SIGINT, -signal.SIGKILL]
    end_groups(started)  # gone already: no error


def test_group_is_killed_at_once_at_a_second_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(leader: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "_is_group_alive", interrupt)
    stubborn = start_group("SIG_IGN")
    end_groups([stubborn])
    assert stubborn.wait(5) == -signal.SIGKILL


def test_main_process_is_the_first_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_main_process()
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.setenv(name, "0")
        assert is_main_process()
        monkeypatch.setenv(name, "1")
        assert not is_main_process()
        monkeypatch.delenv(name)
