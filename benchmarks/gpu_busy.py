"""Share of time in which the GPU runs at least one kernel, as nvidia-smi samples it.

This has not run on a GPU so far.
"""

import shutil
import subprocess

import torch

INTERVAL_MS = 100


class BusyMeter:
    def __init__(self) -> None:
        uuid = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
        query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", f"--loop-ms={INTERVAL_MS}"]
        self.process = subprocess.Popen(
            ["nvidia-smi", f"--id=GPU-{uuid}", *query], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def stop(self) -> float | None:
        """Stop sampling, and return the mean of the samples, 0 to 1, or None without any."""
        self.process.terminate()
        text, _ = self.process.communicate()
        samples = [int(line) for line in text.splitlines() if line.strip().isdigit()]
        return sum(samples) / len(samples) / 100 if samples else None


def start_meter() -> BusyMeter | None:
    """Start a meter, if there is a GPU and nvidia-smi."""
    return BusyMeter() if torch.cuda.is_available() and shutil.which("nvidia-smi") else None
