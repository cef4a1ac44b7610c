from pathlib import Path

import pytest

from losslab.advice import find_results, read_results
from losslab.errors import InputError
from losslab.io.files import read_csv, write_csv
from tests.advice.rows import KINDS, MEASURES, write_rows
from tests.conftest import ROOT


def test_points_are_means_over_seeds_and_nets_of_the_runs_that_count(tmp_path: Path) -> None:
    lesions, *_ = read_results(write_rows(tmp_path / "rows"))
    assert (lesions.kind, lesions.measures.classes, lesions.measures.width_px) == ("lesions", 2, 12.0)
    assert lesions.points == pytest.approx(KINDS["lesions"][1])
    assert lesions.gaps["focal"] == pytest.approx(5)
    # Seeds are 0.2 apart, so have a standard deviation of 0.1 * sqrt(2), and a loss has four of them.
    assert lesions.noise == pytest.approx(0.1)


def test_loss_that_fails_with_some_seeds_adds_no_noise_to_others(tmp_path: Path) -> None:
    folder = write_rows(tmp_path / "rows")
    rows = read_csv(folder / "lesions.runs.csv")
    lost = {"focal": "0.01", "bce": "0.02"}
    write_csv(
        folder / "lesions.runs.csv",
        [row | ({"miou": lost[row["loss"]]} if row["loss"] in lost and row["seed"] == "1" else {}) for row in rows],
    )
    assert read_results(folder)[0].noise == pytest.approx(0.1)


def test_rows_that_are_not_all_there_are_refused(tmp_path: Path) -> None:
    folder = write_rows(tmp_path / "rows")
    about = [row | {"runs": "21", "failed": "1"} for row in read_csv(folder / "datasets.csv")]
    write_csv(folder / "datasets.csv", about)
    assert len(read_results(folder)) == 3
    rows = read_csv(folder / "lesions.runs.csv")
    write_csv(folder / "lesions.runs.csv", rows[:12])
    with pytest.raises(
        InputError, match=r"lesions.runs.csv: 12 rows, but datasets.csv counts 22 runs: one of them was"
    ):
        read_results(folder)
    write_csv(folder / "lesions.runs.csv", [dict(rows[0], miou="91.4"), *rows[1:]])
    with pytest.raises(InputError, match=r"lesions-.*: miou is 91.4; it must be 0 to 1"):
        read_results(folder)


def test_loss_without_a_run_on_some_net_is_out(tmp_path: Path) -> None:
    folder = write_rows(tmp_path / "rows")
    rows = read_csv(folder / "lesions.runs.csv")
    write_csv(folder / "lesions.runs.csv", [row for row in rows if (row["loss"], row["net"]) != ("dice", "small")])
    assert read_results(folder)[0].points.keys() == KINDS["lesions"][1].keys() - {"dice"}


def test_kind_without_finished_runs_is_left_out(tmp_path: Path) -> None:
    folder = write_rows(tmp_path / "rows")
    rows = read_csv(folder / "lesions.runs.csv")
    write_csv(folder / "lesions.runs.csv", [row | {"state": "failed"} for row in rows])
    assert [kind.kind for kind in read_results(folder)] == ["vessels", "nuclei"]


def test_project_without_rows_takes_those_that_come_with_losslab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_results(tmp_path) == ROOT / "results/odyssey"
    monkeypatch.setattr("losslab.advice.results.CARRIED", tmp_path)  # as in a wheel
    assert find_results(tmp_path / "project") == tmp_path
    own = write_rows(tmp_path / "project/results/odyssey")
    assert find_results(tmp_path / "project") == own


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "datasets.csv").unlink(), "datasets.csv: no such file"),
        (lambda folder: (folder / "vessels.runs.csv").unlink(), "vessels.runs.csv: no such file"),
        (
            lambda folder: write_csv(folder / "datasets.csv", [{"kind": "lesions", "title": "L", "classes": "2"}]),
            "datasets.csv: lesions: images is None; it must be a number",
        ),
        (
            lambda folder: write_csv(folder / "datasets.csv", [{"kind": "lesions", **MEASURES, "width_px": 0}]),
            "datasets.csv: lesions: width_px is '0'; it must be above 0",
        ),
        (lambda folder: write_csv(folder / "datasets.csv", [{"name": "lesions"}]), "datasets.csv: no column kind"),
        (lambda folder: write_csv(folder / "lesions.runs.csv", [{"loss": "dice"}]), "lesions.runs.csv: no column net"),
        (
            lambda folder: write_csv(
                folder / "lesions.runs.csv",
                [{"loss": "dice", "net": "a", "run": "r", "state": "done", "chosen": "yes", "miou": "?"}],
            ),
            "r: miou is '\\?'; it must be a number",
        ),
        (
            lambda folder: [path.write_text("loss\n", encoding="utf-8") for path in folder.glob("*.runs.csv")],
            "lesions.runs.csv: it has no rows",
        ),
        (
            lambda folder: [
                path.write_text("loss,net,state,chosen,miou\ndice,a,failed,no,\n", encoding="utf-8")
                for path in folder.glob("*.runs.csv")
            ],
            "no kind of data has a finished run",
        ),
    ],
    ids=[
        "no table",
        "no rows of a kind",
        "no measures",
        "no width",
        "no kind",
        "no column",
        "no number",
        "no rows",
        "no finished run",
    ],
)
def test_tables_that_lack_something_are_refused(change, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = write_rows(tmp_path / "rows")
    change(folder)
    with pytest.raises(InputError, match=message):
        read_results(folder)
