"""Work on all cores of this machine."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def count_cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parallel_map(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Call `work` on each item in as many threads as there are cores, and return the results in order.

    NumPy, OpenCV and SciPy release the lock of the interpreter, so threads are enough.
    """
    return list(_start_pool().map(work, items))


@cache
def _start_pool() -> ThreadPoolExecutor:
    import cv2

    cv2.setNumThreads(1)  # OpenCV's own threads would compete with these
    return ThreadPoolExecutor(count_cores(), "losslab")
