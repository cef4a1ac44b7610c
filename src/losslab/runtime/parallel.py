"""Work on all cores of this machine."""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def count_cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parallel_map(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Call `work`, which releases the interpreter's lock, on items in a thread per core; return results in order."""
    return list(_start_pool().map(work, items))


@contextmanager
def map_ahead(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int | None = None,
    max_items: int | None = None,
    measure: Callable[[Item], int] = lambda item: 0,
    max_size: float = math.inf,
) -> Iterator[Iterator[Result]]:
    """Yield an iterator over the results of `work`, in the order of the items, computed ahead in threads of its own.

    An error of `work` is raised at the place of its item. The threads end with the block, also where the caller stops
    early: what has not begun by then is never called.

    Args:
        threads: None for one per core.
        max_items: items that may wait, done or not, while the caller uses a result; None for two per thread.
        measure: the size of an item, in any unit; called in the caller's thread.
        max_size: what the sizes of waiting items may add up to; one item is always let in.
    """
    threads = threads or count_cores()
    max_items = max_items or 2 * threads
    pool = ThreadPoolExecutor(threads, "map-ahead")

    def compute_results() -> Iterator[Result]:
        waiting: deque[tuple[int, Future[Result]]] = deque()
        total = 0
        for item in items:
            size = measure(item)
            while waiting and (len(waiting) > max_items or total + size > max_size):
                done, future = waiting.popleft()
                total -= done
                yield future.result()
            waiting.append((size, pool.submit(work, item)))
            total += size
        while waiting:
            yield waiting.popleft()[1].result()

    try:
        yield compute_results()
    finally:
        pool.shutdown(cancel_futures=True)


@cache
def _start_pool() -> ThreadPoolExecutor:
    import cv2

    cv2.setNumThreads(1)  # OpenCV's own threads would compete with these
    return ThreadPoolExecutor(count_cores(), "losslab")
