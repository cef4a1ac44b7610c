"""Commands of the fork server do what new processes do; tests/pipeline and tests/study have whole runs of them."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from losslab.runtime import fork_server
from losslab.runtime.fork_server import ForkedCommand, is_supported
from tests.fork_server import find_forks, start_server

pytestmark = pytest.mark.skipif(not is_supported(), reason="commands are forked on Linux alone")
ABOUT = """import os, sys

print(os.getcwd(), os.environ["WHO"], sys.argv, os.path.basename(sys.path[0]), __name__, sys.stdin.read())
print("to stderr", file=sys.stderr)
os.write(int(sys.argv[1]), b"to another file")
sys.exit(3)
"""
SLEEP = "import time; from pathlib import Path; Path('begun').touch(); time.sleep(100)"
SHELL = ("/bin/sh", "-c")
COUNT = "import torch; print(torch.get_num_threads(), torch.cuda.is_initialized())"


def wait_until(moment: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not moment():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_fork_has_its_callers_folder_variables_streams_and_exit_code(tmp_path: Path) -> None:
    (tmp_path / "about.py").write_text(ABOUT)
    outcomes = []
    for python in (sys.executable, start_server() / "python"):
        with (tmp_path / "other").open("w+") as other:
            done = subprocess.run(
                [python, "about.py", str(other.fileno()), "x"],
                cwd=tmp_path,
                env=os.environ | {"WHO": "me"},
                input="hello",
                capture_output=True,
                text=True,
                pass_fds=[other.fileno()],
                check=False,
            )
            other.seek(0)
            outcomes.append((done.stdout, done.stderr, done.returncode, other.read()))
    assert outcomes[0] == outcomes[1] and outcomes[0][1:] == ("to stderr\n", 3, "to another file")


@pytest.mark.parametrize("killed", [signal.SIGKILL, signal.SIGTERM])
def test_caller_learns_of_the_signal_that_ended_its_fork(killed: int, tmp_path: Path) -> None:
    (tmp_path / "sleep.py").write_text(SLEEP)
    process = subprocess.Popen([start_server() / "python", "sleep.py"], cwd=tmp_path)
    wait_until((tmp_path / "begun").exists)
    (pid,) = find_forks("sleep", tmp_path)
    os.kill(pid, killed)
    assert process.wait(60) == -killed


def is_in_state(pid: int, state: str) -> bool:
    return f") {state} " in Path(f"/proc/{pid}/stat").read_text()


def start_own_server(tmp_path: Path) -> tuple[ForkedCommand, Path, int]:
    """Start a server for one test; return it, its folder and its process."""
    folder = tmp_path / "server"
    with Path(os.devnull).open("w") as nothing:
        arguments = [fork_server.__file__, str(folder), str(os.getpid())]
        server = ForkedCommand(start_server(), arguments, tmp_path, os.environ, nothing.fileno())
    wait_until(folder.exists)
    return server, folder, int((folder / "pid").read_text())


def test_server_outlives_a_caller_and_its_fork_that_end_at_once(tmp_path: Path) -> None:
    (tmp_path / "sleep.py").write_text(SLEEP)
    (tmp_path / "end.py").write_text("raise SystemExit('the end')")
    server, folder, leader = start_own_server(tmp_path)
    process = subprocess.Popen([folder / "python", "sleep.py"], cwd=tmp_path)
    wait_until((tmp_path / "begun").exists)
    (fork,) = find_forks("sleep", tmp_path)
    for pid, number, state in ((leader, signal.SIGSTOP, "T"), (fork, signal.SIGKILL, "Z")):
        os.kill(pid, number)
        wait_until(partial(is_in_state, pid, state))
    process.kill()
    process.wait()
    os.kill(leader, signal.SIGCONT)
    time.sleep(0.2)
    assert server.poll() is None
    done = subprocess.run([folder / "python", "end.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "the end\n")
    os.killpg(leader, signal.SIGKILL)
    assert server.wait() == -signal.SIGKILL


def test_caller_of_a_server_that_is_killed_does_not_take_it_for_success(tmp_path: Path) -> None:
    """DVC would record what a stage has written so far."""
    (tmp_path / "sleep.py").write_text(SLEEP)
    server, folder, leader = start_own_server(tmp_path)
    process = subprocess.Popen([folder / "python", "sleep.py"], cwd=tmp_path)
    wait_until((tmp_path / "begun").exists)
    os.kill(leader, signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    os.killpg(leader, signal.SIGKILL)
    assert server.wait() == -signal.SIGKILL


def test_fork_ends_with_its_caller_and_with_the_parent_of_that(tmp_path: Path) -> None:
    (tmp_path / "sleep.py").write_text(SLEEP)
    command = [str(start_server() / "python"), "sleep.py"]
    starter = f"import subprocess; subprocess.run({command})"
    with_shell = f"import subprocess; subprocess.run({[*SHELL, f'{shlex.join(command)}; true']})"  # as DVC does
    for arguments in (command, [sys.executable, "-c", starter], [sys.executable, "-c", with_shell]):
        process = subprocess.Popen(arguments, cwd=tmp_path)
        wait_until((tmp_path / "begun").exists)
        process.kill()
        process.wait()
        wait_until(lambda: not find_forks("sleep", tmp_path))
        (tmp_path / "begun").unlink()


def test_request_that_breaks_off_does_not_end_the_server(tmp_path: Path) -> None:
    folder = start_server()
    for sent in (b"", b"\0\0", b"\0\0\0\5{"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(folder / "socket"))
            connection.sendall(sent)
    (tmp_path / "count.py").write_text("print(1)")
    assert subprocess.check_output([folder / "python", "count.py"], cwd=tmp_path) == b"1\n"


@pytest.mark.parametrize("threads", [None, "1", "3", "2,1"])
def test_fork_computes_with_as_many_threads_as_a_new_process(threads: str | None, tmp_path: Path) -> None:
    (tmp_path / "count.py").write_text(COUNT)
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    environment |= {"OMP_NUM_THREADS": threads} if threads is not None else {}
    new, fork = (
        subprocess.check_output([python, "count.py"], cwd=tmp_path, env=environment, text=True)
        for python in (sys.executable, start_server() / "python")
    )
    assert fork == new and fork.endswith(" False\n")
