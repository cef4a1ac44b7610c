"""The frame of the five stage scripts: read params.yaml, do the work, report an error on one line."""

import fcntl
import io
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn

from losslab.errors import InputError, Terminated, describe_failure
from losslab.formats import format_line
from losslab.io.files import make_folder
from losslab.runtime.processes import die_with_parent, is_main_process

if TYPE_CHECKING:
    from losslab.params import Params

INTERRUPTED = 128 + signal.SIGINT
"""Exit code after Ctrl+C, as in shells."""
LOCK_TIMEOUT_S = 5.0
"""Seconds to wait for another stage in this folder: a killed DVC leaves its stage behind for one."""


def run_stage(main: "Callable[[Params], None]") -> NoReturn:
    """Call `main` with the checked params.yaml of this folder; exit with 0, or with 1 and an error of one line.

    Ctrl+C ends the stage with 130, and SIGTERM a training by that signal, with a line too.

    Heavy imports belong inside `main`: a bad params.yaml is then reported before they cost time, and a missing package
    is an error of one line too.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else albumentations calls home at import
    escape_unknown_letters()
    try:
        from losslab import params
        from losslab.plugins.usage import check_usage
        from losslab.project.code import check_code
        from losslab.stage_inputs import StageInputs

        if "DVC_STAGE" in os.environ:
            die_with_parent(os.getppid())
        if not is_main_process():
            main(params.load())
            sys.exit(0)
        inputs = StageInputs(_find_name(), with_earlier="DVC_EXP_NAME" in os.environ)
        checked = params.load()
        check_code(_find_name(), Path())
        lock = _lock_folder()
        if foreign := inputs.find_foreign_dep():
            raise InputError(f"{foreign} is not what DVC began with: params.yaml changed since; run dvc repro again")
        check_usage(_find_name(), checked.model_dump())
        main(checked)
        check_usage(_find_name(), checked.model_dump())
        if change := inputs.describe_change():
            raise InputError(f"{change}, so DVC records nothing; run dvc repro again")
        lock.close()
    except ModuleNotFoundError as error:
        _exit_with_error(
            f"{error}: {sys.executable} is not losslab's Python. Run `make setup`, then `. .venv/bin/activate`"
        )
    except Exception as error:
        if isinstance(error, FileNotFoundError) and error.filename is not None:
            _exit_with_error(f"{error.filename}: no such file; if an earlier stage writes it, run dvc repro")
        if (line := describe_failure(error, "lower train.batch_size, evaluate.batch_size or prepare.size")) is None:
            raise
        _exit_with_error(line)
    except Terminated:  # end by the signal: DVC tells it to a study, which starts this run again
        _print_error("interrupted")
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one finds nothing left to clear away
        _exit_with_error("interrupted", INTERRUPTED)
    sys.exit(0)


def escape_unknown_letters() -> None:
    """Let stdout write letters that its encoding lacks as escapes, as stderr does, instead of an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def print_line(line: str) -> None:
    """Print a line on stdout, above the progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(format_line(line))
    sys.stdout.flush()


def print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(format_line(line), file=sys.stderr, flush=True)


def print_warning(line: str) -> None:
    print_lines([f"WARNING: {line}"])


def find_main_repo() -> Path:
    """Return the root of the user's repository; a queued experiment runs in a copy of it below `.dvc/tmp`."""
    return Path(os.environ.get("DVC_ROOT", "."))


def find_checkpoints_folder() -> Path:
    """Return the folder of the checkpoints of runs that are unfinished or that DVC may not know yet."""
    return find_main_repo() / ".losslab/checkpoints"


def forget_finished() -> None:
    """Remove the checkpoints `KEY.MD5.….finished` of finished runs whose outs DVC has stored.

    DVC may have done so in this folder, or in another that shares its run cache.
    """
    known = [Path("dvc.lock"), *(find_main_repo() / ".dvc/cache/runs").glob("*/*/*")]
    finished = {path: path.name.split(".")[1:-1] for path in find_checkpoints_folder().glob("*.finished")}
    for file in known if finished else []:
        with suppress(FileNotFoundError):
            text = file.read_text(encoding="utf-8", errors="replace")
            for path in [path for path, md5s in finished.items() if all(md5 in text for md5 in md5s)]:
                path.unlink(missing_ok=True)
                del finished[path]


def find_downloads_folder(dataset: str) -> Path:
    """Return the folder of the archives that a dataset is downloaded as."""
    return find_main_repo() / ".losslab/downloads" / dataset


def forget_downloads(dataset: str) -> None:
    """Remove a dataset's archives, which DVC has stored once prepare begins, unless another process downloads them."""
    folder = find_downloads_folder(dataset)
    if folder.is_dir():
        from filelock import FileLock, Timeout

        with suppress(Timeout), FileLock(folder.with_name(f"{dataset}.lock"), timeout=0):
            shutil.rmtree(folder)
    for partial in Path("data/raw", dataset).glob(".*.partial"):  # of a download that was killed
        shutil.rmtree(partial, ignore_errors=True)


def _lock_folder() -> IO[str]:
    """Lock this folder for this process alone, and not for those that it forks. Raises InputError if another has it."""
    path = Path(".losslab/stage.lock")
    make_folder(path.parent)
    lock = path.open("a+", encoding="utf-8")
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise InputError(
                    f"process {path.read_text(encoding='utf-8').strip()} works in this folder: wait for it, or run beside it "
                    "in a copy of the folder, with `dvc exp run --temp`, `dvc exp run --queue` or `losslab study`"
                ) from None
            time.sleep(0.1)
        else:
            lock.truncate(0)
            print(os.getpid(), f"({_find_name()})", file=lock, flush=True)
            return lock


def _find_name() -> str:
    return Path(sys.argv[0]).stem


def _print_error(line: str) -> None:
    sys.stdout.flush()
    print_lines([f"ERROR: {_find_name()}: {' '.join(line.split())}"])


def _exit_with_error(line: str, code: int = 1) -> NoReturn:
    _print_error(line)
    sys.exit(code)
