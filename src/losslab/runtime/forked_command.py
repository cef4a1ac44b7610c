"""The commands in a fork server's folder: each has a fork of the server in its place, and ends as that does.

A server copies this file into its folder as `python`, `dvc` and `losslab`, so it must not import losslab, and nothing that is
slow to import.
"""

import array
import json
import os
import select
import socket
import sys


class Callers:
    """The process that started this one, and DVC where that did so through a shell, which may outlive it.

    Many shells (bash, zsh) become the command that they are given; others (dash, fish) wait for it.
    """

    def __init__(self) -> None:
        self.parent = os.getppid()
        self.above: int | None = None
        try:
            with open(f"/proc/{self.parent}/cmdline", "rb") as file:
                words = file.read().split(b"\0")[:-1]
            if words[-2:-1] == [b"-c"] and os.path.basename(os.fsencode(sys.argv[0])) in words[-1]:
                self.above = _read_parent(self.parent)
        except OSError:  # no /proc on this system, or it is gone already
            pass

    def are_there(self) -> bool:
        """Return whether none of them has ended."""
        try:
            return os.getppid() == self.parent and (self.above is None or _read_parent(self.parent) == self.above)
        except OSError:
            return False


def _read_parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])


def main() -> None:
    folder, name = os.path.split(sys.argv[0])
    arguments = [os.path.join(os.path.dirname(sys.executable), name), *sys.argv[1:]]
    if name == "python":
        if not arguments[1:] or not (arguments[1] == "-m" or arguments[1].endswith(".py")):
            os.execv(arguments[0], arguments)
        del arguments[0]
    callers, streams = Callers(), []
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            os.fstat(number)
            streams.append(number)
        except OSError:
            pass
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.path.join(folder, "socket"))
    content = [os.path.join(folder, "python"), arguments, os.getcwd(), dict(os.environ), streams]
    request = json.dumps(content).encode()
    connection.sendmsg([len(request).to_bytes(4)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams))])
    connection.sendall(request)
    for _ in ("the fork's process", "its exit code"):
        while not select.select([connection], [], [], 0.05)[0]:
            if not callers.are_there():
                os._exit(1)
        answer = connection.recv(4)
    code = int.from_bytes(answer, signed=True) if answer else -9  # the server is gone, and its forks with it
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
