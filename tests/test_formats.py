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
    (f.format_line, ("Zürich, 2 × 3: 日本",), "Zürich, 2 × 3: 日本"),
    (f.format_line, ("a\x1b]8;;x\x07\n\r\x9b\u202e\udcff",), r"a\u001b]8;;x\u0007\n\u000d\u009b\u202e\udcff"),
    (f.format_line, ("'http://me:pw@h:1/a b'",), "'http://***@h:1/a b'"),
    (f.format_line, ("http://me:p/w@x@h/",), "http://***@h/"),
    (f.format_line, ("ssh://token@h/a, s3://bucket/a",), "ssh://***@h/a, s3://bucket/a"),
    (f.format_line, ("http://me:p\nw@h",), "http://***@h"),
    (f.format_line, ("--address me:pw@h:6379: no",), "--address ***@h:6379: no"),
    (f.format_line, ("url: /a?x=1&X-Amz-Signature=b&y=2",), "url: /a?x=1&X-Amz-Signature=***&y=2"),
    (f.format_line, ("AccountName=a;AccountKey=b==;End",), "AccountName=a;AccountKey=***;End"),
    (f.format_line, ("header 'Bearer abc\\n'",), "header 'Bearer ***"),
    (f.format_line, ("sqlite:////a/b.db?timeout=30",), "sqlite:////a/b.db?timeout=30"),
    (f.format_line, ("git@github.com:a/b.git",), "git@github.com:a/b.git"),
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
