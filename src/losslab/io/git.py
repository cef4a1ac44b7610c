"""Git, run as a program in a folder of a repository: at its root, in a subfolder, or in a shallow clone."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from losslab.errors import InputError

_COMMAND = ("git", "-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false", "-c", "core.quotePath=false")
_REPOSITORY_VARIABLES = ("GIT_DIR", "GIT_COMMON_DIR", "GIT_OBJECT", "GIT_WORK_TREE", "GIT_INDEX")


def run_git(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run a Git command in a folder and return what it prints. Raises InputError with Git's reason if it fails.

    Git runs no hooks, and ignores a repository in the environment, such as that of the hook that runs losslab.
    """
    done = _run(folder, arguments, environment)
    if done.returncode:
        raise _build_error(arguments[0], done)
    return done.stdout.decode("utf-8", "replace")


def find_head(folder: Path) -> str:
    """Return the commit that is checked out. Raises InputError if there is none, or no repository."""
    return run_git(folder, "rev-parse", "--verify", "HEAD").strip()


def find_repository(folder: Path) -> Path | None:
    """Return the root of the Git repository that a folder is in; None if it is in none."""
    done = _run(folder, ("rev-parse", "--show-toplevel"))
    if done.returncode == 0:
        return Path(os.fsdecode(done.stdout).removesuffix("\n"))
    if b"not a git repository" in done.stderr:
        return None
    raise _build_error("rev-parse", done)


def find_commit(folder: Path, name: str) -> str | None:
    """Return the commit that a branch, a tag or the beginning of a hash names; None if there is no such commit."""
    done = _run(folder, ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"))
    return done.stdout.decode().strip() if done.returncode == 0 else None


def find_prefix(folder: Path) -> Path:
    """Return the path of a folder below the root of its Git repository; `.` for the root itself."""
    return Path(run_git(folder, "rev-parse", "--show-prefix").strip() or ".")


def read_file_at(folder: Path, revision: str, path: str) -> str:
    """Return the text of a file at a commit, by its path in the folder. Raises FileNotFoundError if there is none."""
    done = _run(folder, ("show", f"{revision}:./{path}"))
    if done.returncode:
        raise FileNotFoundError(path)
    return done.stdout.decode("utf-8", "replace")


def read_files_at(folder: Path, places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return the texts of files at commits, by commit and path in the folder, as far as there are any; Git is run once."""
    asked = "".join(f"{revision}:./{path}\n" for revision, path in places)
    output, texts, start = _run(folder, ("cat-file", "--batch"), content=asked.encode()).stdout, {}, 0
    for place in places:
        end = output.index(b"\n", start)
        head, start = output[start:end], end + 1
        if not head.endswith(b" missing"):
            end = start + int(head.rpartition(b" ")[2])
            texts[place] = output[start:end].decode("utf-8", "replace")
            start = end + 1
    return texts


def list_changes(folder: Path, paths: Sequence[str], since: str | None = None) -> list[str]:
    """Return the files below `paths` that differ from a commit, relative to the folder.

    Args:
        since: the commit; None compares with HEAD, and untracked files count as changes.
    """
    if since is not None:
        return run_git(folder, "diff", "--name-only", "--relative", "-z", since, "--", *paths).split("\0")[:-1]
    prefix = run_git(folder, "rev-parse", "--show-prefix").strip()
    entries = run_git(folder, "status", "--porcelain", "--no-renames", "-z", "--", *paths).split("\0")[:-1]
    return [entry[3:].removeprefix(prefix) for entry in entries]


def _build_error(command: str, done: "subprocess.CompletedProcess[bytes]") -> InputError:
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    reason = next((line for line in lines if line.startswith(("fatal: ", "error: "))), None)
    reason = reason or (lines[-1] if lines else f"exit code {done.returncode}")
    return InputError(f"git {command}: {reason.removeprefix('fatal: ').removeprefix('error: ')}")


def _run(
    folder: Path, arguments: Sequence[str], environment: Mapping[str, str] | None = None, content: bytes = b""
) -> "subprocess.CompletedProcess[bytes]":
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(_REPOSITORY_VARIABLES)}
    return subprocess.run(
        [*_COMMAND, *arguments],
        cwd=folder,
        env=inherited
        | {"LC_ALL": "C"}
        | dict(environment or {}),  # its messages are read, so not in the user's language
        input=content,
        capture_output=True,
        check=False,
    )
