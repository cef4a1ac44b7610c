"""Finished runs as objects, and new ones, in the project that the working directory is in."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from losslab.api.progress import show_progress
from losslab.bands import Bands, read_bands
from losslab.errors import InputError, mask_credentials, quote
from losslab.experiments.clone import SCORES, find_reason, open_clone_folder, was_killed
from losslab.experiments.dvc_cache import find_cache_folder
from losslab.experiments.ensembles import find_prepared, get_ensemble, load_ensemble
from losslab.experiments.finished_runs import open_model
from losslab.experiments.run_finder import RunFinder, RunRecord
from losslab.formats import format_list, format_score
from losslab.io.files import open_private, read_csv, read_json
from losslab.io.git import find_head, find_prefix, list_changes
from losslab.io.yaml import read_yaml
from losslab.params import check_params
from losslab.project.code import TRACKED, find_root
from losslab.reporting.comparison.plain_data import parse_cell
from losslab.stage import print_line
from losslab.study.engine import mask_log
from losslab.study.overrides import apply_overrides, flatten_overrides
from losslab.study.plan import GridCell, StudyRun
from losslab.study.results import find_finished_runs
from losslab.study.worker import WorkerJob, execute_job

if TYPE_CHECKING:
    from torch import nn

    from losslab.inference.predictor import Predictor
    from losslab.prediction.label_map import Labels

RUNS = Path(".losslab/runs")


@dataclass(frozen=True, kw_only=True, repr=False)
class Run:
    """A finished run of the pipeline, as `load_run` and `run` return it."""

    name: str
    """Name of the DVC experiment, else of the MLflow run, else the name that it was loaded by."""
    params: dict[str, Any]
    """Content of its params.yaml."""
    metrics: dict[str, Any]
    """Content of its scores.json: `metrics["test"]["miou"]`."""
    history: list[dict[str, Any]]
    """Rows of its history.csv, one for each epoch: column → number; None where there is none."""
    record: RunRecord = field(compare=False)
    """Everything that is kept of it, and where its outs are."""

    def __repr__(self) -> str:
        return f"<Run {self.name}: test mIoU {format_score(self.metrics['test']['miou'])}>"

    @property
    def model(self) -> "nn.Module":
        """The trained net, in eval mode: normalised images `[N, B, H, W]` in, logits `[N, C, H, W]` out.

        That of an ensemble is one net too, which answers with the logits of the members' mean probabilities.

        Raises InputError if its weights are neither in the workspace nor in DVC's cache or remote.
        """
        return self._loaded[0]

    def predict(self, images: "str | Path | np.ndarray | Iterable[str | Path | np.ndarray]") -> "list[Labels]":
        """Predict a label map uint8 `[H, W]` for each image, at its own size, as `losslab predict` does.

        Of overlapping classes, it is `[H, W, C]`, 1 where a class is.

        Args:
            images: files, or arrays of any sizes, `[H, W, B]` of the bands and type of the training images; or a single
                one. Where the card names no bands, these are uint8 `[H, W, 3]`, RGB.

        Raises:
            InputError: one of them is not an image, or the weights cannot be had.
        """
        from losslab.prediction.label_map import predict_image

        given: Any = images
        if isinstance(images, str | Path) or not isinstance(images, Iterable) or getattr(images, "ndim", None) == 3:
            given = [images]
        bands = read_bands(self._loaded[1])
        pixels = [_read_pixels(image, place, bands) for place, image in enumerate(given)]
        return [predict_image(self._predictor, image) for image in pixels]

    @cached_property
    def _loaded(self) -> "tuple[nn.Module, dict[str, Any]]":
        from losslab import models

        with open_project(self.record.root) as root:
            if (ensemble := get_ensemble(self.params)) is not None:
                return load_ensemble(ensemble, find_prepared(self.record), root)
            with open_model(self.record.model_md5, root) as folder:
                return models.load(folder)

    @cached_property
    def _predictor(self) -> "Predictor":
        from losslab.inference.predictor import Predictor

        return Predictor(*self._loaded)


def load_run(name: str) -> Run:
    """Load a finished run of the project that the working directory is in.

    Args:
        name: a DVC experiment, its commit, an MLflow run's id or the beginning of it, or `workspace`.

    Raises:
        InputError: there is no project or no such run, it did not end, or its outs are lost.
    """
    if not isinstance(name, str):
        raise InputError(f"load_run: {quote(name)} is not the name of a run")
    with open_project() as root:
        return _build_run(RunFinder(root).find(name))


def run(overrides: dict[str, Any] | None = None) -> Run:
    """Run the pipeline once, with changes to params.yaml, as a DVC experiment; wait for it, and return it.

    It runs in a clone of the last commit, as studies do, and leaves the workspace alone: its outs have the bytes that
    `dvc repro` gives. A run that has finished before, on this commit with these params, is returned at once. One that
    was interrupted goes on after its last epoch.

    Args:
        overrides: nested, or with dotted keys: `{"loss": "dice", "train.epochs": 3}`.

    Raises:
        InputError: an override is wrong, code or cards are not committed, or the run fails; the message says why.
    """
    with open_project() as root:
        if changed := list_changes(root, TRACKED):
            raise InputError(
                f"{format_list(changed, 3)}: not committed; commit first, because runs take the last commit"
            )
        changes = flatten_overrides(_convert_to_plain(overrides or {}), "run")
        params = apply_overrides(read_yaml(Path("params.yaml")), changes)
        check_params(params, "run", Path("data/catalog"))
        baseline = find_head(root)
        about = [baseline, find_prefix(root).as_posix(), params]
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:10]
        planned = StudyRun(f"run-{digest}", GridCell((), {}), None, params["seed"], params)
        done = find_finished_runs([planned], root)
        if not done:
            _execute(planned, baseline, root)
            done = find_finished_runs([planned], root)
        if not done:
            raise InputError(f"{planned.name}: it ended without an error, but left no complete experiment")
        return _build_run(RunFinder(root).build_record(done[planned]))


@contextmanager
def open_project(here: Path | None = None) -> Iterator[Path]:
    """Work at the root of the project that a folder is in, by default the working directory; yield the root.

    Raises InputError if it is in no project.
    """
    here = here or Path.cwd()
    if (root := find_root(here)) is None:
        raise InputError(f"{here}: not in a losslab project; change to one, or make one with `losslab init`")
    with chdir(root):
        yield root


def _build_run(record: RunRecord) -> Run:
    with record.files() as folder:
        history, metrics = read_csv(folder / "reports/history.csv"), read_json(folder / SCORES)
    rows = [{name: parse_cell(cell) for name, cell in row.items()} for row in history]
    return Run(name=record.name, params=record.params, metrics=metrics, history=rows, record=record)


def _convert_to_plain(overrides: object) -> dict[str, Any]:
    """Convert NumPy's numbers, tuples and paths to what a YAML file holds. Raises InputError for anything else."""

    def convert(value: object) -> object:
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, Path):
            return str(value)
        raise InputError(f"run: params.yaml has no place for {quote(value)}")

    if not isinstance(overrides, dict):
        raise InputError(
            f"run: the changes to params.yaml are {quote(overrides)}, but must be a dict of keys and values"
        )
    plain: dict[str, Any] = json.loads(json.dumps(overrides, default=convert))
    return plain


def _execute(planned: StudyRun, baseline: str, root: Path) -> None:
    """Run a run in this process's stead: stages end a process on errors, and set torch up for themselves."""
    log = root / RUNS / f"{planned.name}.log"
    with open_clone_folder(root / RUNS) as (folder, lock):
        print_line(f"{planned.name}: running; its output is in {log.relative_to(root)}")
        job = WorkerJob(
            home=str(root),
            source=str(root),
            prefix=find_prefix(root).as_posix(),
            slot=str(folder / "clone"),
            cache=str(find_cache_folder(root)),
            baseline=baseline,
            params=planned.params,
            experiment=planned.name,
            parent=os.getpid(),
        )
        try:
            epochs = planned.params["train"]["epochs"]
            with show_progress(planned.name, log, epochs), open_private(log) as output:
                code = execute_job(job, lock, own_group=True, output=output)
        finally:
            text = mask_log(log)
    if code:
        ending = "it was killed, and goes on when you run it again" if was_killed(code, text) else find_reason(text)
        raise InputError(mask_credentials(f"{planned.name}: {ending}; its output is in {log.relative_to(root)}"))


def _read_pixels(image: object, place: int, bands: Bands) -> Any:
    from losslab.data.images.decode import UnusableFileError, read_image
    from losslab.prediction.label_map import to_pixels

    try:
        if isinstance(image, str | Path):
            return read_image(Path(image), bands).turn().pixels
        return to_pixels(np.asarray(image), bands)
    except (UnusableFileError, ValueError) as error:
        raise InputError(f"{image if isinstance(image, str | Path) else f'image {place}'}: {error}") from None
