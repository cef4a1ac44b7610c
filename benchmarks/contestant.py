"""One contestant in a process of its own: `python -m benchmarks.contestant NAME WORK SETTINGS OUT`.

The measurements are written to OUT as JSON, since stdout belongs to progress bars.
"""

import importlib
import json
import sys
from pathlib import Path

from benchmarks.settings import Settings, Work

MODULES = {"notebook": "notebook", "lightning": "lightning_example", "losslab": "losslab_run", "bare": "bare_step"}


def main(name: str, folder: str, settings: str, out: str) -> None:
    work = Work(Path(folder))
    num_classes = len(json.loads((work.prepared / "dataset.json").read_text(encoding="utf-8"))["classes"])
    module = importlib.import_module(f"benchmarks.{MODULES[name]}")
    from benchmarks.stopwatch import Stopwatch

    stopwatch = Stopwatch()
    module.run(work, Settings(**json.loads(settings)), num_classes, stopwatch)
    Path(out).write_text(json.dumps(stopwatch.to_dict()), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
