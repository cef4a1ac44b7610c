"""What a comparison says of a study's searches."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from losslab.comparison.tuning import TuningReport, report_tuning
from losslab.reporting.comparison.markdown import build_markdown
from losslab.reporting.comparison.page import build_comparison_page
from losslab.reporting.comparison.plain_data import convert_to_plain
from losslab.study.plan import StudyRun
from losslab.study.results import follow_searches, read_progress
from losslab.study.state import StudyState
from tests.reporting.comparison.factory import make_comparison
from tests.study.repository import STUDY, Repository

RANGE = {"train.lr": {"low": 1e-4, "high": 1e-2, "log": True}}


def report(
    repository: Repository, score: Callable[[StudyRun], float | None], tune: dict[str, Any], seeds: int = 2
) -> TuningReport | None:
    """Report the searches of two losses whose runs get what `score` says: a val mIoU, or None for a failure."""
    content = {"grid": {"loss": ["focal", "dice"]}, "seeds": [*range(seeds)], "tune": tune}
    repository.study("small", {**STUDY, **content})
    study = repository.read()
    while True:
        planned, done, failed = read_progress(study, repository.root)
        missing = [run for run in planned if run not in done and run not in failed]
        if not missing:
            return report_tuning(study, follow_searches(study, done, failed), done, failed)
        for run in missing:
            if (value := score(run)) is None:
                StudyState(repository.root, study.key).record_failure(run, "train: it diverged")
            else:
                repository.experiment(run, value)


def prefer_high_rates_for_dice(run: StudyRun) -> float:
    lr: float = run.params["train"]["lr"]
    return 0.5 + lr * (20 if run.params["loss"] == "dice" else -1)


def test_order_that_tuning_changes_is_told(repository: Repository) -> None:
    def score(run: StudyRun) -> float:
        lr: float = run.params["train"]["lr"]
        return 0.9 - 100 * abs(lr - 0.0003) if run.params["loss"] == "dice" else 0.85 - 10 * abs(lr - 0.001)

    tuning = report(repository, score, {"train.lr": [0.001, 0.0003]})
    assert tuning is not None and tuning.shared == "train.lr 0.001" and tuning.repeats == 1
    assert tuning.sentences[0] == (
        "The order hangs on tuning: at train.lr 0.001 for all cells, focal and dice would swap. By the val mIoU of each cell's "
        "own best: dice 0.900, focal 0.850; at train.lr 0.001 for all: focal 0.850, dice 0.830."
    )
    assert [search.chosen.values for search in tuning.searches] == [{"train.lr": "0.001"}, {"train.lr": "0.0003"}]
    assert "Every value of train.lr was run in each cell with seed 0" in tuning.about
    assert "Each cell was searched once" in tuning.sentences[-1]


def test_value_at_the_end_of_its_range_is_told(repository: Repository) -> None:
    tuning = report(repository, lambda run: -abs(run.params["train"]["lr"] - 0.001), {"budget": 3, "params": RANGE})
    assert tuning is not None and tuning.sentences[0].startswith("Tuning swaps no two cells.")
    assert not [sentence for sentence in tuning.sentences if "end of its range" in sentence]
    low = {"train.lr": {"low": 0.001, "high": 0.1, "log": True}}
    tuning = report(repository, lambda run: -abs(run.params["train"]["lr"] - 0.001), {"budget": 3, "params": low})
    assert tuning is not None
    edge = "The chosen train.lr of focal and dice lies at an end of its range, 0.001 to 0.1"
    assert [sentence for sentence in tuning.sentences if sentence.startswith(edge)]


def test_failed_shared_setting_and_shares_of_repeats_are_told(repository: Repository) -> None:
    def score(run: StudyRun) -> float | None:
        is_lost = run.params["loss"] == "dice" and run.params["train"]["lr"] == 0.001
        return None if is_lost else prefer_high_rates_for_dice(run)

    tuning = report(repository, score, {"budget": 3, "params": RANGE, "repeats": 2}, seeds=3)
    assert tuning is not None and [search.number for search in tuning.searches] == [1, 1, 2, 2]
    assert [[*search.seeds] for search in tuning.searches] == [[0, 2], [0, 2], [1], [1]]
    assert "dice (failed)" in tuning.sentences[0] and "in part" in tuning.sentences[-1]
    tuning = report(repository, score, {"budget": 3, "params": RANGE, "repeats": 2}, seeds=2)
    assert tuning is not None and "once for each seed, so the spread over seeds" in tuning.sentences[-1]


def test_orders_of_a_pruned_search_are_by_runs_of_equal_length(repository: Repository) -> None:
    tuning = report(
        repository, prefer_high_rates_for_dice, {"budget": 3, "params": RANGE, "prune": {"epochs": 1, "keep": 1}}
    )
    assert tuning is not None and "By the val mIoU after 1 epoch of each cell's own best" in tuning.sentences[0]
    assert "3 trials of 1 epoch, the best 1 then in full" in tuning.about
    assert all(sum(trial.score is not None for trial in search.trials) == 1 for search in tuning.searches)


def test_searches_are_on_the_page_in_markdown_and_in_json(repository: Repository, tmp_path: Path) -> None:
    tuning = report(repository, prefer_high_rates_for_dice, {"budget": 3, "params": RANGE, "repeats": 2}, seeds=2)
    comparison = replace(make_comparison(tmp_path), tuning=tuning)
    assert tuning is not None
    page, markdown = build_comparison_page(comparison), build_markdown(comparison)
    section = page[page.index('<section id="searches">') :].split("</section>")[0]
    assert '<a href="#searches">Tuning</a>' in page and section.count('class="strip"') == 4
    assert section.count("<td>chosen</td>") + section.count(">chosen</td>") >= 4 and "r1t02" in section
    assert "### How each cell was tuned" in markdown
    for sentence in (*tuning.sentences, tuning.about):
        assert sentence.replace("'", "&#39;") in section and sentence in markdown.replace("\\", "")
    content = json.loads(json.dumps(convert_to_plain(comparison)))["tuning"]
    assert re.fullmatch(r"0\.\d+", content["searches"][1]["trials"][0]["values"]["train.lr"])
    assert 'id="searches"' not in build_comparison_page(make_comparison(tmp_path))
