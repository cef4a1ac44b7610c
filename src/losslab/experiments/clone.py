"""One run of a study in a clone of its own, from a commit and params to a DVC experiment.

DVC's own queue works in the user's workspace: it takes its uncommitted changes along, and killed while it queues it leaves
the workspace on a detached HEAD, with the params of the run. A clone is as DVC's temporary folder is, and can be thrown away.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from losslab.errors import InputError
from losslab.io.files import write_private
from losslab.io.git import run_git
from losslab.io.yaml import parse_yaml

KILLED_EXIT_CODE = 75
"""Exit code of what was killed before it was done, and can go on (EX_TEMPFAIL)."""
GRACE_S = 5.0
"""Seconds that a stage has to tell MLflow that it was interrupted."""
STAGE_KILLED = re.compile(r"exited with -(9|15)\b")
LEADER = re.compile(r"^ERROR: (download|prepare|train|evaluate|report): ")


def make_clone(folder: Path, source: Path, home: Path, baseline: str, cache: Path, **config: str) -> None:
    """Make `folder` a clone at a commit, or put one back to it.

    Args:
        source: a repository, or a Git bundle of one.
        home: what of a repository is in no commit: `.dvc/config.local`.
        cache: the DVC cache to use.
        config: more of DVC's configuration, `section__key`.
    """
    if not (folder / ".git").is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        shared = ["--shared"] if source.is_dir() else []
        run_git(folder.parent, "clone", "-q", "--no-checkout", "--no-tags", *shared, str(source.resolve()), folder.name)
        run_git(folder, "checkout", "-q", "--detach", "--force", baseline)
        local = home / ".dvc/config.local"
        if local.is_file():  # where remotes have their passwords
            write_private(folder / ".dvc/config.local", local.read_bytes())
        _configure(folder, {"core__check_update": False, **config, "cache__dir": str(cache)})
        own = [path.relative_to(folder).as_posix() for path in folder.glob("data/raw/*/*.dvc")]
        if own:  # what `dvc add` tracks, no stage brings
            run_dvc(folder, "checkout", "--force", "--allow-missing", *own)
    else:
        run_git(folder, "checkout", "-q", "--detach", "--force", baseline)


def _configure(folder: Path, config: dict[str, str | bool]) -> None:
    """As `dvc config --local` does, which takes a second for each."""
    from dvc.config import Config

    with Config(str(folder / ".dvc"), validate=False).edit("local") as content:
        for key, value in config.items():
            section, _, name = key.partition("__")
            content.setdefault(section, {})[name] = value


def write_params(path: Path, params: dict[str, Any]) -> None:
    """Give params.yaml these values; its comments stay."""
    from dvc.utils.serialize import modify_yaml

    with modify_yaml(str(path)) as content:
        _put(content, params)
    if parse_yaml(path.read_text(encoding="utf-8")) != params:
        raise InputError(f"{path}: cannot hold the params of this run")


def run_dvc_repro(
    folder: Path,
    targets: Sequence[str],
    environment: dict[str, str],
    keep_open: Sequence[int] = (),
    own_group: bool = False,
) -> int:
    """`dvc repro`, its output where this process's goes; returns its exit code, KILLED where it was killed.

    Args:
        targets: its arguments.
        environment: on top of this process's own.
        keep_open: file descriptors that DVC inherits: what is locked through them is so until it ends.
        own_group: in a process group of its own, which is ended before an exception here goes on, such as that of Ctrl+C.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    inherited = {key: value for key, value in os.environ.items() if key not in ("DVC_STAGE", "DVC_EXP_NAME")}
    # The code of the clone, also where Python does not look beside the script first (PYTHONSAFEPATH).
    modules = {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder / "src"), os.environ.get("PYTHONPATH")]))}
    # Threads that spin while they wait take the processor from the run beside. Their number is left alone: it changes bits.
    env = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"} | inherited | {"PATH": path} | modules | environment
    command = [sys.executable, "-m", "dvc", "repro", *targets]
    process = subprocess.Popen(command, cwd=folder, env=env, pass_fds=tuple(keep_open), start_new_session=own_group)
    try:
        code = process.wait()
    except BaseException:
        if own_group:
            _end(process)
        raise
    return KILLED_EXIT_CODE if code < 0 else code


def _end(process: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
            return


def commit_run(folder: Path, message: str) -> None:
    """Commit what a run left in a clone: params.yaml and dvc.lock, as DVC does for an experiment."""
    who = {}
    for role in ("AUTHOR", "COMMITTER"):
        for key in ("name", "email"):
            if not run_git(folder, "config", "--default", "", f"user.{key}").strip():
                who[f"GIT_{role}_{key.upper()}"] = "losslab" if key == "name" else "losslab@localhost"
    run_git(folder, "add", "params.yaml", "dvc.lock")
    run_git(folder, "commit", "-q", "--no-verify", "--no-gpg-sign", "--allow-empty", "-m", message, environment=who)


def run_dvc(folder: Path, *arguments: str, check: bool = True) -> None:
    """Run a DVC command quietly. Raises InputError with the reason that DVC gives, unless `check` is False."""
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=folder, capture_output=True, check=False)
    if check and done.returncode:
        output = (done.stderr or done.stdout).decode("utf-8", "replace") or f"exit code {done.returncode}"
        raise InputError(f"dvc {arguments[0]}: {find_reason(output)}")


def build_ref(name: str, baseline: str) -> str:
    """Where DVC looks for an experiment."""
    return f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}"


def publish_run(folder: Path, root: Path, name: str, baseline: str) -> None:
    """Make a clone's commit an experiment of the main repository."""
    run_git(folder, "push", "-q", "--no-verify", "--force", str(root.resolve()), f"HEAD:{build_ref(name, baseline)}")


def write_bundle(folder: Path, path: Path, baseline: str | None = None) -> None:
    """Write a repository's commit to a file that can be cloned, or with a baseline, fetched from where that is."""
    run_git(folder, "bundle", "create", "-q", str(path.resolve()), "HEAD", *([f"^{baseline}"] if baseline else []))


def fetch_bundle(path: Path, root: Path, name: str, baseline: str) -> None:
    """Make the commit in such a file an experiment of the main repository."""
    run_git(root, "fetch", "-q", "--force", str(path.resolve()), f"HEAD:{build_ref(name, baseline)}")


def push_outs(folder: Path) -> None:
    """Bring what a run left to the DVC remote."""
    run_dvc(folder, "push")


def was_killed(code: int, log: str) -> bool:
    """Whether a worker, its DVC or a stage did not end by itself, and can go on."""
    return code < 0 or code == KILLED_EXIT_CODE or (code > 0 and STAGE_KILLED.search(log) is not None)


def find_reason(log: str) -> str:
    """Why a run failed, from its output: the stage's own line, else DVC's last, else the last there is."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    own = [line for line in lines if LEADER.match(line)]
    errors = [line for line in lines if line.startswith("ERROR: ")]
    told = own[-1:] or errors[-1:] or lines[-1:] or ["it left no output"]
    return told[0].removeprefix("ERROR: ")


def _put(content: Any, params: dict[str, Any]) -> None:
    for key in [key for key in content if key not in params]:
        del content[key]
    for key, value in params.items():
        if isinstance(value, dict) and value and isinstance(content.get(key), dict):
            _put(content[key], value)
        elif key not in content or content[key] != value or type(content[key]) is not type(value):
            content[key] = value
