"""What a run of a study costs besides its epochs: `PYTHONPATH=. python -m benchmarks.study_runs --help`.

Runs like those of `studies/demo.yaml` are done twice, in two clones of the last commit: as processes that import what
they need, as `dvc repro` does, and as forks of one that has imported the libraries, as `losslab study run` does. One run
follows the other, so that a busy neighbour affects both.
"""

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from unittest.mock import patch

import yaml

from benchmarks.settings import ROOT
from losslab.experiments.dvc_cache import find_cache_folder
from losslab.io.files import write_text
from losslab.io.git import find_head
from losslab.study import engine as engines
from losslab.study.plan import StudyRun, plan_runs, read_study
from losslab.study.results import find_finished_runs
from losslab.study.state import StudyState

WAYS = {"processes": False, "forks": True}
"""Name of a way → whether the libraries are imported once for all runs."""
FIRST_STEP = "first step"
HOOK = "def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:\n"
MOMENTS = {
    "Stage 'plugins'": "clone, params, start of DVC",
    "Running stage 'plugins'": "clone, params, start of DVC",
    "Running stage 'train'": "plugins, download and prepare",
    FIRST_STEP: "train before its first step",
    "epoch {epochs}/": "epochs",
    "Running stage 'evaluate'": "train after its last epoch",
    "Running stage 'report'": "evaluate",
    "To track the changes": "report",
}
"""Beginning of a line in a run's log → what has ended there."""
LAST = "commit and record"
PHASES = [*dict.fromkeys(MOMENTS.values()), LAST]
EPOCHS = "epochs"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options(arguments)
    seconds: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="losslab-bench-") as folder:
        projects = {way: make_project(Path(folder, way), options.epochs, options.rounds) for way in WAYS}
        with open_engine(projects["processes"], False, options.threads) as cold:
            cold.prepare(list_runs(projects["processes"])[0])
            began = time.monotonic()
            with open_engine(projects["forks"], True, options.threads) as warm:
                warm.prepare(list_runs(projects["forks"])[0])
                ready = time.monotonic() - began
                engines = {"processes": cold, "forks": warm}
                pairs = list(zip(list_runs(projects["processes"]), list_runs(projects["forks"]), strict=True))
                for number, pair in enumerate(pairs):
                    order = list(zip(WAYS, pair, strict=True))
                    for way, run in order if number % 2 == 0 else order[::-1]:
                        seconds[way].append(time_run(engines[way], run, options.epochs))
                        print(f"{run.name}, {way}: {sum(seconds[way][-1].values()):.1f} s", flush=True)
        same = sum(
            find_finished_runs([run], projects["processes"])[run].md5s
            == find_finished_runs([other], projects["forks"])[other].md5s
            for run, other in pairs
        )
    text = render_table(seconds) + f" Outs with the same md5s both ways: {same} of {len(pairs)} runs.\n"
    text += f"Once for a study: {ready:.0f} s until the libraries are imported and the data prepared.\n"
    write_text(ROOT / "reports/benchmarks/study_runs.md", text)
    print(f"\n{text}\nWritten: reports/benchmarks/study_runs.md")


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study_runs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="seeds of each of two nets")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", help="OMP_NUM_THREADS of each run")
    return parser.parse_args(arguments)


def make_project(folder: Path, epochs: int, seeds: int) -> Path:
    """Clone the last commit; training says there when it begins."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    fit = folder / "src/losslab/training/fit.py"
    text = fit.read_text(encoding="utf-8")
    assert text.count(HOOK) == 1
    fit.write_text(text.replace(HOOK, f"{HOOK}        print({FIRST_STEP!r}, flush=True)\n"), encoding="utf-8")
    study = yaml.safe_load((folder / "studies/demo.yaml").read_text(encoding="utf-8"))
    study["params"]["train"]["epochs"] = epochs
    study |= {"seeds": list(range(seeds)), "grid": {**study["grid"], "loss": ["dice"]}}
    (folder / "studies/bench.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    subprocess.run(["git", *who, "commit", "-q", "-a", "-m", "bench"], cwd=folder, check=True)
    return folder


def list_runs(project: Path) -> list[StudyRun]:
    return plan_runs(read_study("bench", project))


@contextmanager
def open_engine(project: Path, preload: bool, threads: str | None) -> Iterator[engines.LocalEngine]:
    state = StudyState(project, "bench")
    state.folder.mkdir(parents=True)
    with patch.object(engines, "is_supported", lambda: preload):
        engine = engines.LocalEngine(state, find_head(project), find_cache_folder(project), 1, threads)
    with closing(engine):
        yield engine


def time_run(engine: engines.LocalEngine, run: StudyRun, epochs: int) -> dict[str, float]:
    """Do a run, and return the seconds of each phase, by when the lines of its log appear."""
    moments = {beginning.format(epochs=epochs): phase for beginning, phase in MOMENTS.items()}
    log = engine.state.find_log(run.name)
    began = last = time.monotonic()
    engine.start(run)
    spent, seen, is_going = dict.fromkeys(PHASES, 0.0), 0, True
    while is_going:
        is_going = engine.works[0].process.poll() is None
        lines, now = log.read_text(encoding="utf-8").splitlines(), time.monotonic()
        for line in lines[seen:]:
            for beginning, phase in moments.items():
                if line.lstrip().startswith(beginning):
                    spent[phase] += now - last
                    last = now
        seen = len(lines)
        time.sleep(0.01)
    (ended,) = engine.collect_ended()
    assert ended.reason is None, ended.reason
    spent[LAST] = time.monotonic() - last
    assert abs(sum(spent.values()) - (time.monotonic() - began)) < 1
    return spent


def render_table(seconds: dict[str, list[dict[str, float]]]) -> str:
    """Render the medians over runs of each phase, and the ratio of the two ways within a run."""
    rows = {phase: [[run[phase] for run in seconds[way]] for way in WAYS] for phase in PHASES}
    totals = [[sum(run.values()) for run in seconds[way]] for way in WAYS]
    fixed = [[sum(run.values()) - run[EPOCHS] for run in seconds[way]] for way in WAYS]
    lines = ["| seconds of a run | " + " | ".join(WAYS) + " | ratio (lowest to highest) |", "|---|---|---|---|"]
    for phase, (before, after) in (rows | {"**all but the epochs**": fixed, "**whole run**": totals}).items():
        ratios = [new / old for old, new in zip(before, after, strict=True)]
        shown = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"| {phase} | {median(before):.1f} | {median(after):.1f} | {shown} |")
    load = f"{len(seconds['forks'])} runs each way, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the end."
    return "\n".join([*lines, "", load])


if __name__ == "__main__":
    main()
