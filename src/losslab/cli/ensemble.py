"""`losslab ensemble`: finished runs scored as one, as an experiment."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from losslab.cli.console import cli_errors
from losslab.errors import InputError
from losslab.stage import print_line

ROOT = Path()


@cli_errors("no experiment was made; run the same command again")
def ensemble(
    context: typer.Context,
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN…", help="DVC experiments, or patterns of their names such as 'fold-*'; commits."),
    ],
    average: Annotated[
        Literal["probabilities", "weights"],
        typer.Option(help="Average what the nets predict, or their weights, which makes one net of them (a soup)."),
    ] = "probabilities",
    name: Annotated[str | None, typer.Option(help="Name of the experiment (default: made from the runs).")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="With --average weights: also write the soup as a model."),
    ] = None,
) -> None:
    """Score finished runs as one net, as a DVC experiment beside the first of them. Nothing is trained.

    They must share their test images: folds of prepare.split.method crossval, or seeds of one split.
    """
    from losslab import models
    from losslab.experiments.ensembles import find_ensemble, find_prepared, load_ensemble, plan_ensemble, run_ensemble
    from losslab.experiments.run_finder import RunFinder

    if output is not None and average != "weights":
        raise InputError(
            "--output needs --average weights: averaged probabilities are of no single net; `losslab predict --ensemble` uses them"
        )
    folder = None if output is None else (context.obj or Path()) / output
    if folder is not None and folder.resolve() == (ROOT / "models").resolve():
        raise InputError(
            f"--output: {output} holds the net of the workspace's run, which DVC tracks; choose another folder"
        )
    finder = RunFinder(ROOT)
    planned = plan_ensemble([finder.find(run) for run in finder.expand(runs)], average, name, ROOT)
    if find_ensemble(planned, ROOT):
        print_line(f"{planned.name} is there already")
    else:
        run_ensemble(planned, ROOT)
        print_line(f"{planned.name}: an experiment beside {planned.first.name}")
    if folder is not None:
        settings = planned.params["evaluate"]["ensemble"]
        net, description = load_ensemble(settings, find_prepared(planned.first), ROOT)
        models.save(folder, net, {**description, "soup": [member["run"] for member in settings["members"]]})
        print_line(f"wrote {output}: losslab predict --model {output}, losslab export --model {output}")
    print_line(f"compare it: losslab compare --runs {shlex.join([*runs, planned.name])}")
