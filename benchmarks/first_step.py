"""Run a stage script to the end of its first optimizer step: `python -m benchmarks.first_step SCRIPT OUT`.

The time is written to OUT as JSON. The script runs as with `python SCRIPT`, in the current folder.
"""

import json
import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook


def main(script: str, out: str) -> None:
    def stop(*_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        Path(out).write_text(json.dumps({"first_step_at": time.time()}), encoding="utf-8")
        os._exit(0)  # an orderly end would only take time

    register_optimizer_step_post_hook(stop)
    sys.argv = [script]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
