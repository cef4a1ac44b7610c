"""The jobs of a study in Slurm's queue: they outlive the process that submitted them."""

import hashlib
import re
import subprocess
from contextlib import suppress
from pathlib import Path

from losslab.errors import InputError, shorten
from losslab.io.files import JsonObject, read_json, write_json

FOLDER = "slurm"
"""Folder of a study's state for its jobs; a study without it has none."""
COMMAND_TIMEOUT_S = 60.0
"""Seconds a command of Slurm has to answer."""


def build_job_name(folder: Path) -> str:
    """Build the name that the jobs of a study have in Slurm, from the folder of the study's state.

    >>> build_job_name(Path("/project/.losslab/study/demo"))
    'losslab-demo-f491c394'
    """
    key = re.sub(r"[^\w.-]", "_", folder.name)
    return f"losslab-{key}-{hashlib.md5(str(folder.resolve()).encode()).hexdigest()[:8]}"


def list_jobs(folder: Path) -> dict[str, str]:
    """Return the states, such as PENDING, of those jobs of a study that have not ended, by their ids, such as 12 or 12_0.

    Raises InputError if Slurm cannot be asked.
    """
    if not (folder / FOLDER).is_dir():
        return {}
    lines = run_slurm("squeue", "--noheader", "--array", f"--name={build_job_name(folder)}", "--format=%i|%T")
    return dict(line.strip().split("|", 1) for line in lines.splitlines() if "|" in line)


def cancel_jobs(folder: Path) -> bool:
    """Cancel all jobs of a study; return whether there were any. Slurm ends them within its KillWait, often 30 s."""
    (folder / FOLDER / "jobs.json").unlink(missing_ok=True)  # nobody goes on with a cancelled job
    jobs = list_jobs(folder)
    if jobs:
        run_slurm("scancel", "--quiet", *jobs)
    return bool(jobs)


def write_records(folder: Path, records: JsonObject) -> None:
    """Note what each job, by its id, does: `run`, the name of the run; `params`, their digest; `baseline`, the commit."""
    write_json(folder / FOLDER / "jobs.json", records)


def read_records(folder: Path) -> JsonObject:
    try:
        return read_json(folder / FOLDER / "jobs.json")
    except FileNotFoundError:
        return {}


def list_queued_runs(folder: Path) -> dict[str, tuple[str, str]]:
    """Return the job's id and its state for each run in the queue, by the run's name; nothing where Slurm cannot be asked."""
    with suppress(InputError):
        states = list_jobs(folder)
        return {about["run"]: (job, states[job]) for job, about in read_records(folder).items() if job in states}
    return {}


def run_slurm(command: str, *arguments: str) -> str:
    """Run a command of Slurm, and return its output. Raises InputError with what it says if it fails."""
    try:
        done = subprocess.run(
            [command, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise InputError(f"{command}: not found, and the study has jobs in Slurm; run this on a login node") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"{command}: no answer from Slurm within {COMMAND_TIMEOUT_S:.0f} s; try again later") from None
    if done.returncode:
        raise InputError(f"{command}: {shorten(' '.join(done.stderr.split())) or f'exit code {done.returncode}'}")
    return done.stdout
