"""The display of `losslab study run`: a line for each run that ends, and a progress bar on a terminal."""

from tqdm import tqdm

from losslab.formats import format_duration
from losslab.stage import print_line
from losslab.study.plan import Study, StudyRun
from losslab.study.results import find_epoch, read_progress
from losslab.study.scheduler import StudyProgress
from losslab.study.state import StudyState


class StudyDisplay:
    """Print a line for each run that ends, and on a terminal a bar with the runs in progress."""

    def __init__(self, study: Study, state: StudyState) -> None:
        self.study, self.state = study, state
        self.names: list[str] = []
        _, done, _ = read_progress(study, state.root)
        print_line(f"{study.key}: {len(done)} of {study.number_of_runs} runs are done")
        runs, bar = study.number_of_runs, "{desc} {bar} {n_fmt}/{total_fmt}{postfix}"
        self.bar = tqdm(desc=study.key, initial=len(done), total=runs, bar_format=bar, disable=None, leave=False)
        self.eta = ""

    def show_preparing(self, run: StudyRun) -> None:
        print_line(f"preparing {run.params['dataset']}")

    def show_result(self, progress: StudyProgress) -> None:
        ended, left = progress.ended, progress.total - progress.finished
        if ended.reason is None:
            val, test = (format_optional_score(miou) for miou in (progress.val_miou, progress.test_miou))
            result = f"val mIoU {val}  test mIoU {test}  {ended.seconds:.0f} s"
        else:
            result = f"FAILED: {ended.reason}"
        self.eta = f", about {format_duration(progress.eta_s)}" if left and progress.eta_s is not None else ""
        more = f", at most {progress.most - progress.finished}" if progress.most > progress.total else ""
        print_line(f"[{progress.finished}/{progress.total}] {ended.run.name}  {result}  ({left} to go{self.eta}{more})")
        self.bar.total = progress.total
        self.bar.n = progress.finished
        self.bar.refresh()

    def show_working(self, working: list[StudyRun]) -> bool:
        """Show the runs in progress; return whether they have changed."""
        names = [run.name for run in working]
        changed, self.names = names != self.names, names
        if not self.bar.disable:
            epochs = ((name.removeprefix(self.study.prefix), find_epoch(self.state.find_log(name))) for name in names)
            self.bar.set_postfix_str("; ".join(" ".join(filter(None, each)) for each in epochs) + self.eta)
        return changed

    def close(self) -> None:
        self.bar.close()


def format_optional_score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
