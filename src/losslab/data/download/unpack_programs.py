"""RAR and 7z archives, unpacked by an installed program, and checked before anything is used."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import IO

from losslab.errors import InputError
from losslab.io.files import clear_folder, unlock_folders


@dataclass(frozen=True)
class UnpackProgram:
    build_list_command: Callable[[str], list[str]]
    """Command that prints the names in an archive, one to a line."""
    build_unpack_command: Callable[[str, str], list[str]]
    """Command that unpacks an archive into a folder."""
    name_prefix: str = ""
    """Text before each name; lines without it hold no name."""


PROGRAMS = {
    "bsdtar": UnpackProgram(
        lambda archive: ["bsdtar", "-t", "-f", archive],
        lambda archive, folder: ["bsdtar", "-x", "-f", archive, "-C", folder],
    ),
    "unar": UnpackProgram(
        lambda archive: ["lsar", archive],
        lambda archive, folder: ["unar", "-quiet", "-no-directory", "-output-directory", folder, archive],
    ),
    "7z": UnpackProgram(
        lambda archive: ["7z", "l", "-slt", "-ba", archive],
        lambda archive, folder: ["7z", "x", "-y", "-bd", f"-o{folder}", archive],
        "Path = ",
    ),
}
MISSING = "needs bsdtar, unar or 7z: apt install libarchive-tools (or unar, p7zip-full), brew install libarchive"
MAX_PAUSE_S = 0.1

_KEEPER = """
import os, resource, signal, subprocess, sys, time
try:
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
except (OSError, ValueError):
    pass  # less is allowed already, or the system knows no such limit
parent = int(sys.argv[1])
program = subprocess.Popen(sys.argv[2:])
while program.poll() is None:
    if os.getppid() != parent:
        os.killpg(0, signal.SIGKILL)
    time.sleep(0.05)
sys.exit(program.returncode != 0)
"""
"""Program that runs another and ends it when losslab is gone: after a kill, nothing may write into the next run's folder.

Its memory is limited: a small archive can ask for all that there is."""


def unpack_with_program(
    archive: Path, folder: Path, check_name: Callable[[str], object], check_size: Callable[[int], None]
) -> None:
    """Unpack into `folder`, which is empty, with the first program that succeeds; only plain files are there then.

    Args:
        check_name: is called with each name in the archive, and raises if it must not be unpacked.
        check_size: is called regularly with the number of bytes unpacked so far, and raises if they are too many.

    Raises:
        InputError: no program is installed, or none can unpack it, or it holds a link to elsewhere, or a device.
    """
    programs = {name: program for name, program in PROGRAMS.items() if shutil.which(name)}
    if not programs:
        raise InputError(f"{archive}: {MISSING}")
    path, failures = str(archive.absolute()), []
    for name, program in programs.items():
        try:
            for line in _run(program.build_list_command(path)).splitlines():
                if line.startswith(program.name_prefix) and not line.startswith(f"{path}: "):  # lsar's heading
                    check_name(line.removeprefix(program.name_prefix))
            _run(program.build_unpack_command(path, str(folder.absolute())), lambda: check_size(_measure(folder)))
            _make_plain(archive, folder, check_size)
            return
        except _FailedError as failed:
            failures.append(f"{name}: {failed}")
            clear_folder(folder)
    raise InputError(
        f"{archive}: damaged, encrypted, or not supported by {' and '.join(programs)} ({'; '.join(failures)})"
    )


class _FailedError(Exception):
    """A program failed; the text is the last line that it printed."""


def _run(command: list[str], check: Callable[[], None] = lambda: None) -> str:
    """Run a command and return its output; it is killed if `check`, called regularly, raises."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _KEEPER, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=complaints,
            env={**os.environ, "LC_ALL": "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"},  # for names
            start_new_session=True,  # without a terminal none of them asks for a password
        )
        try:
            pause_s = 0.01
            while process.poll() is None:
                begun = time.monotonic()
                check()
                sleep(max(pause_s, 5 * (time.monotonic() - begun)))
                pause_s = min(2 * pause_s, MAX_PAUSE_S)
            check()
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode != 0:
            lines = [line.strip() for line in (_read(output) + "\n" + _read(complaints)).splitlines() if line.strip()]
            raise _FailedError(lines[-1] if lines else "failed without a message")
        return _read(output)


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _measure(folder: Path) -> int:
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # unar renames finished files
                kind = (Path(place) / name).lstat()
                size += kind.st_size if stat.S_ISREG(kind.st_mode) else 0
    return size


def _make_plain(archive: Path, folder: Path, check_size: Callable[[int], None]) -> None:
    """Replace links to files by copies, and refuse anything else that is no file or folder, or leads elsewhere."""
    unlock_folders(folder)
    kinds = {path: path.lstat() for path in sorted(_list_entries(folder))}
    inodes = Counter(kind.st_ino for kind in kinds.values() if stat.S_ISREG(kind.st_mode))
    for path, kind in kinds.items():
        name = path.relative_to(folder).as_posix()
        if stat.S_ISLNK(kind.st_mode):
            target = Path(os.path.realpath(path))
            if not target.is_relative_to(folder.resolve()) or not target.is_file():
                link = str(path.readlink())
                raise InputError(f"{archive}: holds {name!r}, a link to {link!r}, which is not in the archive; refused")
        elif not stat.S_ISREG(kind.st_mode):
            raise InputError(f"{archive}: holds {name!r}, which is a device; refused")
        elif inodes[kind.st_ino] != kind.st_nlink:
            raise InputError(f"{archive}: holds {name!r}, a hard link that leaves the folder; refused")
    size = _measure(folder)
    check_size(size)  # again, as files in locked folders could not be seen before
    for path, kind in kinds.items():
        if stat.S_ISREG(kind.st_mode):
            path.chmod(0o644)  # only now, as it could have been a hard link to any file of the user
    for path in (path for path, kind in kinds.items() if stat.S_ISLNK(kind.st_mode)):
        size += path.stat().st_size
        check_size(size)
        target = Path(os.path.realpath(path))
        path.unlink()
        shutil.copyfile(target, path)


def _list_entries(folder: Path) -> Iterator[Path]:
    """List everything below a folder but folders."""
    for place, folders, names in os.walk(folder):
        yield from (Path(place) / name for name in names)
        yield from (Path(place) / name for name in folders if (Path(place) / name).is_symlink())
