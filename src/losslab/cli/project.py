"""`losslab init` and `losslab upgrade`: a project of the user's own, on the installed losslab."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from losslab.cli.console import cli_errors
from losslab.formats import format_list, format_plural
from losslab.stage import print_line

app = typer.Typer()


@app.command()
@cli_errors()
def init(folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder of the project.")] = Path()) -> None:
    """Make a folder a project: pipeline, params, dataset cards, studies; in its own Git repository or in one that is there.

    Nothing that is there is overwritten.
    """
    from losslab.project.create import create_project

    done = create_project(folder)
    for path in done.kept:
        print_line(f"kept {path}, which is not losslab's")
    print_line(
        f"wrote {format_plural(len(done.written), 'file')}"
        + (", made a Git repository" if done.has_new_repository else "")
    )
    step = f"cd {shlex.quote(str(folder))} && " if done.root != Path.cwd() else ""
    print_line(f"next: {step}dvc repro")


@app.command()
@cli_errors()
def upgrade(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
) -> None:
    """Move a project to the installed losslab: show the differences, leave what you changed, say which stages run again."""
    from losslab.project.upgrade import apply_upgrade, plan_upgrade

    root = Path()
    plan = plan_upgrade(root)
    if plan.is_empty:
        print_line(f"this project is of losslab {plan.after}, which is installed")
        return
    for line in plan.format_diffs():
        print_line(line)
    if not dry_run:
        apply_upgrade(root, plan)
    print_line(f"losslab {plan.before} -> {plan.after}" + (" (nothing was changed)" if dry_run else ""))
    for path, (old, new) in plan.changed.items():
        print_line(f"{'added' if not old else 'removed' if not new else 'updated'} {path}")
    for path in plan.left:
        print_line(f"left {path}, which you changed: take over what you want of its difference above")
    stages = (
        f"{format_list(plan.stages, len(plan.stages))}, and what follows from changed outs"
        if plan.stages
        else "nothing"
    )
    print_line(f"runs again at the next dvc repro: {stages}")
