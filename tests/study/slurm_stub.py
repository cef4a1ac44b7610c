"""A stand-in for Slurm on one machine: the commands that submitit and losslab call, with jobs as local processes.

The folder STUB_SLURM has a file for each task of a job: ID.state while it is in the queue, ID.ended when it is not. It shows
what a real cluster would do: array throttles, variables of jobs, requeueing, an end by SIGTERM and SIGKILL.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

STATE = Path(os.environ.get("STUB_SLURM", ""))
OPTIONS = {
    *("array", "cpus-per-task", "gpus-per-node", "gpus-per-task", "job-name", "nodes", "ntasks-per-node", "open-mode"),
    *("output", "partition", "requeue", "signal", "time"),
}


def write(name: str, text: str) -> None:
    path = STATE / name
    partial = path.with_name(f".{name}.{os.getpid()}")
    partial.write_text(text)
    partial.rename(path)


def sbatch(script: str) -> None:
    text = Path(script).read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", text, re.MULTILINE))
    if unknown := sorted(options.keys() - OPTIONS):
        sys.exit(f"sbatch: unrecognized option '--{unknown[0]}'\nTry \"sbatch --help\" for more information")
    if options.get("partition", "main") != "main":
        sys.exit("sbatch: error: Batch job submission failed: Invalid partition name specified")
    number = len(list(STATE.glob("*.submitted"))) + 1
    write(f"{number}.submitted", json.dumps({"options": options}))
    array = re.fullmatch(r"0-(\d+)%(\d+)", options.get("array", "").strip("'"))
    tasks = [f"{number}_{index}" for index in range(int(array[1]) + 1)] if array else [str(number)]
    for task in tasks:
        write(f"{task}.name", options["job-name"])
        write(f"{task}.state", "PENDING")
    write(f"{number}.sh", text)
    command = [sys.executable, "-S", __file__, "control", array[2] if array else "1", *tasks]
    null = subprocess.DEVNULL
    subprocess.Popen(command, start_new_session=True, stdin=null, stdout=null, stderr=null)
    sys.stdout.write(f"Submitted batch job {number}\n")


def control(throttle: str, *tasks: str) -> None:
    """Run the tasks of a job to their end, as the controller of a cluster does."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    waiting, killed = list(tasks), dict[str, float]()
    while waiting or running:
        for task in [task for task in waiting if (STATE / f"{task}.cancel").exists()]:
            waiting.remove(task)
            end(task, "CANCELLED")
        while waiting and len(running) < int(throttle) and not (STATE / "full").exists():
            task = waiting.pop(0)
            write(f"{task}.state", "RUNNING")
            running[task] = subprocess.Popen(
                ["bash", STATE / f"{task.partition('_')[0]}.sh"], env=build_environment(task), start_new_session=True
            )
        for task, process in list(running.items()):
            if (STATE / f"{task}.cancel").exists() and process.poll() is None:
                killed.setdefault(task, time.monotonic())
                patient = time.monotonic() - killed[task] < 0.3
                os.killpg(process.pid, signal.SIGTERM if patient else signal.SIGKILL)
            if (code := process.poll()) is not None:
                del running[task]
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # nothing of a job outlives its script
                if task not in killed and (STATE / f"{task}.requeue").exists():
                    (STATE / f"{task}.requeue").unlink()
                    write(f"{task}.state", "PENDING")
                    waiting.append(task)
                else:
                    out_of_memory = "OUT_OF_MEMORY" if code == 137 else "FAILED" if code else "COMPLETED"
                    end(task, "CANCELLED" if task in killed else out_of_memory)
        time.sleep(0.02)


def end(task: str, state: str) -> None:
    write(f"{task}.ended", state)
    (STATE / f"{task}.state").unlink()


def build_environment(task: str) -> dict[str, str]:
    job, _, index = task.partition("_")
    array = {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": index} if index else {}
    own = {
        "SLURM_JOB_ID": f"{job}{index}",
        "SLURM_JOB_NAME": "losslab",
        "SLURM_NTASKS": "1",
        "SLURM_JOB_NUM_NODES": "1",
    }
    return os.environ | array | own | {"STUB_TASK": task, "SLURM_CPUS_PER_TASK": "1"}


def srun(*arguments: str) -> None:
    output = arguments[arguments.index("--output") + 1]
    command = arguments[arguments.index(sys.executable) :]
    os.environ |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
    task = os.environ["STUB_TASK"]
    write(f"{task}.pid", str(os.getpid()))
    for pattern, value in (("%A_%a", task), ("%j", task), ("%t", "0")):
        output = output.replace(pattern, value)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.execv(command[0], command)


def squeue(*arguments: str) -> None:
    name = next(each.partition("=")[2] for each in arguments if each.startswith("--name="))
    for path in sorted(STATE.glob("*.state")):
        try:
            if path.with_suffix(".name").read_text() == name:
                sys.stdout.write(f"{path.stem}|{path.read_text()}\n")
        except FileNotFoundError:  # it has just ended
            pass


def scancel(*arguments: str) -> None:
    for task in (each for each in arguments if not each.startswith("-")):
        write(f"{task}.cancel", "")


def scontrol(action: str, task: str) -> None:
    write(f"{task}.{action}", "")


def sacct(*arguments: str) -> None:
    task = next(each.partition("=")[2] for each in arguments if each.startswith("--jobs="))
    sys.stdout.write((STATE / f"{task}.ended").read_text())


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
