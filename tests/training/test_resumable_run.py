"""A run from its plan to its outs: what is tracked, and what becomes of its checkpoint."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from losslab import models
from losslab.data.loading.arrays import PreparedData
from losslab.params import Params
from losslab.training import TrainedNet, plan_training, train_run
from tests.training.test_fit import changed

MODEL = Path("models")


class ListTracker:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.epochs: list[float] = []
        self.speeds: list[float] = []
        """Of the epochs that were trained here."""
        self.models: list[Path] = []
        self.resumed: list[bool] = []

    def log_epoch(self, row: Mapping[str, float]) -> None:
        self.epochs.append(row["epoch"])
        if "epoch_seconds" in row:
            self.speeds.append(row["images_per_second"])

    def log_model(self, models: Path, seconds: float) -> None:
        self.models.append(models)

    @contextmanager
    def track(self, *arguments: Any) -> Iterator["ListTracker"]:
        self.resumed.append(arguments[-2])
        yield self


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ListTracker:
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    return ListTracker()


def run(params: Params, data: PreparedData, tracker: ListTracker) -> None:
    plan = plan_training(changed(params, arch="simple_cnn", encoder=None), data)
    with train_run(plan, tracker.track, MODEL, time.monotonic()) as trained:
        assert isinstance(trained, TrainedNet)
        models.save(MODEL, trained.net, trained.description)


def test_epochs_are_tracked_again_after_outs_that_failed(
    tiny_params: Params, tiny_data: PreparedData, tracker: ListTracker, capsys: pytest.CaptureFixture[str]
) -> None:
    """The record may lack them; the second run trains none of them again and removes the checkpoint."""
    MODEL.touch()
    with pytest.raises(OSError):
        run(tiny_params, tiny_data, tracker)
    assert tracker.epochs == [1, 2] and min(tracker.speeds) > 0 and not tracker.models
    MODEL.unlink()
    capsys.readouterr()
    run(tiny_params, tiny_data, tracker)
    assert tracker.epochs == [1, 2, 1, 2] and tracker.models == [MODEL] and tracker.resumed == [False, True]
    assert len(tracker.speeds) == 2, "what comes from a checkpoint was not timed"
    assert capsys.readouterr().out == "resuming after epoch 2, where this run was interrupted\n"
    assert not list(Path(".losslab/checkpoints").iterdir())


def test_checkpoint_is_kept_until_dvc_has_the_outs(
    tiny_params: Params, tiny_data: PreparedData, tracker: ListTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_STAGE", "train")
    run(tiny_params, tiny_data, tracker)
    (finished,) = Path(".losslab/checkpoints").iterdir()
    assert finished.suffix == ".finished"
    Path("dvc.lock").write_text(" ".join(finished.name.split(".")[1:-1]), encoding="utf-8")
    run(tiny_params, tiny_data, tracker)
    assert tracker.epochs == [1, 2, 1, 2] and tracker.resumed == [False, False]
    assert not list(Path(".losslab/checkpoints").iterdir())
