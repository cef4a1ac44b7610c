"""`python -m benchmarks.odyssey`: studies become rows, and rows a page; nothing is trained here but for a step's cost."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.odyssey import collect, cost
from benchmarks.odyssey.__main__ import main
from benchmarks.odyssey.effects import RESPECTS, compare_seeds, find_gains
from benchmarks.odyssey.findings import Findings
from benchmarks.odyssey.page import COMMAND, FIGURE, PAGE, check_page, write_method
from benchmarks.odyssey.repeat import record_repetition, repeat_run
from benchmarks.odyssey.tables import (
    DATASET_COLUMNS,
    RESULTS,
    RUN_COLUMNS,
    VERDICT_COLUMNS,
    Kind,
    read_kinds,
    write_command,
    write_table,
)
from losslab.comparison.compare import build_table, find_metric, judge_table
from losslab.comparison.selection import select_study
from losslab.errors import InputError
from losslab.io.files import read_csv
from losslab.study.plan import Study, plan_runs
from losslab.study.state import StudyState
from tests.advice.rows import measure
from tests.comparison.runs_on_disk import write_run
from tests.conftest import ROOT
from tests.study.repository import Repository

LOSSES = {"cross_entropy": 0.8, "dice": 0.9, "focal": 0.8}
NETS = {"unet": {"arch": "unet"}, "segnet": {"arch": "segnet", "encoder": None}}
STUDY: dict[str, Any] = {
    "title": "Small",
    "question": "Which?",
    "grid": {"loss": [*LOSSES], "net": NETS},
    "seeds": [0, 1, 2],
    "tune": {"train.lr": [0.01, 0.002]},
}


def finish(
    repository: Repository,
    folder: Path,
    lost: str,
    losses: Sequence[str] = tuple(LOSSES),
    groups: Sequence[int] = (),
) -> Study:
    """Finish a study of which the trials with 0.01 are the better ones; runs with `lost` in their names diverge."""
    repository.study("odyssey_small", STUDY | {"grid": {"loss": [*losses], "net": NETS}})
    repository.commit()
    study = repository.read("odyssey_small", "train.epochs=3", alias="odyssey_drawn")
    state = StudyState(repository.root, study.key)
    with state.claim(study, 1):
        pass
    runs = {run.name: run for run in plan_runs(study)}
    chosen = {cell: study.build_run(cell, _find_first_trial(study), 0).tuned for cell in study.cells}
    runs |= {run.name: run for run in (study.build_run(c, chosen[c], seed) for c in study.cells for seed in (1, 2))}
    for run in runs.values():
        if lost in run.name:
            state.record_failure(run, "DivergedError: the loss is not finite")
            continue
        quality = LOSSES[dict(run.cell.labels)["loss"]]
        write_run(folder / run.name, quality, run.seed + (100 if "unet" in run.name else 0), groups=groups)
        path = folder / run.name / "reports/scores.json"
        scores = json.loads(path.read_text())
        scores["test"] |= {"boundary_iou": 0.5}
        path.write_text(json.dumps(scores))
        repository.experiment(run, 0.6 if "-0.01-" in run.name else 0.5, left=folder / run.name)
    return study


def _find_first_trial(study: Study) -> Any:
    return next(run.tuned for run in plan_runs(study) if run.tuned is not None and run.tuned.label == "0.01")


@pytest.fixture
def inside(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.chdir(repository.root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///nowhere/at/all")
    monkeypatch.setattr(collect, "measure_data", lambda record, root: measure())  # no data were prepared
    return repository


def test_study_becomes_rows_of_all_runs_and_losslabs_own_verdicts(
    inside: Repository, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    study = finish(inside, tmp_path_factory.mktemp("outs"), lost="focal-segnet")
    assert main(["collect", "drawn"]) == 0
    said = capsys.readouterr().out
    assert "drawn: 20 runs, 2 failed" in said and "focal has no run that counts on some net" in said
    rows = read_csv(inside.root / RESULTS / "drawn.runs.csv")
    assert len(rows) == 22 and list(rows[0])[:6] == ["run", "loss", "net", "seed", "lr", "chosen"]
    assert [(row["loss"], row["net"], row["seed"], row["lr"], row["chosen"]) for row in rows[:4]] == [
        ("cross_entropy", "unet", "0", "0.002", "no"),
        ("cross_entropy", "unet", "0", "0.01", "yes"),
        ("cross_entropy", "unet", "1", "0.01", "yes"),
        ("cross_entropy", "unet", "2", "0.01", "yes"),
    ]
    assert rows[0]["border_error"] == "0.0500" and rows[0]["epochs"] == "3" and rows[0]["best_epoch"] == "2"
    failed = [row for row in rows if row["state"] == "failed"]
    assert {row["loss"] for row in failed} == {"focal"} and "not finite" in failed[0]["reason"]
    assert failed[0]["miou"] == "" and failed[0]["chosen"] == "no"

    verdicts = read_csv(inside.root / RESULTS / "drawn.verdicts.csv")
    whole = {row["loss"]: row for row in verdicts if (row["metric"], row["net"]) == ("miou", "")}
    selection = select_study(study, "miou", inside.root)
    with selection.open_evidence() as evidence:
        both = [run for run in evidence if run.labels["loss"] != "focal"]
        table = build_table(both, "", selection.spec.axes)
        verdict = judge_table(table, find_metric("miou", table.sets, ""))["loss"]
    assert [standing.name for standing in verdict.standings] == list(whole) == ["dice", "cross_entropy"]
    assert whole["dice"]["mean"] == f"{verdict.standings[0].mean:.4f}" and whole["dice"]["seeds"] == "3"
    assert whole["dice"]["beats"] == "cross_entropy" and whole["dice"]["claimable"] == "yes"
    assert whole["cross_entropy"]["beats"] == "" and whole["cross_entropy"]["gain"] == ""
    pair = verdict.pairs[0]
    assert pair.estimate is not None and pair.estimate.low <= float(whole["dice"]["gain_low"]) + 1e-4
    assert whole["dice"]["gain"] == f"{pair.gap:.4f}" and whole["dice"]["gain_real"] == "yes"
    assert {row["metric"] for row in verdicts} == {"miou", "boundary_iou"}
    assert {row["net"] for row in verdicts} == {"", "unet", "segnet"}

    (about,) = read_csv(inside.root / RESULTS / "datasets.csv")
    assert about["command"] == "losslab study run odyssey_small --set train.epochs=3 --as odyssey_drawn"
    assert (about["test_images"], about["runs"], about["failed"], about["missing"]) == ("40", "20", "2", "2")
    before = {path.name: path.read_bytes() for path in (inside.root / RESULTS).iterdir()}
    assert main(["collect", "drawn"]) == 0
    assert {path.name: path.read_bytes() for path in (inside.root / RESULTS).iterdir()} == before


def test_study_whose_test_images_are_of_two_videos_becomes_rows_without_claims(
    inside: Repository, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outs = tmp_path_factory.mktemp("outs")
    finish(inside, outs, lost="nothing", losses=("cross_entropy", "dice"), groups=[0] * 20 + [1] * 20)
    assert main(["collect", "drawn"]) == 0
    (kind,) = read_kinds(inside.root / RESULTS)
    assert kind.about["test_groups"] == "2" and not kind.is_judged and not kind.find_beaten()
    assert [row["loss"] for row in kind.list_standings("miou")] == ["dice", "cross_entropy"]


def test_wrong_kinds_give_one_line(
    inside: Repository, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    def complain(*arguments: str) -> str:
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert error.startswith("ERROR: ") and error.count("\n") == 1
        return error

    assert "no study was run as odyssey_drawn; run `losslab study run" in complain("collect", "drawn")
    assert "datasets.csv: no such file; `PYTHONPATH=. python -m" in complain("page")
    finish(inside, tmp_path_factory.mktemp("outs"), lost="-s1", losses=("cross_entropy", "dice"))
    assert "odyssey_drawn: nothing can be claimed yet" in complain("collect", "drawn")
    assert not (inside.root / RESULTS).exists()
    assert "no such study: nope" in complain("cost", "tiny", "--study", "nope")


def build_kind(
    name: str, means: Mapping[str, float], beats: Mapping[str, str], claimable: str = "yes", **about: str
) -> Kind:
    """Build a kind of data whose runs lie 0.002 around the means, and whose verdicts are as given."""
    runs, verdicts = [], []
    ranked = sorted(means, key=lambda loss: -means[loss])
    for loss in means:
        for net in NETS:
            for seed in range(3):
                score = f"{means[loss] + 0.002 * (seed - 1):.4f}"
                row = dict.fromkeys(RUN_COLUMNS, "") | {"run": f"{name}-{loss}-{net}-s{seed}", "loss": loss, "net": net}
                row |= {"seed": str(seed), "chosen": "yes", "state": "done", "iou_hair": score, "iou_rest": score}
                row["lr"] = "0.01" if net == "unet" else "0.002"
                runs.append(row | dict.fromkeys(("miou", "recall_small", "ece"), score))
    for metric in ("miou", "boundary_iou"):
        for rank, loss in enumerate(ranked, start=1):
            gain = means[loss] - means["cross_entropy"]
            numbers = [means[loss], means[loss] - 0.01, means[loss] + 0.01, 0.002]
            row = dict.fromkeys(VERDICT_COLUMNS, "") | {"metric": metric, "loss": loss, "rank": str(rank)}
            row |= dict(zip(("mean", "low", "high", "sd"), (f"{number:.4f}" for number in numbers), strict=True))
            row |= {"seeds": "3", "beats": beats.get(loss, ""), "claimable": claimable}
            if loss != "cross_entropy":
                gains = (gain, gain - 0.02, gain + 0.02)
                row |= dict(zip(("gain", "gain_low", "gain_high"), (f"{each:.4f}" for each in gains), strict=True))
                row["gain_real"] = "yes" if abs(gain) > 0.02 else "no"
            verdicts.append(row)
    row = dict.fromkeys(DATASET_COLUMNS, "") | {"kind": name, "dataset": f"synthetic_{name}", "title": name.title()}
    row |= {"classes": "2", "test_images": "100", "size": "64", "epochs": "8;16", "batch_size": "8", "seeds": "3"}
    row |= {"losses": "3", "nets": ";".join(NETS), "runs": "18", "failed": "0", "missing": "0", "cpu_hours": "1.50"}
    row |= {"timed_runs": "18", "hardware": "CPU, 2 cores", "precision": "32-true", "threads": "1", "commit": "abc"}
    return Kind(name, row | {"command": f"losslab study run odyssey_small --as odyssey_{name}"} | about, runs, verdicts)


NUCLEI = build_kind("nuclei", {"cross_entropy": 0.70, "dice": 0.78, "focal": 0.701}, {"dice": "cross_entropy;focal"})
ROADS = build_kind("roads", {"cross_entropy": 0.60, "dice": 0.50, "focal": 0.61}, {"focal": "dice"})


def write_kinds(root: Path, *kinds: Kind) -> None:
    write_table(root / RESULTS / "datasets.csv", [kind.about for kind in kinds])
    for kind in kinds:
        write_table(root / RESULTS / f"{kind.name}.runs.csv", kind.runs)
        write_table(root / RESULTS / f"{kind.name}.verdicts.csv", kind.verdicts)


def test_page_says_what_the_rows_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_kinds(tmp_path, NUCLEI, ROADS)
    assert main(["page"]) == 0
    text = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert text.startswith(f"<!-- Written by `{COMMAND}`") and "\n# Which loss?" in text
    assert "3 losses on 2 kinds of data (nuclei and roads)" in text and "36 runs, 3.0 CPU hours" in text
    assert "| `focal` | −7.9 | **0.0** | −4.0 | 1 of 2 |" in text
    assert "| `dice` | **0.0** | −11.0 | −5.5 | 1 of 2 |" in text
    assert (
        "**Each loss is shown to be worse somewhere**: `focal`, `cross_entropy` and `dice` on the fewest, 1 of 2 kinds of data."
        in text
    )
    assert "**The usual choices**, of 2 kinds of data: `cross_entropy` is shown to be worse on 1, and is " in text
    assert "learning rate, the best on validation images of 0.002 and 0.01;" in text
    assert "Of the rates the highest was the best 6 of 12 times" in text
    assert (
        "2 of 3 pairs of losses really change places from one kind of data to another: `focal` and `dice`; `cross_entropy` and"
        in text
    )
    assert "Really worse than some, the last first, in points below the best mean: `cross_entropy` (−8.0) and" in text
    assert "| **1** | `dice` | 0.780 [0.770, 0.790] | 2, 3 | **+8.0 [+6.0, +10.0]** |" in text
    assert "Really better: `dice` (nuclei +8.0)." in text
    assert "images of 64 pixels, small nets, 8 to 16 epochs, 3 seeds" in text
    assert "losslab study run odyssey_small --as odyssey_nuclei" in text
    assert "Not measured yet: `PYTHONPATH=. python -m benchmarks.odyssey cost`" in text


def test_page_names_repeated_runs_whose_rows_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_kinds(tmp_path, NUCLEI, ROADS)
    for row in (NUCLEI.runs[0], NUCLEI.runs[0], dict(ROADS.runs[0], model_md5="other")):  # roads was trained anew since
        record_repetition("nuclei", row, RESULTS)
    assert main(["page"]) == 0
    text = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert text.endswith(f"\nRepeated so, and identical: `{NUCLEI.runs[0]['run']}`.\n")


def test_run_whose_threads_are_unknown_is_not_repeated() -> None:
    kind = build_kind("mixed", {"cross_entropy": 0.6, "dice": 0.6}, {}, threads="1; 2")
    with pytest.raises(InputError, match="the runs of mixed had 1; 2 threads, so its own are not known"):
        repeat_run(kind, kind.runs[0], ROOT)


def test_page_that_was_typed_in_fails_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_kinds(tmp_path, NUCLEI)
    assert main(["page"]) == 0 and main(["page", "--check"]) == 0
    (tmp_path / PAGE).write_text((tmp_path / PAGE).read_text(encoding="utf-8") + "dice is best\n", encoding="utf-8")
    assert main(["page", "--check"]) == 1
    assert "docs/explanation/odyssey.md is not what results/odyssey/ gives" in capsys.readouterr().err
    (tmp_path / RESULTS / "nuclei.verdicts.csv").write_text("metric,net\nmiou,\n", encoding="utf-8")
    assert main(["page"]) == 1
    assert "nuclei.verdicts.csv: no column loss, rank, mean" in capsys.readouterr().err


def test_page_says_whose_lines_are_broken() -> None:
    vessels = build_kind(
        "vessels", {"cross_entropy": 0.6, "dice": 0.6}, {}, thinnest_px="1.2", objects_per_image="46.36"
    )
    (line,) = (line for line in write_method(Findings([NUCLEI, vessels])) if line.startswith("- Thin lines are broken"))
    assert "falls into pieces (46 on vessels in a mean image" in line
    assert not any("broken" in line for line in write_method(Findings([NUCLEI])))


def test_loss_that_is_worse_than_cross_entropy_alone_is_worse() -> None:
    """All pairs share a level that tells nothing apart here; of those with cross entropy alone, two do."""
    vessels = build_kind("vessels", {"cross_entropy": 0.60, "dice": 0.70, "focal": 0.50}, {})
    assert vessels.find_worse() == {"cross_entropy", "focal"}
    said = [*Findings([vessels]).describe_kind(vessels)]
    assert "points below the best mean: `focal` (−20.0) and `cross_entropy` (−10.0)." in said[1]
    assert any(line.startswith("**No two losses are shown to") for line in Findings([vessels] * 2).list_lessons())


def test_data_of_few_groups_tell_no_losses_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = build_kind("videos", {"cross_entropy": 0.4, "dice": 0.5, "focal": 0.3}, {}, "no", test_groups="2")
    few = "no difference can be claimed: its test images are of 2 groups, such as videos, and a claim takes 5"
    verdicts = [{**row, "gain_real": "no"} if row["gain_real"] else row for row in videos.verdicts]
    videos = replace(videos, verdicts=verdicts)
    assert not videos.is_judged and not videos.list_leading()
    monkeypatch.chdir(tmp_path)
    write_kinds(tmp_path, NUCLEI, videos)
    assert main(["page"]) == 0
    text = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert f"On videos {few}" in text and f"`dice` has the best mean, 0.500 [0.490, 0.510]; {few}" in text
    assert "| videos | `dice`, 0.500 | cannot be told | cannot be told | – |" in text
    assert "| `dice` | **0.0** | 0.0 | 0.0 | 1 of 1 |" in text and "100 test images of 2 groups." in text
    assert "of 1 kind of data that can tell losses apart: `cross_entropy` is shown to be worse on 1, and is" in text


def test_ranks_are_tested_over_five_kinds_of_data() -> None:
    kinds = [replace(NUCLEI, name=f"kind {number}") for number in range(5)]
    assert Findings(kinds[:4]).describe_ranks() is None
    said = Findings(kinds).describe_ranks()
    assert said is not None and "mean ranks go from 1.0 (`dice`) to 3.0 (`cross_entropy`)" in said
    assert "has p = 0.007, and by Nemenyi's the first is not told apart from 1 other (critical" in said


def test_classes_that_no_net_found_are_counted_where_they_are_many() -> None:
    columns = [f"iou_{name}" for name in ("car", "pole", "sign", "tree")]
    scored = [{**row, **dict.fromkeys(columns, "0.5" if row["loss"] == "focal" else "0.01")} for row in ROADS.runs]
    lost = [{**row, "iou_hair": "0.01"} if (row["loss"], row["net"]) == ("focal", "unet") else row for row in scored]
    failures = {row[0]: row[2] for row in Findings([replace(ROADS, runs=lost)]).list_failures()}
    assert failures["`dice`"] == "4 of 6 classes on roads (`unet` and `segnet`)"
    assert failures["`focal`"] == "hair on roads (`unet`)"


def test_losses_that_fail_are_named() -> None:
    found = {"iou_hair": "0.0000"}
    runs = [{**row, **(found if (row["loss"], row["net"]) == ("dice", "unet") else {})} for row in NUCLEI.runs]
    lost = dict.fromkeys(RUN_COLUMNS, "") | {"loss": "focal", "net": "unet", "state": "failed", "reason": "not finite"}
    failures = {row[0]: row[1:] for row in Findings([replace(NUCLEI, runs=[*runs, lost])]).list_failures()}
    assert failures["`dice`"] == ["–", "hair on nuclei (`unet`)", "–"]
    assert failures["`focal`"][0] == "1 of 7 on nuclei"
    assert failures["`cross_entropy`"] == ["–", "–", "nuclei"]


def test_gains_over_seeds_are_real_only_where_runs_show_them() -> None:
    gains = compare_seeds(NUCLEI, "recall_small", 1)
    assert gains["dice"].is_real and gains["dice"].points == pytest.approx(8)
    assert not gains["focal"].is_real and gains["focal"].points == pytest.approx(0.1)
    calibration = next(respect for respect in RESPECTS if respect.title == "Calibration")
    assert find_gains(NUCLEI, calibration)["dice"].points == pytest.approx(-8)
    alone = replace(NUCLEI, runs=[row for row in NUCLEI.runs if (row["loss"], row["net"]) != ("focal", "unet")])
    assert list(compare_seeds(alone, "recall_small", 1)) == ["dice"]


def test_gains_over_seeds_of_equal_losses_are_seldom_real() -> None:
    rng, false = np.random.default_rng(0), 0
    for _ in range(200):
        runs = [{**row, "ece": f"{rng.normal(0.1, 0.01):.6f}"} for row in NUCLEI.runs]
        false += any(gain.is_real for gain in compare_seeds(replace(NUCLEI, runs=runs), "ece", -1).values())
    assert false <= 20


def test_step_of_each_loss_is_timed_against_cross_entropy(repository: Repository, monkeypatch: Any) -> None:
    monkeypatch.setattr(cost, "WARMUP_STEPS", 1)
    monkeypatch.setattr(cost, "TIMED_STEPS", 1)
    grid = {"loss": ["cross_entropy", "dice"], "net": {"small": {"arch": "simple_cnn", "encoder": None}}}
    repository.study("odyssey_small", STUDY | {"grid": grid})
    repository.commit()
    folder = repository.root / "catalog"
    with pytest.raises(InputError, match="camvid: steps are timed on drawn data, such as synthetic_roads"):
        cost.time_study("odyssey_small", ["camvid"], 2, repository.root, folder)
    cost.time_study("odyssey_small", ["tiny"], 2, repository.root, folder)
    rows = read_csv(folder / "cost.csv")
    assert [(row["dataset"], row["loss"], row["net"]) for row in rows] == [
        ("tiny", "cross_entropy", "small"),
        ("tiny", "dice", "small"),
    ]
    assert all(0 < float(row["lowest"]) <= float(row["ratio"]) <= float(row["highest"]) for row in rows)


def test_commands_keep_values_with_spaces_whole() -> None:
    sets = ["dataset=camvid", "tune={train.lr: [0.01]}"]
    command = write_command("odyssey_small", sets, "odyssey_camvid")
    assert shlex.split(command)[3:] == ["odyssey_small", "--set", sets[0], "--set", sets[1], "--as", "odyssey_camvid"]
    assert write_command("pets_losses", [], None) == "losslab study run pets_losses"


def test_tables_too_large_for_git_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"bytes are too many to commit, at most 60,000"):
        write_table(tmp_path / "a.csv", [{"reason": "x" * 60_000}])
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not (ROOT / RESULTS).is_dir(), reason="no rows are committed yet")
def test_committed_page_is_what_the_committed_rows_give() -> None:
    check_page(ROOT)
    sizes = {path.name: path.stat().st_size for path in (ROOT / RESULTS).iterdir()}
    assert max(sizes.values()) < 60_000
    kinds = read_kinds(ROOT / RESULTS)
    assert (ROOT / FIGURE).stat().st_size < 15_000 * len(kinds)  # all pictures share a limit
    for kind in kinds:
        assert {row["state"] for row in kind.runs} <= {"done", "failed"}
