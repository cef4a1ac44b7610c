"""`make bench`: every contestant in processes of its own, round by round; Markdown on stdout, and a copy with JSON.

This process imports no torch: a child's peak memory starts at what its parent held.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import imports, preparing
from benchmarks.data import make, repeat
from benchmarks.report import markdown, summarise
from benchmarks.settings import CAMVID, ROOT, Settings, Work
from losslab.io.files import write_json, write_text

CONTESTANTS = ("notebook", "lightning", "losslab")
GPU = Settings(size=256, batch_size=32, images=320, epochs=2, encoder="resnet18")
MEMORY = Settings(size=128, batch_size=4, images=48, epochs=0, encoder="tu-mobilenetv3_small_050")


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    settings = Settings(options.size, options.batch_size, options.images, options.epochs, options.encoder)
    drawn = options.drawn or not CAMVID.is_dir()
    with tempfile.TemporaryDirectory(prefix="losslab-bench-") as folder:
        results = measure(settings, options.rounds, drawn, Path(folder))
    summary = summarise(results)
    text = markdown(summary)
    write_json(options.out / "bench.json", summary)
    write_text(options.out / "bench.md", text)
    print(text)
    print(f"Written: {options.out}/bench.md, {options.out}/bench.json")


def measure(settings: Settings, rounds: int, drawn: bool, folder: Path) -> dict[str, Any]:
    machine = json.loads(_python("-m", "benchmarks.machine"))
    work = Work(folder / "cpu")
    data = make(work, settings, drawn)
    results: dict[str, Any] = {
        "machine": machine,
        "data": data,
        "settings": asdict(settings) | {"rounds": rounds},
        "rounds": [_round(work, settings, CONTESTANTS) for _ in tqdm(range(rounds), desc="rounds", disable=None)],
        "memory": _memory(folder / "memory", drawn),
        "preparing": _preparing(folder / "preparing", rounds, preparing.FEW, preparing.MANY),
        "imports": imports.seconds(rounds=1),
        "gpu_rounds": [],
    }
    if machine["cuda"]:
        gpu = Work(folder / "gpu")
        make(gpu, GPU, drawn)
        results["gpu_rounds"] = [_round(gpu, GPU, (*CONTESTANTS, "losslab_free")) for _ in range(rounds)]
    return results


def _round(work: Work, settings: Settings, contestants: Sequence[str]) -> dict[str, Any]:
    """One after the other, so that a drifting clock or a busy neighbour hits all alike."""
    measured = {name: contest(name, work, settings) for name in contestants}
    measured["losslab"]["first_step_s"] = first_step(work)
    return measured


def contest(name: str, work: Work, settings: Settings) -> dict[str, Any]:
    """What one contestant's stopwatch says, and the seconds from the start of its process to the end of its first step."""
    if name == "losslab_free":
        name, settings = "losslab", replace(settings, deterministic=False)
    out = work.folder / "out.json"
    began = time.time()
    _python("-m", "benchmarks.contestant", name, str(work.folder), settings.to_json(), str(out))
    measured: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return measured | {"first_step_s": measured["first_step_at"] - began}


def first_step(work: Work) -> float:
    """Seconds of `python src/train.py`, MLflow and all, to the end of its first step."""
    out = work.folder / "out.json"
    began = time.time()
    _python("-m", "benchmarks.first_step", str(ROOT / "src/train.py"), str(out), cwd=work.folder)
    ended: float = json.loads(out.read_text(encoding="utf-8"))["first_step_at"]
    return ended - began


def _memory(folder: Path, drawn: bool) -> dict[str, list[Any]]:
    """Peaks of losslab's train and evaluate with some images, and with ten times as many."""
    few, many = Work(folder / "few"), Work(folder / "many")
    make(few, MEMORY, drawn)
    repeat(few.prepared, many.prepared, 10)
    many.params.write_bytes(few.params.read_bytes())
    (many.folder / "data/catalog").symlink_to(few.folder / "data/catalog")
    memory: dict[str, list[Any]] = {"images": [MEMORY.images, MEMORY.images * 10], "peak_mib": [], "anonymous_mib": []}
    for work in (few, many):
        out = work.folder / "out.json"
        _python("-m", "benchmarks.memory", str(work.folder), str(out))
        for name, value in json.loads(out.read_text(encoding="utf-8")).items():
            memory[name].append(value)
    return memory


def _preparing(folder: Path, rounds: int, few: int, many: int) -> dict[str, Any]:
    """Images a second of the plain loop and of losslab's prepare with few images, and prepare's memory with few and many."""

    def measured(who: str, place: str) -> dict[str, float]:
        _python("-m", "benchmarks.preparing", who, str(folder / place), str(folder / "out.json"))
        content: dict[str, float] = json.loads((folder / "out.json").read_text(encoding="utf-8"))
        return content

    data = preparing.make(folder / "many", many)
    preparing.link_some(folder / "many", folder / "few", few)
    contests = [{who: measured(who, "few") for who in ("plain_loop", "losslab")} for _ in range(rounds)]
    memory = [contests[0]["losslab"]["anonymous_mib"], measured("losslab", "many")["anonymous_mib"]]
    return {"data": data, "images": [few, many], "rounds": contests, "anonymous_mib": memory}


def _python(*arguments: str, cwd: Path | None = None) -> str:
    """Run this Python with losslab and benchmarks importable; returns its stdout."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "PYTHONWARNINGS": "ignore",
    }
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):  # else the runs would be recorded in the user's own store
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}\n{done.stderr[-4000:]}")
    return done.stdout


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--size", type=int, default=256, help="pixels, a multiple of 32 (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=4, help="(%(default)s)")
    parser.add_argument("--images", type=int, default=20, help="for training; half as many evaluated (%(default)s)")
    parser.add_argument("--epochs", type=int, default=1, help="measured, after one that is not (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--encoder", default="resnet18", help="of the Unet (%(default)s)")
    parser.add_argument("--drawn", action="store_true", help="drawn images, also where ../shared has CamVid")
    parser.add_argument("--out", type=Path, default=ROOT / "reports/benchmarks", help="folder for bench.md, bench.json")
    options = parser.parse_args(arguments)
    for name in ("size", "batch_size", "images", "epochs", "rounds"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(options, name)}; it must be 1 or more")
    if options.size % 32:
        parser.error(f"--size is {options.size}; it must be a multiple of 32")
    return options


if __name__ == "__main__":
    main()
