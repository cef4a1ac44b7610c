"""How time, memory and disk grow with the number of images: `PYTHONPATH=. python -m benchmarks.growth --help`.

Files of few pixels are drawn, so that what is spent for each image counts, and each stage of a run follows as a process of
its own, in a clone of the last commit.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml

from benchmarks.settings import ROOT
from losslab.io.files import write_text

SIDE_PX, SMOOTHNESS_PX = 32, 4
"""Side of an image; distance within which its pixels are alike."""
LIMITS = (100, 150)
"""Grey values from which on a pixel is of the second and of the third class."""
NAME = "growth"
NEW = ["-m", "losslab", "datasets", "new", NAME, "--images", "drawn/images", "--masks", "drawn/masks"]
STEPS = {
    "datasets new": (NEW, ["data/raw"]),
    "plugins": (["src/plugins.py"], ["data/plugins"]),
    "prepare": (["src/prepare.py"], ["data/prepared"]),
    "train": (["src/train.py"], ["models"]),
    "evaluate": (["src/evaluate.py"], ["reports"]),
    "report": (["src/report.py"], ["reports/report.html", "reports/figures"]),
}
"""Step → arguments of Python, and what it writes."""
SHOWN = [step for step in STEPS if step != "plugins"]


@dataclass(frozen=True)
class Cost:
    seconds: float
    processor_s: float
    peak_mib: float
    """Highest resident memory of the step's process."""
    written_mib: float


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options(arguments)
    costs: dict[int, dict[str, Cost]] = {}
    for images in options.images:
        with tempfile.TemporaryDirectory(prefix="losslab-bench-") as folder:
            costs[images] = measure_run(Path(folder, "project"), images)
        write_text(ROOT / "reports/benchmarks/growth.md", render_table(costs))
    print(f"{render_table(costs)}\nWritten: reports/benchmarks/growth.md")


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    return parser.parse_args(arguments)


def measure_run(project: Path, images: int) -> dict[str, Cost]:
    """Draw so many images, and measure each step of a run of one epoch."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(project)], check=True)
    draw_images(project / "drawn", images)
    write_params(project / "params.yaml")
    costs = {}
    for step, (command, outs) in STEPS.items():
        costs[step] = measure_step(project, command, [project / out for out in outs])
        print(f"{images} images, {step}: {costs[step]}", flush=True)
    return costs


def draw_images(folder: Path, images: int) -> None:
    """Write `images/N.png`, each unlike all others, and `masks/N.png` of three classes."""
    stream = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(images):
        coarse = stream.integers(0, 256, (SIDE_PX // SMOOTHNESS_PX, SIDE_PX // SMOOTHNESS_PX, 3), np.uint8)
        image = cv2.resize(coarse, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
        mask = np.digitize(image[..., 0], LIMITS).astype(np.uint8)
        for kind, pixels in (("images", image), ("masks", mask)):
            cv2.imwrite(str(folder / kind / f"{number:06d}.png"), pixels)


def write_params(path: Path) -> None:
    """Change the shipped params: the smallest net, for one epoch."""
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    params |= {"dataset": NAME, "arch": "simple_cnn", "encoder": None}
    params["prepare"] |= {"size": SIDE_PX, "split": params["prepare"]["split"] | {"method": "random"}}
    params["train"] |= {"epochs": 1, "device": "cpu"}
    write_text(path, yaml.safe_dump(params, sort_keys=False))


def measure_step(project: Path, command: Sequence[str], outs: Sequence[Path]) -> Cost:
    """Run Python in the project, and measure the process. Raises CalledProcessError if it fails."""
    environment = os.environ | {"PYTHONPATH": str(project / "src")}
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *command], cwd=project, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds, process.returncode = time.monotonic() - began, os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            print(output.read().decode(errors="replace"))
            raise subprocess.CalledProcessError(process.returncode, command)
    written = sum(path.stat().st_size for out in outs for path in [out, *out.rglob("*")] if path.is_file())
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, written / 2**20)


def render_table(costs: dict[int, dict[str, Cost]]) -> str:
    """Render seconds, processor seconds, peak memory and what is written, by step and number of images."""
    lines = [
        "| step | " + " | ".join(f"{images:,} images" for images in costs) + " |",
        "|---|" + "---|" * len(costs),
        *(f"| {step} | " + " | ".join(_format_cost(steps[step]) for steps in costs.values()) + " |" for step in SHOWN),
    ]
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the end"
    return "\n".join([*lines, "", f"Seconds (of processors), MiB of memory at most, MiB written; {load}.", ""])


def _format_cost(cost: Cost) -> str:
    return f"{cost.seconds:.0f} s ({cost.processor_s:.0f} s), {cost.peak_mib:.0f} MiB, {cost.written_mib:.1f} MiB"


if __name__ == "__main__":
    main()
