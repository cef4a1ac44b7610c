"""Two `losslab compare` at once."""

from pathlib import Path

import pytest

from losslab import compare_cli
from losslab.errors import InputError


def test_comparisons_of_one_name_are_written_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_cli, "ROOT", tmp_path)
    monkeypatch.setattr(compare_cli, "PATIENCE", 0.1)
    one, other = Path("reports/comparisons/one"), Path("reports/comparisons/other")
    with compare_cli._alone(one), compare_cli._alone(other):
        third = compare_cli._alone(one)
        with pytest.raises(InputError, match="one is being written by another losslab compare; give this"):
            third.__enter__()
    with compare_cli._alone(one):
        pass
