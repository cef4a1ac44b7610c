"""Two `losslab compare` at once."""

from pathlib import Path

import pytest

from losslab.cli import compare
from losslab.errors import InputError


def test_comparisons_of_one_name_are_written_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "ROOT", tmp_path)
    monkeypatch.setattr(compare, "PATIENCE", 0.1)
    one, other = Path("reports/comparisons/one"), Path("reports/comparisons/other")
    with compare._alone(one), compare._alone(other):
        third = compare._alone(one)
        with pytest.raises(InputError, match="one is being written by another losslab compare; give this"):
            third.__enter__()
    with compare._alone(one):
        pass
