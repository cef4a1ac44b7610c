"""What `losslab study run` shows while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from tqdm import tqdm

from losslab.stage import say
from losslab.study.plan import Run, Study, number_of_runs
from losslab.study.running import Progress
from losslab.study.state import State
from losslab.study.status import epoch_of, planned_runs


class Display:
    """One line for each run that ends, and on a terminal a bar with what goes on."""

    def __init__(self, study: Study, state: State) -> None:
        self.study, self.state = study, state
        self.names: list[str] = []
        _, done, _ = planned_runs(study, state.root)
        typer.echo(f"{study.key}: {len(done)} of {number_of_runs(study)} runs are done")
        self.bar = tqdm(
            total=number_of_runs(study),
            initial=len(done),
            desc=study.key,
            disable=None,
            leave=False,
            bar_format="{desc} {bar} {n_fmt}/{total_fmt}{postfix}",
        )
        self.eta = ""

    def preparing(self, run: Run) -> None:
        say(f"preparing {run.params['dataset']}")

    def told(self, progress: Progress) -> None:
        ended, left = progress.ended, progress.of - progress.over
        if ended.reason is None:
            result = f"val mIoU {told_score(progress.val_miou)}  test mIoU {told_score(progress.test_miou)}  {ended.seconds:.0f} s"
        else:
            result = f"FAILED: {ended.reason}"
        self.eta = f", about {_duration(progress.eta)}" if left and progress.eta is not None else ""
        say(f"[{progress.over}/{progress.of}] {ended.run.name}  {result}  ({left} to go{self.eta})")
        self.bar.n = progress.over
        self.bar.refresh()

    def shows(self, working: list[Run]) -> bool:
        """Show what goes on. Returns whether it is something else than before."""
        names = [run.name for run in working]
        changed, self.names = names != self.names, names
        if not self.bar.disable:
            own = f"{self.study.alias or self.study.name}-"
            told = [f"{name.removeprefix(own)} {epoch_of(self.state.log(name)) or ''}".strip() for name in names]
            self.bar.set_postfix_str("; ".join(told) + self.eta)
        return changed


@contextmanager
def display(study: Study, state: State) -> Iterator[Display]:
    shown = Display(study, state)
    try:
        yield shown
    finally:
        shown.bar.close()


def told_score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
