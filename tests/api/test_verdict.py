"""Verdicts in Python, on experiments that nobody trained."""

from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

import losslab
from losslab.comparison.verdicts import JudgedPair
from losslab.experiments.finished_runs import WORKSPACE
from losslab.experiments.run_finder import RunFinder
from losslab.study.plan import plan_runs
from tests.comparison.runs_on_disk import write_run
from tests.study.repository import STUDY, Repository

QUALITY = {"cross_entropy": 0.8, "dice": 0.9}


@pytest.fixture
def names(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """Two losses on one net, each with three seeds; they are the runs of the study small."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///nowhere/at/all")
    monkeypatch.chdir(repository.root)
    repository.study("small", STUDY | {"seeds": [0, 1, 2], "grid": {"loss": [*QUALITY]}})
    planned = plan_runs(repository.read())
    for run in planned:
        left = tmp_path_factory.mktemp("left")
        write_run(left, QUALITY[dict(run.cell.labels)["loss"]], run.seed)
        repository.experiment(run, 0.5, left=left)
    return [run.name for run in planned]


class Page(HTMLParser):
    """The tags and texts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_two_cells_have_a_verdict(names: list[str]) -> None:
    verdict = losslab.compare([losslab.load_run(names[0]), *names[1:]])
    assert verdict.headline.startswith("dice is best: mean IoU") and repr(verdict) == verdict.headline
    assert [(row["cell"], row["rank"], row["seeds"]) for row in verdict.table] == [
        ("dice", 1, 3),
        ("cross_entropy", 2, 3),
    ]
    pair = verdict.find_pair("cross_entropy", "dice")
    assert isinstance(pair, JudgedPair) and pair.better == "dice" and pair.is_real
    assert verdict.p_value == pair.p and verdict.p_value is not None and 0 <= verdict.p_value < 0.05
    low, high = verdict.interval or (0, 0)
    assert 0 < low < verdict.table[0]["mean"] - verdict.table[1]["mean"] < high
    page = Page(verdict._repr_html_())
    assert page.tags.count("tr") == 3 and {"dice", "cross_entropy", "loss", *verdict.headline.split("\n")} <= set(
        page.texts
    )
    assert losslab.compare("small").table == verdict.table  # the name of a study
    hostile = replace(verdict, comparison=replace(verdict.comparison, headline=["<script>"], warnings=["<img>"]))
    assert not {"script", "img"} & {*Page(hostile._repr_html_()).tags}


def test_few_seeds_claim_nothing(names: list[str]) -> None:
    two, one = losslab.compare([*names[:4]]), losslab.compare([*names[:2]])
    assert two.p_value is None and two.interval is not None
    assert one.p_value is None and one.interval is None
    page = Page(one._repr_html_())
    assert any(text.startswith("⚠ A cell has only 1 seed") for text in page.texts) and "<b>dice" in one._repr_html_()


def test_unjudged_metric_has_means_alone(names: list[str]) -> None:
    verdict = losslab.compare(names, metric="ece")
    assert verdict.p_value is None and verdict.interval is None and verdict.find_pair("dice", "cross_entropy") is None
    assert len(verdict.table) == 2 and "no verdict, because" in verdict.headline


def test_wrong_input_gives_one_line(names: list[str]) -> None:
    wrong: list[Any] = [
        ((names[0],), "compare takes two runs or more, or the name of a study, and not 1"),
        ((names[0], "nope"), "no such run: nope"),
        ((names[0], 3), "compare: 3 is neither a run nor the name of one"),
        (losslab.load_run(names[0]), "compare takes two runs or more, or the name of a study, and not 1"),
        ("nope", r"no such study: nope \(studies/ has small\)"),
    ]
    for runs, complaint in wrong:
        with pytest.raises(losslab.InputError, match=complaint) as caught:
            losslab.compare(runs)
        assert "\n" not in str(caught.value)
    with pytest.raises(losslab.InputError, match=r"^metric beauty: must be one of miou"):
        losslab.compare(names, metric="beauty")
    verdict = losslab.compare(names)
    with pytest.raises(
        losslab.InputError, match=r"no such cell: 'dise'; there are dice and cross_entropy; did you mean dice"
    ):
        verdict.find_pair("dise", "cross_entropy")
    same = losslab.compare([name for name in names if "dice" in name])
    with pytest.raises(losslab.InputError, match="1 cells: name two with find_pair"):
        _ = same.p_value


def test_workspace_that_changed_is_not_compared(names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = losslab.load_run(names[0])
    run = replace(loaded, record=replace(loaded.record, name=WORKSPACE))
    found = [run.record, replace(run.record, lock={})]
    find = RunFinder.find
    monkeypatch.setattr(RunFinder, "find", lambda self, name: found[0] if name == WORKSPACE else find(self, name))
    assert len(losslab.compare([run, names[1]]).table) == 2
    del found[0]
    with pytest.raises(
        losslab.InputError, match="the workspace has another run than when it was loaded: load it again"
    ):
        losslab.compare([run, names[1]])
