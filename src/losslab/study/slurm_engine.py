"""Runs of a study as jobs of Slurm, on nodes that share this project's folder: submitit submits them as arrays."""

import os
import pickle
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from losslab.errors import InputError, mask_credentials, shorten
from losslab.experiments import clone
from losslab.io.files import make_folder, write_private
from losslab.io.git import find_prefix
from losslab.runtime.processes import end_groups
from losslab.stage import print_warning
from losslab.study.engine import MAX_ATTEMPTS, EndedRun, describe_failure, mask_log
from losslab.study.plan import StudyRun
from losslab.study.slurm_options import parse_cpus, parse_minutes, read_options
from losslab.study.slurm_queue import (
    FOLDER,
    build_job_name,
    cancel_jobs,
    list_jobs,
    read_records,
    run_slurm,
    write_records,
)
from losslab.study.state import StudyState, compute_digest
from losslab.study.worker import WorkerJob, end_leftover, start_worker

COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol")
MAX_TIMEOUTS = 10
"""Times that a job which comes to its time limit is queued again, to go on from its checkpoint."""
QUEUE_POLL_S = 5.0
"""Seconds between two looks at the queue."""
RESULT_GRACE_S = 15.0
"""Seconds that a job's result may take through a network file system, once the job has left the queue."""
CANCEL_TIMEOUT_S = 90.0
"""Seconds until cancelled jobs must have left the queue."""
PREEMPTION_SIGNAL = signal.SIGUSR2
"""The signal at which submitit queues a job again; programs that do not know it would end."""
JOB_VARIABLES = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_", "PMI_", "PMIX_")
"""Prefixes of the variables by which a program learns that it is part of a job."""


@dataclass
class _Work:
    run: StudyRun
    log: Path
    job: str
    """Slurm's id of the job, such as 12, or 12_0 in an array."""
    gone: float | None = None
    """Since when the job is no longer in the queue."""


class SlurmEngine:
    """Jobs of Slurm, one for each run; those that are started together are an array. They survive this process."""

    shares_data = True

    def __init__(self, state: StudyState, baseline: str, cache: Path, options: Sequence[str], jobs: int) -> None:
        self.options = read_options(state.root, options)
        self.minutes = parse_minutes(self.options.pop("time", None))
        self.cpus = parse_cpus(self.options.pop("cpus-per-task", 1))
        self.submitit = _import_submitit()
        _check_commands()
        self.state, self.baseline, self.cache, self.jobs = state, baseline, cache, jobs
        _warn_of_sqlite(state.root)
        self.folder = state.folder.resolve() / FOLDER
        make_folder(self.folder)
        self.starting: list[StudyRun] = []
        self.works: list[_Work] = []
        self.queue: dict[str, str] = {}
        self.queue_time = -QUEUE_POLL_S
        self.left = self._find_left()
        self.records = {job: record for job, record in read_records(state.folder).items() if job in self.left}

    def prepare(self, run: StudyRun) -> EndedRun:
        work = self._adopt(run, "prepare") or self._submit([run], None)[0]
        while (ended := self._find_end(work)) is None:
            time.sleep(min(1.0, QUEUE_POLL_S))
        return ended

    def has_free_slot(self) -> bool:
        return bool(self.starting) or len(self.works) < self.jobs  # an array takes all that wait

    def start(self, run: StudyRun) -> None:
        if (work := self._adopt(run, run.name)) is None:
            self.starting.append(run)
        else:
            self.works.append(work)

    def collect_ended(self) -> list[EndedRun]:
        for gpus in sorted({_count_gpus(run) for run in self.starting}):  # jobs of an array have the same resources
            self.works += self._submit([run for run in self.starting if _count_gpus(run) == gpus], gpus)
        self.starting = []
        ended = {work.job: end for work in self.works if (end := self._find_end(work)) is not None}
        self.works = [work for work in self.works if work.job not in ended]
        if not ended:
            time.sleep(min(1.0, QUEUE_POLL_S))
        return list(ended.values())

    def list_working(self) -> list[StudyRun]:
        return [*(work.run for work in self.works), *self.starting]

    def close(self) -> None:
        is_done = not (self.works or self.starting or self.left)  # then Slurm only clears up after jobs that have ended
        if is_done or not cancel_jobs(self.state.folder):
            shutil.rmtree(self.folder, ignore_errors=True)
        self.works, self.starting = [], []

    def _find_left(self) -> dict[str, Any]:
        """Return the jobs that a killed process left in the queue, and wait for an end of those that are of no use."""
        records, queue = read_records(self.state.folder), list_jobs(self.state.folder)
        left = {job: records[job] for job in queue if records.get(job, {}).get("baseline") == self.baseline}
        self._cancel([job for job in queue if job not in left])
        if not left:
            shutil.rmtree(self.folder)
            make_folder(self.folder)
        return left

    def _adopt(self, run: StudyRun, name: str) -> _Work | None:
        """Go on with the job that a killed process left for a run; cancel one for other params."""
        for job, record in list(self.left.items()):
            if record["run"] == name:
                del self.left[job]
                if record["params"] == compute_digest(run):
                    return _Work(run, self.state.find_log(name), job)
                self._cancel([job])
        return None

    def _cancel(self, jobs: list[str]) -> None:
        """Cancel jobs, and wait until they have left the queue. Raises InputError if they do not."""
        if not jobs:
            return
        run_slurm("scancel", "--quiet", *jobs)
        deadline = time.monotonic() + CANCEL_TIMEOUT_S
        while going_on := set(jobs) & list_jobs(self.state.folder).keys():
            if time.monotonic() > deadline:
                raise InputError(f"Slurm still ends the job {min(going_on)} of this study; try again in a minute")
            time.sleep(min(1.0, QUEUE_POLL_S))

    def _submit(self, runs: list[StudyRun], gpus: int | None) -> list[_Work]:
        """Submit runs as one array of jobs; with `gpus` None prepare their data, on nodes like those of the runs."""
        is_preparing = gpus is None
        executor = self.submitit.SlurmExecutor(self.folder, max_num_timeout=MAX_TIMEOUTS)
        more = {"requeue": True, **self.options}
        gpus = _count_gpus(runs[0]) if gpus is None else gpus
        if gpus and not any(key.startswith("gpus") or key == "gres" for key in more):
            more["gpus-per-node"] = str(gpus)
        executor.update_parameters(
            job_name=build_job_name(self.state.folder),
            time=self.minutes,
            nodes=1,
            ntasks_per_node=1,
            cpus_per_task=self.cpus,
            wckey=None,
            array_parallelism=self.jobs,
            stderr_to_stdout=True,
            srun_args=[f"--cpus-per-task={self.cpus}"],  # srun no longer takes it from sbatch
            additional_parameters=more,
        )
        names = ["prepare" if is_preparing else run.name for run in runs]
        tasks = [self._build_task(run, name, is_preparing) for run, name in zip(runs, names, strict=True)]
        with _outside_job():
            try:
                jobs = [job.job_id for job in executor.submit_array(tasks)]
            except RuntimeError as error:  # submitit's: what sbatch printed
                lines = [line.strip() for line in str(error).splitlines() if line.strip()]
                reason = "; ".join(
                    line.removeprefix("sbatch: error: ") for line in lines if not line.startswith("Try ")
                )
                raise InputError(f"sbatch: {shorten(reason)}") from None
        for job, name, run in zip(jobs, names, runs, strict=True):
            self.records[job] = {"run": name, "params": compute_digest(run), "baseline": self.baseline}
        write_records(self.state.folder, self.records)
        self.queue_time = -QUEUE_POLL_S
        return [_Work(run, self.state.find_log(name), job) for run, name, job in zip(runs, names, jobs, strict=True)]

    def _build_task(self, run: StudyRun, name: str, is_preparing: bool) -> "SlurmTask":
        root, log = str(self.state.root.resolve()), self.state.find_log(name)
        make_folder(log.parent)
        log.unlink(missing_ok=True)  # an earlier run's
        slot = "prepare" if is_preparing else compute_digest(run)
        job = WorkerJob(
            home=root,
            source=root,
            prefix=find_prefix(self.state.root).as_posix(),
            slot=str(self.folder / slot),
            cache=str(self.cache),
            baseline=self.baseline,
            params=run.params,
            experiment=None if is_preparing else name,
            parent=0,
        )
        return SlurmTask(job, str(log.resolve()), os.environ.get("OMP_NUM_THREADS") or str(self.cpus))

    def _find_end(self, work: _Work) -> EndedRun | None:
        """Return how a job has ended; None as long as it has not."""
        paths = self.submitit.core.utils.JobPaths(self.folder, job_id=work.job)
        if not paths.result_pickle.exists():
            now = time.monotonic()
            if self._is_queued(work.job):
                work.gone = None
                return None
            work.gone = work.gone or now
            if now - work.gone < RESULT_GRACE_S:
                self.folder.chmod(0o700)  # a network file system looks for new files after that
                return None
            output = _add_to_log(work.log, paths.stdout)
            return EndedRun(work.run, 0.0, f"Slurm ended job {work.job}: {self._ask_state(work.job) or output}")
        outcome, result = pickle.loads(paths.result_pickle.read_bytes())
        if outcome == "success":
            code, seconds = result
            reason = describe_failure(code, mask_log(work.log)) if code else None
            return EndedRun(work.run, seconds, reason)
        _add_to_log(work.log, paths.stdout)
        if "timed-out too many times" in result:
            reason = f"it came to its time limit {MAX_TIMEOUTS + 1} times; give it more by --slurm time=HOURS:00:00"
        else:
            reason = f"job {work.job}: {result.strip().splitlines()[-1].partition(': ')[2]}"
        return EndedRun(work.run, 0.0, reason)

    def _is_queued(self, job: str) -> bool:
        """Return whether a job is in the queue, which is asked from time to time, as long as Slurm answers."""
        if time.monotonic() - self.queue_time >= QUEUE_POLL_S:
            try:
                self.queue = list_jobs(self.state.folder)
            except InputError:  # Slurm is busy, or its controller restarts: the jobs go on
                self.queue = {work.job: "" for work in self.works} | {job: ""}
            self.queue_time = time.monotonic()
        return job in self.queue

    def _ask_state(self, job: str) -> str | None:
        """Return the state in which a job has ended, such as OUT_OF_MEMORY; None if the cluster keeps no accounts."""
        try:
            lines = run_slurm("sacct", "--noheader", "--allocations", "--parsable2", "--format=State", f"--jobs={job}")
        except InputError:
            return None
        return next((line.strip() for line in lines.splitlines() if line.strip()), None)


@dataclass(frozen=True)
class SlurmTask:
    """What a job does, on a node: it starts a worker, and another one where that is killed.

    submitit calls it, at each start of the job, and `checkpoint` before it queues a preempted job again.
    """

    job: WorkerJob
    log: str
    threads: str
    """OMP_NUM_THREADS, the same for all runs: it changes bits."""

    def __call__(self) -> tuple[int, float]:
        """Do the run, or go on from its checkpoint; return the worker's exit code and the seconds that it took."""
        began, slot, code = time.monotonic(), Path(self.job.slot), 0
        for ending in (".lock", ".pid"):  # of an earlier start, perhaps on another node: the pid says nothing here
            slot.with_suffix(ending).unlink(missing_ok=True)
        for _ in range(MAX_ATTEMPTS):
            end_leftover(slot)
            shutil.rmtree(slot, ignore_errors=True)
            code = self._run_worker()
            if not clone.was_killed(code, mask_log(Path(self.log))):
                break
        shutil.rmtree(slot, ignore_errors=True)
        return code, time.monotonic() - began

    def checkpoint(self) -> Any:
        """Return what the job does when it is started again: the same, as a training finds its checkpoint by itself."""
        return _import_submitit().core.utils.DelayedSubmission(self)

    def _run_worker(self) -> int:
        job, slot = replace(self.job, parent=os.getpid()), Path(self.job.slot)
        with _outside_job():
            environment = os.environ | {"OMP_NUM_THREADS": self.threads}
            # Slurm may signal all processes of a job: only this one knows what to do. A worker ignores it once it runs.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, [PREEMPTION_SIGNAL])
            try:
                process = start_worker(
                    job, slot.with_suffix(".json"), Path(self.log), cwd=self.job.home, env=environment
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            return process.wait()
        finally:
            if process.poll() is None:  # submitit raises SystemExit at a preemption
                end_groups([process])


def _count_gpus(run: StudyRun) -> int:
    train = run.params["train"]
    return int(train["devices"]) if train["device"] == "cuda" else 0


@contextmanager
def _outside_job() -> Iterator[None]:
    """Hide the variables of a job, so that what is started meanwhile does not take itself for a part of the job."""
    hidden = [key for key in os.environ if key.startswith(JOB_VARIABLES) and key != "SLURM_CONF"]
    values = {key: os.environ.pop(key) for key in hidden}
    try:
        yield
    finally:
        os.environ.update(values)


def _add_to_log(log: Path, output: Path) -> str:
    """Add what a job itself has printed to the log of its run, and return the last line of it."""
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in (log, output) if path.is_file()]
    write_private(log, mask_credentials("".join(texts)).encode())
    return clone.find_reason(texts[-1] if output.is_file() else "")


def _import_submitit() -> Any:
    try:
        return import_module("submitit")
    except ModuleNotFoundError:
        raise InputError("--engine slurm: submitit is not installed; run uv pip install 'losslab[slurm]'") from None


def _check_commands() -> None:
    for command in COMMANDS:
        if shutil.which(command) is None:
            raise InputError(f"--engine slurm: {command} is not on the PATH; run this on a login node of the cluster")


def _warn_of_sqlite(root: Path) -> None:
    from losslab.tracking.store import find_sqlite_url

    url = find_sqlite_url(root)
    if url is not None:
        print_warning(
            f"MLflow writes to {Path(str(url.database)).name} on each node, and SQLite can break on a network file system; "
            "set MLFLOW_TRACKING_URI to a server that the nodes can reach"
        )
