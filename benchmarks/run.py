"""`make bench`: every contestant in its own processes, round by round, with the results in Markdown and JSON.

This process imports no torch, because a child's peak memory starts at that of its parent.
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
from benchmarks.report import render_markdown, summarise
from benchmarks.settings import CAMVID, ROOT, Settings, Work
from losslab.io.files import write_json, write_text

CONTESTANTS = ("notebook", "lightning", "losslab", "bare")
GPU = Settings(size=256, batch_size=32, images=320, epochs=2, encoder="resnet18")
MEMORY = Settings(size=128, batch_size=4, images=48, epochs=0, encoder="tu-mobilenetv3_small_050")


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options(arguments)
    settings = Settings.from_options(options)
    drawn = options.drawn or not CAMVID.is_dir()
    with tempfile.TemporaryDirectory(prefix="losslab-bench-") as folder:
        results = measure(settings, options.rounds, drawn, Path(folder))
    summary = summarise(results)
    text = render_markdown(summary)
    write_json(options.out / "bench.json", summary)
    write_text(options.out / "bench.md", text)
    print(text)
    print(f"Written: {options.out}/bench.md, {options.out}/bench.json")


def measure(settings: Settings, rounds: int, drawn: bool, folder: Path) -> dict[str, Any]:
    machine = json.loads(_run_python("-m", "benchmarks.machine"))
    work = Work(folder / "cpu")
    data = make(work, settings, drawn)
    results: dict[str, Any] = {
        "machine": machine,
        "data": data,
        "settings": asdict(settings) | {"rounds": rounds},
        "rounds": [_run_round(work, settings, CONTESTANTS) for _ in tqdm(range(rounds), desc="rounds", disable=None)],
        "memory": _measure_memory(folder / "memory", drawn),
        "preparing": _measure_preparing(folder / "preparing", rounds, preparing.FEW_IMAGES, preparing.MANY_IMAGES),
        "imports": imports.time_imports(rounds=1),
        "gpu_rounds": [],
    }
    if machine["cuda"]:
        gpu = Work(folder / "gpu")
        make(gpu, GPU, drawn)
        results["gpu_rounds"] = [_run_round(gpu, GPU, (*CONTESTANTS, "losslab_free")) for _ in range(rounds)]
    return results


def _run_round(work: Work, settings: Settings, contestants: Sequence[str]) -> dict[str, Any]:
    """Run one after the other, so that a drifting clock or a busy neighbour affects all equally."""
    measured = {name: contest(name, work, settings) for name in contestants}
    measured["losslab"]["first_step_s"] = time_first_step(work)
    return measured


def contest(name: str, work: Work, settings: Settings) -> dict[str, Any]:
    """Run one contestant, and return its measurements and the seconds from its start to the end of its first step."""
    if name == "losslab_free":
        name, settings = "losslab", replace(settings, deterministic=False)
    out = work.folder / "out.json"
    began = time.time()
    _run_python("-m", "benchmarks.contestant", name, str(work.folder), settings.to_json(), str(out))
    measured: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return measured | {"first_step_s": measured["first_step_at"] - began}


def time_first_step(work: Work) -> float:
    """Measure the seconds of `python src/train.py`, MLflow included, to the end of its first step."""
    out = work.folder / "out.json"
    began = time.time()
    _run_python("-m", "benchmarks.first_step", str(ROOT / "src/train.py"), str(out), cwd=work.folder)
    ended: float = json.loads(out.read_text(encoding="utf-8"))["first_step_at"]
    return ended - began


def _measure_memory(folder: Path, drawn: bool) -> dict[str, list[Any]]:
    """Measure peaks of losslab's train and evaluate with some images, and with ten times as many."""
    few, many = Work(folder / "few"), Work(folder / "many")
    make(few, MEMORY, drawn)
    repeat(few.prepared, many.prepared, 10)
    many.params.write_bytes(few.params.read_bytes())
    (many.folder / "data/catalog").symlink_to(few.folder / "data/catalog")
    memory: dict[str, list[Any]] = {"images": [MEMORY.images, MEMORY.images * 10], "peak_mib": [], "anonymous_mib": []}
    for work in (few, many):
        out = work.folder / "out.json"
        _run_python("-m", "benchmarks.memory", str(work.folder), str(out))
        for name, value in json.loads(out.read_text(encoding="utf-8")).items():
            memory[name].append(value)
    return memory


def _measure_preparing(folder: Path, rounds: int, few: int, many: int) -> dict[str, Any]:
    """Measure the speed of the plain loop and of losslab's prepare with few images, and prepare's memory with few and many."""

    def measure_one(who: str, images: str) -> dict[str, float]:
        _run_python("-m", "benchmarks.preparing", who, str(folder / images), str(folder / "out.json"))
        content: dict[str, float] = json.loads((folder / "out.json").read_text(encoding="utf-8"))
        return content

    data = preparing.make(folder / "many", many)
    preparing.link_some(folder / "many", folder / "few", few)
    contests = [{who: measure_one(who, "few") for who in ("plain_loop", "losslab")} for _ in range(rounds)]
    memory = [contests[0]["losslab"]["anonymous_mib"], measure_one("losslab", "many")["anonymous_mib"]]
    return {"data": data, "images": [few, many], "rounds": contests, "anonymous_mib": memory}


def _run_python(*arguments: str, cwd: Path | None = None) -> str:
    """Run this Python with losslab and benchmarks importable, and return its stdout."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "PYTHONWARNINGS": "ignore",
    }
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):  # or the runs would be recorded in the user's own store
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}\n{done.stderr[-4000:]}")
    return done.stdout


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--size", type=int, default=256, help="side of the images in pixels, a multiple of 32 (%(default)s)"
    )
    parser.add_argument("--batch-size", type=int, default=4, help="images per step (%(default)s)")
    parser.add_argument(
        "--images", type=int, default=20, help="training images; half as many are evaluated (%(default)s)"
    )
    parser.add_argument(
        "--epochs", type=int, default=1, help="measured epochs, after a first one that is not (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="times that all contestants run (%(default)s)")
    parser.add_argument("--encoder", default="resnet18", help="encoder of the Unet (%(default)s)")
    parser.add_argument("--drawn", action="store_true", help="use drawn images, even if ../shared has CamVid")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "reports/benchmarks", help="folder for bench.md and bench.json"
    )
    options = parser.parse_args(arguments)
    for name in ("size", "batch_size", "images", "epochs", "rounds"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(options, name)}, but must be 1 or more")
    if options.size % 32:
        parser.error(f"--size is {options.size}, but must be a multiple of 32")
    return options


if __name__ == "__main__":
    main()
