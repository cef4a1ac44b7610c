"""Peak of a process's own memory, without pages of mapped files."""

import threading
from pathlib import Path

STATUS_FILE = Path("/proc/self/status")
INTERVAL_S = 0.02


class AnonymousPeak:
    """A thread that samples anonymous memory, on systems with /proc."""

    def __init__(self) -> None:
        self.kib = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def stop(self) -> float | None:
        """Stop the thread, and return the peak in MiB, or None without /proc."""
        self.done.set()
        self.thread.join()
        return self.kib / 1024 or None

    def _watch(self) -> None:
        while STATUS_FILE.exists() and not self.done.wait(INTERVAL_S):
            values = [line.split()[1] for line in STATUS_FILE.read_text().splitlines() if line.startswith("RssAnon:")]
            self.kib = max([self.kib, *map(int, values)])
