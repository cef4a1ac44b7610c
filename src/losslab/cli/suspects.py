"""`losslab datasets doubt`: masks that are probably wrong, by nets that never saw them."""

import math
import shlex
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from losslab.cli.console import AsJson, cli_errors, print_json, print_table
from losslab.errors import InputError
from losslab.formats import format_duration, format_percent, format_plural, format_score
from losslab.stage import print_line, print_warning

if TYPE_CHECKING:
    from losslab.experiments.finished_runs import RunOutputs
    from losslab.study.plan import Study, StudyRun
    from losslab.suspects.folds import DoubtedDataset

ROOT, PAGES = Path(), Path("reports/doubt")
DEFAULT_FOLDS, ROWS_SHOWN = 5, 10
PASSES_OF_A_STEP = 3
"""A training step takes about as long as so many forward passes."""


def doubt(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the dataset.")],
    folds: Annotated[
        int, typer.Option(min=2, help="Nets to train, each on the images of all other folds.")
    ] = DEFAULT_FOLDS,
    sets: Annotated[
        list[str] | None, typer.Option("--set", "-S", help="KEY=VALUE to override in params.yaml; repeatable.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Nets to train at once.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Rank the masks of a dataset by how much of them nets contradict that never saw them, and write reports/doubt/NAME/.

    Trains a net for each fold, as a study whose finished runs are kept: the same command resumes after a kill, and
    trains nothing when all is done. Runs take the last commit.
    """
    options = "".join(f" -S {shlex.quote(text)}" for text in sets or ())
    with cli_errors(
        f"run `losslab datasets doubt {name}{f' --folds {folds}' if folds != DEFAULT_FOLDS else ''}{options}` to resume"
    ):
        from tqdm import tqdm

        from losslab.suspects.folds import find_dataset, write_study

        dataset = find_dataset(name, ROOT)
        study = write_study(dataset, folds, sets or (), ROOT)
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            done = _finish_runs(study, dataset, jobs)

        from losslab.reporting.suspects.folder import describe_images, write_survey
        from losslab.reporting.suspects.page import describe_survey
        from losslab.suspects.checking import open_folds
        from losslab.suspects.survey import survey_masks

        page, masks = PAGES / name, dataset.list_masks(ROOT)
        with open_folds(done) as opened:
            total = sum(len(fold.rows) for fold in opened)
            with tqdm(total=total, desc="doubt", unit=" images", disable=None, leave=False) as bar:
                survey = survey_masks(name, opened, bar.update)
            write_survey(survey, masks, dataset.describe_remedy(options), ROOT / page)
            images = describe_images(survey, masks)
            facts = [
                {"fold": fold.number, "run": fold.run, "images": len(fold.rows), "miou": fold.miou} for fold in opened
            ]
        if as_json:
            print_json(
                {"dataset": name, "study": study.name, "page": f"{page}/index.html", "folds": facts}
                | {"warnings": survey.warnings, "stand_out": survey.number_standing_out, "images": images}
            )
            return
        for warning in survey.warnings:
            print_warning(warning)
        rows = [
            (f"{row['rank']}", row["image"], f"{format_percent(row['doubt'])} %", format_score(row["dice"]), row["why"])
            for row in images[:ROWS_SHOWN]
        ]
        print_table(("rank", "image", "doubt", "Dice", "why"), rows)
        print_line(describe_survey(survey))
        print_line(f"wrote {page}/index.html, which shows them and says how to correct them")


def _finish_runs(study: "Study", dataset: "DoubtedDataset", jobs: int) -> "dict[StudyRun, RunOutputs]":
    """Run the folds that are missing, and return the runs of all. Raises InputError if one failed."""
    from losslab.study.results import read_progress

    planned, done, _ = read_progress(study, ROOT)
    if len(done) < len(planned):
        from losslab.cli.study import check_committed, choose_engine, execute_study
        from losslab.io.git import find_head
        from losslab.study.scheduler import FixedGrid
        from losslab.study.state import StudyState

        check_committed(study)
        print_line(_describe_cost(study, dataset, len(planned) - len(done), jobs))
        state, baseline = StudyState(ROOT, study.key), find_head(ROOT)
        execute_study(FixedGrid(study), state, lambda: choose_engine("dvc", None, [], state, baseline, jobs), jobs)
        planned, done, failed = read_progress(study, ROOT)
        if lost := [run for run in planned if run not in done]:
            about = failed.get(lost[0], {"reason": "it did not end", "log": state.find_log(lost[0].name)})
            raise InputError(f"{lost[0].name} failed: {about['reason']} (log: {about['log']})")
    return done


def _describe_cost(study: "Study", dataset: "DoubtedDataset", runs: int, jobs: int) -> str:
    """Say what the missing runs will cost, as a timed forward pass of the net suggests."""
    import torch

    from losslab.bands import Bands
    from losslab.comparison.cost import CostMeter
    from losslab.params import Params

    params = Params.model_validate(study.build_run(study.cells[0], None, study.card.seeds[0]).params)
    train, size, card = params.train, params.prepare.size, dataset.card
    images = len(dataset.list_masks(ROOT)) or card.images
    what = f"{format_plural(runs, 'net')} to train, {format_plural(train.epochs, 'epoch')} each at {size} px"
    if images is None:
        return what
    images = min(images, params.prepare.limit or images)
    learnt = math.ceil(images * (1 - 1 / params.prepare.split.folds - params.prepare.split.val))
    what += f", on about {learnt} of {format_plural(images, 'image')}"
    if train.device == "cuda" or (train.device == "auto" and torch.cuda.is_available()):
        return what
    count = len(card.format.names)
    facts = card.format.model_dump(include={"names", "dtype", "shown"})
    bands = Bands(**facts, low=[0.0] * count, high=[1.0] * count, clip=False).model_dump()
    net = {"arch": params.arch, "encoder": params.encoder, "arch_options": params.arch_options, "parameters": 0}
    net |= {"num_classes": card.num_outputs, "size": size, "bands": bands}
    pass_ms = CostMeter(timed=True)(net).image_ms or 0
    seconds = runs * train.epochs * (PASSES_OF_A_STEP * learnt + params.prepare.split.val * images) * pass_ms / 1000
    duration = format_duration(seconds / jobs)
    return f"{what}: about {duration} of training, by the time of a forward pass here, and some seconds a net besides"
