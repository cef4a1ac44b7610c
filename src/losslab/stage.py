"""What the five stage scripts share: read params.yaml, do the work, say what is wrong in one line."""

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from losslab.errors import InputError, out_of_memory

if TYPE_CHECKING:
    from losslab.params import Params


def run(main: "Callable[[Params], None]") -> NoReturn:
    """Call `main` with the checked params.yaml of the current folder; leave with exit code 0, or 1 and one line.

    Heavy imports belong inside `main`: then a bad params.yaml is told before they are paid for, and a missing
    package is told in one line too.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations calls home at import otherwise
    try:
        from losslab import params

        if "DVC_STAGE" in os.environ:
            _die_with(os.getppid())
        main(params.load())
    except InputError as error:
        _leave(str(error))
    except ModuleNotFoundError as error:
        _leave(f"{error}: {sys.executable} is not losslab's Python. Run `make setup`, then `. .venv/bin/activate`")
    except FileNotFoundError as error:
        _leave(f"{error.filename}: no such file; if an earlier stage writes it, run dvc repro")
    except (MemoryError, RuntimeError) as error:
        if (where := out_of_memory(error)) is None:
            raise
        _leave(f"out of {where}: set train.batch_size, or evaluate.batch_size, or prepare.size lower")
    except OSError as error:
        _leave(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
    except KeyboardInterrupt:
        _leave("interrupted")
    sys.exit(0)


def say(line: str) -> None:
    """Print a line on stdout, above a progress bar where one is shown."""
    from tqdm import tqdm

    tqdm.write(line)
    sys.stdout.flush()


def warn(line: str) -> None:
    print(f"WARNING: {line}", file=sys.stderr, flush=True)


def main_repo() -> Path:
    """The root of the user's repository, also from a queued experiment, which runs in a copy below `.dvc/tmp`."""
    return Path(os.environ.get("DVC_ROOT", "."))


def checkpoints() -> Path:
    """Where the checkpoints of unfinished runs lie."""
    return main_repo() / ".losslab/checkpoints"


def md5_in_lock(out: str) -> str | None:
    """The md5 of an out that DVC has taken in, from dvc.lock of the current folder."""
    from losslab.schema import read_yaml

    try:
        stages = read_yaml(Path("dvc.lock"))["stages"].values()
    except (FileNotFoundError, InputError, KeyError, TypeError, AttributeError):
        return None
    found = (entry["md5"] for stage in stages for entry in stage.get("outs", []) if entry.get("path") == out)
    return next(found, None)


def _die_with(parent: int) -> None:
    """End this process when its parent is gone: a killed DVC must not leave a stage behind that writes beside the next one."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _leave(line: str) -> NoReturn:
    sys.stdout.flush()
    print(f"ERROR: {Path(sys.argv[0]).stem}: {' '.join(line.split())}", file=sys.stderr, flush=True)
    sys.exit(1)
