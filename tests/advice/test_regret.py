from pathlib import Path

import pytest

from losslab.advice import measure_regret
from losslab.advice.regret import summarise_regret
from losslab.errors import InputError
from tests.advice.rows import KINDS, write_rows


def test_advice_for_a_left_out_kind_has_not_seen_it(tmp_path: Path) -> None:
    """Two kinds alike in measures and scores, and two of another sort: advice is right where the average is wrong."""
    measures, points = KINDS["lesions"]
    others, reverse = KINDS["nuclei"][0], {loss: 100 - value for loss, value in points.items()}
    kinds = {"a": (measures, points), "b": (measures, points), "c": (others, reverse), "d": (others, reverse)}
    rows = measure_regret(write_rows(tmp_path / "rows", kinds))
    assert [(row.kind, row.advised[0], row.first) for row in rows] == [
        ("a", "dice", 0),
        ("b", "dice", 0),
        ("c", "focal", 0),
        ("d", "focal", 0),
    ]
    assert [row.baseline for row in rows] == pytest.approx([1, 1, 4, 4])
    assert [row.favourite for row in rows[:2]] == ["focal", "focal"]
    assert [row.average for row in rows] == pytest.approx([5, 5, 5, 5])
    said = summarise_regret(rows)
    assert "loses 0.0 points of mIoU, the best of its three 0.0, always dice+cross_entropy 2.5" in said
    assert "Of 4 kinds of data, the first advice is a better loss on 4." in said and "let the study decide" not in said


def test_advice_that_is_no_better_says_so(tmp_path: Path) -> None:
    rows = measure_regret(write_rows(tmp_path / "rows"))
    said = summarise_regret(rows)
    assert [row.advised[0] for row in rows] == ["bce", "dice+cross_entropy", "dice+cross_entropy"]
    assert (
        "Of 3 kinds of data, the first advice is dice+cross_entropy on 2 and one that is no better (lesions) on 1."
        in said
    )
    assert "So the first advice is no better than always dice+cross_entropy" in said
    assert all(row.best_of_three <= row.first for row in rows)


def test_few_kinds_or_no_baseline_measure_nothing(tmp_path: Path) -> None:
    two = write_rows(tmp_path / "two", {name: KINDS[name] for name in ("lesions", "nuclei")})
    with pytest.raises(InputError, match=r"rows of 2 of at least 3 kinds of data: .* cannot be measured yet"):
        measure_regret(two)
    measures, points = KINDS["nuclei"]
    less = {loss: value for loss, value in points.items() if loss != "dice+cross_entropy"}
    with pytest.raises(InputError, match=r"nuclei.runs.csv: no runs of dice\+cross_entropy on every net"):
        measure_regret(write_rows(tmp_path / "less", KINDS | {"nuclei": (measures, less)}))
