"""One run in a clone of its own, from a commit and params to a DVC experiment.

DVC's own queue works in the user's workspace: it takes uncommitted changes along, and when it is killed it leaves the workspace
on a detached HEAD with the params of the run. A clone can be thrown away. The project may be a subfolder of its Git repository,
and then is one of the clone too; the repository may be shallow.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from configobj import ConfigObj

from losslab.errors import InputError
from losslab.io.files import make_folder, write_private
from losslab.io.git import find_commit, run_git
from losslab.io.yaml import parse_yaml
from losslab.runtime.processes import end_groups

STAGES = ["plugins", "download", "prepare", "train", "evaluate", "report"]
"""The stages of the pipeline, in their order."""
METRICS, SCORES = "reports/metrics.json", "reports/scores.json"
"""What DVC's tables show, and all scores."""
COMMITTED = ("params.yaml", "dvc.lock", METRICS)
"""Files of a run that are in its commit; DVC's cache has the metrics of older pipelines."""
KILLED_EXIT_CODE = 75
"""Exit code of a process that was killed before it was done, and can go on (EX_TEMPFAIL)."""
STAGE_KILLED = re.compile(r"exited with (-9|-15|137|143)\b")
"""What DVC says of a stage that SIGKILL or SIGTERM ended, from its shell: some shells add 128 to the signal."""
STAGE_ERROR = re.compile(f"^ERROR: ({'|'.join(STAGES)}): ")


@contextmanager
def open_clone_folder(
    clones: Path, keep: bool = False, say: Callable[[str], None] = lambda line: None
) -> Iterator[tuple[Path, int]]:
    """Yield a folder in `clones` for a clone, and a descriptor of its lock; clear away those that killed processes left.

    Args:
        keep: leave the folder, and `say` where the clone is.
    """
    clones = clones.resolve()
    make_folder(clones)
    for leftover in clones.glob("*.lock"):
        _clear(leftover)
    folder = clones / uuid.uuid4().hex[:8]
    lock = folder.with_suffix(".lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        folder.mkdir()
        yield folder, descriptor
    finally:
        if keep:
            say(f"kept: {folder / 'clone'}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(descriptor)
        with suppress(OSError):  # not empty: another one is in use, or was kept
            clones.rmdir()


def _clear(lock: Path) -> None:
    descriptor = os.open(lock, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
        lock.unlink(missing_ok=True)
    except BlockingIOError:  # it is in use
        pass
    finally:
        os.close(descriptor)


def make_clone(folder: Path, source: Path, home: Path, baseline: str, cache: Path, prefix: Path, **config: str) -> Path:
    """Make `folder` a clone at a commit, or put a clone back to it; return the project's folder in it.

    Args:
        source: a project in a Git repository, or a Git bundle of the repository.
        home: a project whose `.dvc/config.local` is copied.
        cache: the DVC cache to use.
        prefix: path of the project below the root of its Git repository.
        config: more of DVC's configuration, `section__key`.
    """
    project = folder / prefix
    if (folder / ".git").is_dir():
        run_git(folder, "checkout", "-q", "--detach", "--force", baseline)
        return project
    folder.parent.mkdir(parents=True, exist_ok=True)
    origin = ["--shared", _find_repository(source)] if source.is_dir() else [str(source.resolve())]
    run_git(folder.parent, "clone", "-q", "--no-checkout", "--no-tags", *origin, folder.name)
    if (folder / ".git/shallow").exists() and find_commit(folder, baseline) is None:
        # Git shares no objects with a shallow repository: it has copied the branches alone, without experiments.
        run_git(folder, "fetch", "-q", "--no-tags", "--update-shallow", "origin", baseline)
    run_git(folder, "checkout", "-q", "--detach", "--force", baseline)
    local = home / ".dvc/config.local"
    if local.is_file():  # it has the passwords of remotes
        write_private(project / ".dvc/config.local", local.read_bytes())
    _configure_dvc(project / ".dvc/config.local", {"core__check_update": "false", **config, "cache__dir": str(cache)})
    own = [path.relative_to(project).as_posix() for path in project.glob("data/raw/*/*.dvc")]
    if own:  # no stage brings what `dvc add` tracks
        run_dvc(project, "checkout", "--force", "--allow-missing", *own)
    return project


def _configure_dvc(path: Path, values: Mapping[str, str]) -> None:
    """Set values `section__key` in a file of DVC's configuration; `dvc config` takes a second each, and only ASCII."""
    content = ConfigObj(str(path), encoding="utf-8")
    for key, value in values.items():
        section, _, name = key.partition("__")
        content.setdefault(section, {})[name] = value
    content.write()


def _find_repository(project: Path) -> str:
    return run_git(project, "rev-parse", "--show-toplevel").strip()


def write_params(path: Path, params: dict[str, Any]) -> None:
    """Give params.yaml these values, and keep its comments."""
    from dvc.utils.serialize import modify_yaml

    with modify_yaml(str(path)) as content:
        _update(content, params)
    if parse_yaml(path.read_text(encoding="utf-8")) != params:
        raise InputError(f"{path}: cannot be given the params of this run")


def run_dvc_repro(
    folder: Path,
    targets: Sequence[str],
    environment: dict[str, str],
    keep_open: Sequence[int] = (),
    own_group: bool = False,
    output: IO[bytes] | None = None,
) -> int:
    """Run `dvc repro`, and return its exit code; KILLED_EXIT_CODE if it was killed.

    Args:
        environment: variables over those of this process.
        keep_open: file descriptors that DVC inherits: locks through them last until it ends.
        own_group: give DVC its own process group, and end the group if an exception such as Ctrl+C comes in between.
        output: file for what it prints; None: where this process prints.
    """
    drop_torn_lock(folder)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    inherited = {key: value for key, value in os.environ.items() if key not in ("DVC_STAGE", "DVC_EXP_NAME")}
    # Run the clone's code, even if Python does not look beside the script first (PYTHONSAFEPATH).
    modules = {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder / "src"), os.environ.get("PYTHONPATH")]))}
    # Threads that spin while they wait slow down the other runs. Their number is left alone: it changes bits.
    env = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"} | inherited | {"PATH": path} | modules | environment
    command = [sys.executable, "-m", "dvc", "repro", *targets]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        pass_fds=tuple(keep_open),
        start_new_session=own_group,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
    )
    try:
        code = process.wait()
    except BaseException:
        if own_group:
            end_groups([process])
        raise
    return KILLED_EXIT_CODE if code < 0 else code


def drop_torn_lock(folder: Path) -> None:
    """Remove DVC's record of who reads and writes what if a killed DVC left it half-written: no DVC runs with such a file."""
    record = folder / ".dvc/tmp/rwlock"
    try:
        json.loads(record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except ValueError:
        record.unlink()


def commit_run(folder: Path, message: str) -> None:
    """Commit params, lock and metrics of a run in a clone, as DVC does for an experiment."""
    who = {}
    for role in ("AUTHOR", "COMMITTER"):
        for key in ("name", "email"):
            if not run_git(folder, "config", "--default", "", f"user.{key}").strip():
                who[f"GIT_{role}_{key.upper()}"] = "losslab" if key == "name" else "losslab@localhost"
    listed = run_git(folder, "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *COMMITTED)
    run_git(folder, "add", *listed.split("\0")[:-1])
    run_git(folder, "commit", "-q", "--no-verify", "--no-gpg-sign", "--allow-empty", "-m", message, environment=who)


def run_dvc(folder: Path, *arguments: str, check: bool = True) -> None:
    """Run a DVC command quietly. Raises InputError with the reason that DVC prints, unless `check` is False."""
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=folder, capture_output=True, check=False)
    if check and done.returncode:
        output = (done.stderr or done.stdout).decode("utf-8", "replace") or f"exit code {done.returncode}"
        raise InputError(f"dvc {arguments[0]}: {find_reason(output)}")


def build_ref(name: str, baseline: str) -> str:
    """Build the Git ref under which DVC looks for an experiment."""
    return f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}"


def publish_run(folder: Path, root: Path, name: str, baseline: str) -> None:
    """Make a clone's commit an experiment of the main repository."""
    ref = build_ref(name, baseline)
    run_git(folder, "push", "-q", "--no-verify", "--force", _find_repository(root), f"HEAD:{ref}")


def write_bundle(folder: Path, path: Path, baseline: str | None = None) -> None:
    """Write a repository's commit to a file to clone; with a baseline, to fetch into a repository that has the baseline."""
    run_git(folder, "bundle", "create", "-q", str(path.resolve()), "HEAD", *([f"^{baseline}"] if baseline else []))


def fetch_bundle(path: Path, root: Path, name: str, baseline: str) -> None:
    """Make the commit in a bundle an experiment of the main repository."""
    run_git(root, "fetch", "-q", "--force", str(path.resolve()), f"HEAD:{build_ref(name, baseline)}")


def was_killed(code: int, log: str) -> bool:
    """Return whether a worker, its DVC or a stage was killed, and can go on."""
    return code < 0 or code == KILLED_EXIT_CODE or (code > 0 and STAGE_KILLED.search(log) is not None)


def find_reason(log: str) -> str:
    """Return why a run failed, from its output: the stage's error, else DVC's last error, else the last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    stage_errors = [line for line in lines if STAGE_ERROR.match(line)]
    errors = [line for line in lines if line.startswith("ERROR: ")]
    (reason,) = stage_errors[-1:] or errors[-1:] or lines[-1:] or ["it left no output"]
    return reason.removeprefix("ERROR: ")


def _update(content: Any, params: dict[str, Any]) -> None:
    for key in [key for key in content if key not in params]:
        del content[key]
    for key, value in params.items():
        if isinstance(value, dict) and value and isinstance(content.get(key), dict):
            _update(content[key], value)
        elif key not in content or content[key] != value or type(content[key]) is not type(value):
            content[key] = value
