"""The peak of the memory that a process itself has taken, without pages of mapped files."""

import threading
from pathlib import Path

STATUS = Path("/proc/self/status")
EVERY_S = 0.02


class AnonymousPeak:
    """Watches anonymous memory from a thread, where there is /proc."""

    def __init__(self) -> None:
        self.kib = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def stop(self) -> float | None:
        self.done.set()
        self.thread.join()
        return self.kib / 1024 or None

    def _watch(self) -> None:
        while STATUS.exists() and not self.done.wait(EVERY_S):
            values = [line.split()[1] for line in STATUS.read_text().splitlines() if line.startswith("RssAnon:")]
            self.kib = max([self.kib, *map(int, values)])
