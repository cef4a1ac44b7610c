from pathlib import Path

import pytest

from benchmarks.notebooks import COMMAND, PAGE, RESULTS, build_page, list_cells, list_cuts, main, read_header
from losslab.comparison.compare import ComparisonSpec, compare_runs
from losslab.comparison.cost import NetCost
from losslab.io.files import write_csv
from losslab.study.plan import read_study
from losslab.study.spec import PublishedNumbers, PublishedRow
from tests.comparison.runs_on_disk import make_run
from tests.conftest import ROOT


def test_numbers_of_a_notebook_stand_beside_the_cells_that_it_has(tmp_path: Path) -> None:
    rows = [PublishedRow(cell={"loss": "dice"}, values={"iou": 0.7123})]
    published = PublishedNumbers(source="a table", how="somehow", metric="IoU", ours="mdice", rows=rows)
    runs = [
        make_run(tmp_path, {"loss": loss}, good, seed)
        for loss, good in (("dice", 0.9), ("bce", 0.8))
        for seed in (0, 1)
    ]
    axes = {"loss": ["dice", "bce"]}
    spec = ComparisonSpec(name="s", title="T", question="Q", metric="miou", axes=axes, published=published)
    dice, bce = list_cells(compare_runs(runs, spec, lambda model: NetCost(1, None, None)))
    assert (dice["loss"], dice["seeds"], dice["theirs iou"]) == ("dice", "2", "0.7123")
    assert float(dice["low"]) < float(dice["miou"]) < float(dice["high"]) and float(dice["nearest"]) > 0.8
    assert bce["theirs iou"] == ""


def test_cuts_are_what_the_command_changed() -> None:
    study = read_study("camvid_weights", ROOT, ("prepare.size=64", "train.epochs=6", "encoder_weights=null"))
    cuts = ["prepare.size 64 instead of 256", "train.epochs 6 instead of 10", "random weights instead of ImageNet's"]
    assert list_cuts(study) == cuts


def test_page_says_what_cannot_be_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").mkdir()
    header = "# Seed 9: a net.\n#\n# - It scored on train,\n#   and said so.\n# - One seed.\n"
    (tmp_path / "studies/s.yaml").write_text(f"{header}title: T\n")
    names = ("title", "question", "source", "how", "metric", "dataset", "size", "epochs", "runs", "verdict", "commit")
    about = dict.fromkeys(names, "word") | {"study": "s", "nearest": "", "test_images": "40", "cuts": "prepare.size 64"}
    about |= {"train_images": "100", "steps": "13"}
    about |= {"training_hours": "0.10", "hardware": "a machine", "command": "losslab study run s --as small"}
    write_csv(RESULTS / "studies.csv", [about])
    cell = {
        "loss": "dice",
        "seeds": "3",
        "miou": "0.700",
        "low": "0.600",
        "high": "0.800",
        "nearest": "",
        "theirs iou": "0.71",
    }
    write_csv(RESULTS / "s.csv", [cell])
    assert main(["page"]) == 0
    text = PAGE.read_text(encoding="utf-8")
    assert "| dice | 0.71 | 0.700 (0.600 to 0.800) |" in text
    assert text.endswith(f"```sh\nlosslab study run s --as small\n{COMMAND} collect small\n```\n")
    assert (
        "- It scored on train, and said so.\n- One seed." in text
        and "**Cut down here**: prepare.size 64, trained on 100 images (13 steps), tested on 40 of `word`." in text
    )


def test_committed_page_is_what_the_committed_rows_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert build_page() == PAGE.read_text(encoding="utf-8"), f"write it again with `{COMMAND} page`"


def test_missing_rows_and_studies_without_numbers_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["page"]) == 1
    assert (
        capsys.readouterr().err
        == f"ERROR: results/notebooks/studies.csv: no such file; `{COMMAND} collect STUDY` writes it\n"
    )
    write_csv(RESULTS / "studies.csv", [dict.fromkeys(("study", "title"), "s")])
    assert main(["page"]) == 1
    assert (
        f"no column verdict, cuts, nearest, train_images, steps, training_hours, command; `{COMMAND}"
        in capsys.readouterr().err
    )
    assert main(["collect", "odyssey_small", "--project", str(ROOT)]) == 1
    assert "has no published numbers" in capsys.readouterr().err


def test_every_study_of_a_notebook_lists_what_differs() -> None:
    for path in (ROOT / "studies").glob("*.yaml"):
        if path.read_text(encoding="utf-8").startswith("# Seed 00"):
            assert len(read_header(path)) >= 3, path
