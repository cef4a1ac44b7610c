"""Results computed ahead in threads: their order, how far ahead, where errors come up, and that the threads end."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from random import Random

import pytest

from losslab.runtime.parallel import count_cores, map_ahead, parallel_map
from tests.conftest import ROOT


class CountedItems:
    """Numbers from 0 on, that remember how many of them were taken."""

    def __init__(self, count: int) -> None:
        self.count, self.taken = count, 0

    def __iter__(self) -> Iterator[int]:
        for number in range(self.count):
            self.taken += 1
            yield number


def list_own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("map-ahead")]


@pytest.mark.parametrize("threads", [None, 1, 3, 8])
@pytest.mark.parametrize("max_items", [None, 1, 40])
def test_results_come_in_order_however_long_each_takes(threads: int | None, max_items: int | None) -> None:
    pauses_s = [Random(number).uniform(0, 0.004) for number in range(30)]

    def work(number: int) -> int:
        time.sleep(pauses_s[number])
        return -number

    with map_ahead(work, range(30), threads=threads, max_items=max_items) as results:
        assert list(results) == [-number for number in range(30)]


def test_nothing_comes_of_nothing() -> None:
    with map_ahead(str, []) as results:
        assert list(results) == []


@pytest.mark.parametrize("max_items", [1, 3, 10])
def test_no_more_items_wait_than_are_allowed(max_items: int) -> None:
    items = CountedItems(50)
    with map_ahead(lambda number: number, items, threads=2, max_items=max_items) as results:
        for used, _ in enumerate(results, 1):
            # One is used, and one more was taken to see whether it may come in.
            assert items.taken <= used + max_items + 1
    assert items.taken == 50


def test_two_items_per_thread_wait_where_nothing_else_is_said() -> None:
    items = CountedItems(50)
    with map_ahead(str, items, threads=3) as results:
        next(results)
        assert items.taken == 1 + 2 * 3 + 1


def test_sizes_of_waiting_items_stay_below_the_limit_but_one_is_let_in() -> None:
    sizes = [4, 4, 4, 30, 1, 1, 1, 1, 1, 30, 30, 2]
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        return number

    with map_ahead(work, range(len(sizes)), max_items=100, measure=sizes.__getitem__, max_size=10) as results:
        for number in results:
            waiting = [sizes[other] for other in begun if other > number]
            assert sum(waiting) <= 10 or len(waiting) == 1
    assert sorted(begun) == list(range(len(sizes)))


def test_items_are_worked_on_while_the_caller_is_busy() -> None:
    all_begun = threading.Barrier(3, timeout=10)  # the caller and the two that wait for it
    with map_ahead(lambda number: number and all_begun.wait(), range(3), threads=2, max_items=2) as results:
        assert next(results) == 0
        all_begun.wait()


def test_error_is_raised_at_the_place_of_its_item() -> None:
    def work(number: int) -> int:
        if number in (3, 5):
            raise ValueError(f"item {number}")
        time.sleep(0.002)
        return number

    seen = []
    with pytest.raises(ValueError, match="item 3"), map_ahead(work, range(9), threads=4) as results:
        for number in results:
            seen.append(number)
    assert seen == [0, 1, 2]
    assert list_own_threads() == []


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_threads_end_when_the_caller_stops_early(error: type[BaseException] | None) -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        time.sleep(0.01)

    def stop_early() -> None:
        with map_ahead(work, range(10_000), threads=2, max_items=1000) as results:
            next(results)
            assert list_own_threads()
            if error:
                raise error

    if error:
        with pytest.raises(error):
            stop_early()
    else:
        stop_early()
    assert list_own_threads() == []
    assert len(begun) < 1000, "what had not begun was not called off"


def test_parallel_map_keeps_the_order() -> None:
    assert parallel_map(lambda number: number * number, range(100)) == [number * number for number in range(100)]


def test_cores_are_counted() -> None:
    assert count_cores() >= 1


def test_module_is_quick_to_import() -> None:
    code = "import sys, losslab.runtime.parallel; print(*{'numpy', 'cv2', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "src", check=True)
    assert done.stdout.strip() == ""
