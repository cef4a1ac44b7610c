"""How busy the GPU is: the share of time in which it runs at least one kernel, as nvidia-smi samples it.

Not run on a GPU so far.
"""

import shutil
import subprocess

import torch

EVERY_MS = 100


class BusyMeter:
    def __init__(self) -> None:
        uuid = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
        query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", f"--loop-ms={EVERY_MS}"]
        self.process = subprocess.Popen(
            ["nvidia-smi", f"--id=GPU-{uuid}", *query], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def stop(self) -> float | None:
        """The mean of the samples, 0..1; None where there are none."""
        self.process.terminate()
        text, _ = self.process.communicate()
        samples = [int(line) for line in text.splitlines() if line.strip().isdigit()]
        return sum(samples) / len(samples) / 100 if samples else None


def meter() -> BusyMeter | None:
    """A running meter, where there is a GPU and nvidia-smi."""
    return BusyMeter() if torch.cuda.is_available() and shutil.which("nvidia-smi") else None
