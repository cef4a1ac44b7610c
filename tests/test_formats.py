import math
from collections.abc import Callable
from typing import Any

import pytest

from losslab import formats as f

CASES: list[tuple[Callable[..., str], tuple[Any, ...], str]] = [
    (f.format_score, (0.81251,), "0.813"),
    (f.format_score, (math.inf,), "inf"),
    (f.format_percent, (0.0,), "0"),
    (f.format_percent, (0.00994,), "0.99"),
    (f.format_percent, (0.00995,), "1.0"),
    (f.format_percent, (0.9994,), "99.9"),
    (f.format_percent, (0.9995,), "100"),
    (f.format_cell_percent, (0.0004,), "<0.1"),
    (f.format_cell_percent, (0.0005,), "0.1"),
    (f.format_cell_percent, (0.9994,), "99.9"),
    (f.format_cell_percent, (0.9995,), ">99.9"),
    (f.format_count, (999,), "999"),
    (f.format_count, (1000.4,), "1,000"),
    (f.format_brief, (123456.0,), "1.235e+05"),
    (f.format_brief, (0.00012345,), "0.0001234"),
    (f.format_list, ([],), ""),
    (f.format_list, (["a"],), "a"),
    (f.format_list, (["a", "b"],), "a and b"),
    (f.format_list, (list("abcde"),), "a, b, c, d and e"),
    (f.format_list, (list("abcdefg"),), "a, b, c, d, e and 2 more"),
    (f.format_plural, (0, "run"), "0 runs"),
    (f.format_plural, (1, "study", "studies"), "1 study"),
    (f.format_bytes, (0,), "0 bytes"),
    (f.format_bytes, (999,), "999 bytes"),
    (f.format_bytes, (1000,), "1.0 kB"),
    (f.format_bytes, (9_949,), "9.9 kB"),
    (f.format_bytes, (9_950,), "10 kB"),
    (f.format_bytes, (999_500,), "1.0 MB"),
    (f.format_bytes, (2_500_000_000_000,), "2500 GB"),
    (f.format_mean_sd, (0.5, 0.0, 2), "0.50 ± 0.00"),
    (f.format_mean_sd, (0.5, math.nan, 2), "0.50"),
    (f.format_mean_sd, (math.nan, 0.1, 2), f.ABSENT),
    (f.format_interval, ((-0.01, 0.02), 3), "[-0.010, 0.020]"),
    (f.format_interval, ((math.nan, 0.02), 3), f.ABSENT),
    (f.format_p_value, (0.0,), "< 0.001"),
    (f.format_p_value, (0.001,), "0.001"),
    (f.format_p_value, (0.0999,), "0.100"),
    (f.format_p_value, (0.1,), "0.10"),
    (f.format_p_value, (1.0,), "1.00"),
    (f.format_parameters, (999,), "999"),
    (f.format_parameters, (1000,), "1 k"),
    (f.format_parameters, (999_499,), "999 k"),
    (f.format_parameters, (999_500,), "1.0 M"),
    (f.format_gflops, (9.94,), "9.9"),
    (f.format_gflops, (10.0,), "10.0"),
    (f.format_duration, (0.0,), "0 s"),
    (f.format_duration, (9.96,), "10 s"),
    (f.format_duration, (10.4,), "10 s"),
    (f.format_duration, (59.4,), "59 s"),
    (f.format_duration, (59.6,), "1 min 00 s"),
    (f.format_duration, (3599.4,), "59 min 59 s"),
    (f.format_duration, (3600,), "1 h 00 min"),
    (f.format_duration, (360_000,), "100 h 00 min"),
    (f.format_milliseconds, (99.94,), "99.9 ms"),
    (f.format_milliseconds, (100.0,), "100 ms"),
    (f.format_sort_key, (0.1234567891,), "0.123456789"),
    (f.format_sort_key, (None,), ""),
    (f.format_sort_key, (math.nan,), ""),
    (f.format_interval, (None, 3), f.ABSENT),
]

TAKES_MISSING = [
    f.format_score,
    f.format_percent,
    f.format_p_value,
    f.format_gflops,
    f.format_duration,
    f.format_milliseconds,
]


@pytest.mark.parametrize(("function", "arguments", "text"), CASES, ids=lambda value: getattr(value, "__name__", None))
def test_value_is_formatted(function: Callable[..., str], arguments: tuple[Any, ...], text: str) -> None:
    assert function(*arguments) == text


@pytest.mark.parametrize("function", TAKES_MISSING)
def test_missing_number_is_a_dash(function: Callable[[float | None], str]) -> None:
    assert function(None) == function(math.nan) == f.ABSENT
