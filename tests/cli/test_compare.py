"""Two `losslab compare` at once."""

from pathlib import Path

import pytest

from losslab.cli import compare
from losslab.errors import InputError


def test_comparisons_of_one_name_are_written_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "ROOT", tmp_path)
    monkeypatch.setattr(compare, "LOCK_TIMEOUT_S", 0.1)
    one, other = Path("reports/comparisons/one"), Path("reports/comparisons/other")
    with compare._lock_comparison(one), compare._lock_comparison(other):
        third = compare._lock_comparison(one)
        with pytest.raises(InputError, match="another losslab compare is writing reports/comparisons/one; give this"):
            third.__enter__()
    with compare._lock_comparison(one):
        pass
