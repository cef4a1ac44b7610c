"""What a run of a study costs beside its epochs: `python -m benchmarks.study_runs [rounds]`.

Runs of `studies/demo.yaml`'s kind, in clones as `losslab study run` makes them: with each stage, DVC and the worker a process that
imports what it needs, and as forks of a process that has imported the libraries. Both take turns, so that a busy neighbour
affects them equally.
"""

import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from unittest.mock import patch

import yaml

from losslab.experiments.dvc_cache import find_cache_folder
from losslab.io.files import write_text
from losslab.io.git import find_head
from losslab.study import engine as engines
from losslab.study.plan import StudyRun, plan_runs, read_study
from losslab.study.state import StudyState

ROOT = Path(__file__).parent.parent
STUDY = {
    "title": "Runs",
    "question": "What does a run cost?",
    "params": {
        "dataset": "synthetic_lesions",
        "prepare": {"size": 64},
        "train": {"epochs": 5, "batch_size": 8, "lr": 0.003, "device": "cpu"},
    },
    "grid": {"net": {"unet": {"arch": "unet", "encoder": "tu-mobilenetv3_small_050"}}},
}
PARTS = {
    "clone, DVC to the first stage": r"Stage '|Running stage '",
    "stages before train": r"> python src/train.py",
    "train without its epochs": r"Running stage 'evaluate'",
    "evaluate": r"Running stage 'report'",
    "report": r"Use `dvc push`",
}
"""Part of a run → pattern of the line that ends it; what comes after the last is commit and record."""
LAST_PART = "end of DVC, commit, record"
EPOCHS = re.compile(r"^epoch (\d+)/\1 .* (\d+) s$", re.MULTILINE)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory(prefix="losslab-bench-") as folder:
        measured = measure(rounds, Path(folder) / "project")
    text = "\n".join(write_table(measured, rounds)) + "\n"
    print(text)
    write_text(ROOT / "reports/benchmarks/study_runs.md", text)


def measure(rounds: int, project: Path) -> dict[str, list[dict[str, float]]]:
    """Measure runs both ways; the first of each way is not counted."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(project)], check=True)
    write_text(project / "studies/runs.yaml", yaml.safe_dump(STUDY | {"seeds": list(range(2 * rounds + 2))}))
    study = read_study("runs", project)
    state, measured = StudyState(project, study.key), dict[str, list[dict[str, float]]]()

    def build(is_forking: bool) -> engines.LocalEngine:
        with patch.object(engines, "is_supported", lambda: is_forking):
            built = engines.LocalEngine(state, find_head(project), find_cache_folder(project), 1)
        built.slots = [slot.with_name(f"slot-{1 + is_forking}") for slot in built.slots]
        return built

    with closing(build(False)) as processes, closing(build(True)) as forks:
        assert processes.prepare(plan_runs(study)[0]).reason is None
        runs = iter(plan_runs(study))
        for number in range(rounds + 1):
            for name, engine in (("processes", processes), ("forks", forks)):
                parts = time_run(engine, next(runs), state)
                if number:
                    measured.setdefault(name, []).append(parts)
    return measured


def time_run(engine: engines.LocalEngine, run: StudyRun, state: StudyState) -> dict[str, float]:
    """Return the seconds of each part of a run."""
    log, seen, is_over = state.find_log(run.name), dict[str, float](), threading.Event()
    began = time.monotonic()

    def watch() -> None:
        while not is_over.wait(0.02):
            text = log.read_text(errors="replace") if log.exists() else ""
            for part, pattern in PARTS.items():
                if part not in seen and re.search(pattern, text):
                    seen[part] = time.monotonic() - began

    watcher = threading.Thread(target=watch)
    watcher.start()
    engine.start(run)
    while not (ended := engine.collect_ended()):
        pass
    total = time.monotonic() - began
    is_over.set()
    watcher.join()
    assert ended[0].reason is None, ended[0].reason
    epochs = EPOCHS.findall(log.read_text())
    parts, before = {"epochs": float(epochs[-1][1])}, 0.0
    for part, moment in (seen | {LAST_PART: total}).items():
        parts[part] = moment - before - (parts["epochs"] if part.startswith("train") else 0)
        before = moment
    return parts | {"all but the epochs": total - parts["epochs"]}


def write_table(measured: dict[str, list[dict[str, float]]], rounds: int) -> Iterator[str]:
    """Yield the lines of a table of medians."""
    yield f"Seconds of a run, medians of {rounds} each, which took turns; epochs to the second, as its log has them."
    yield ""
    yield "| part | processes | forks | ratio |"
    yield "|---|---|---|---|"
    choose: Callable[[str, str], float] = lambda name, part: median(parts[part] for parts in measured[name])  # noqa: E731
    for part in measured["forks"][0]:
        before, after = (choose(name, part) for name in ("processes", "forks"))
        yield f"| {part} | {before:.1f} | {after:.1f} | {after / before if before else 1:.2f} |"


if __name__ == "__main__":
    main()
