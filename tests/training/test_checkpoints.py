import errno
import multiprocessing
import shutil
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from losslab.data.loading.arrays import PreparedData
from losslab.errors import InputError
from losslab.params import Params
from losslab.tracking.runs import TrainingRun
from losslab.training import EpochRow, TrainedNet, open_checkpoint, plan_training, train_net
from losslab.training.checkpoints import RECORD, compute_run_key
from tests.training.test_fit import LAUNCHED_BY_TORCHRUN, changed, read_weights

DESCRIPTION: dict[str, Any] = {"run": {"train": {"device": "cpu"}}}


class Killed(BaseException):
    """An exception that stands for kill -9: nothing may be done any more."""


class KillAt(Callback):
    def __init__(self, epoch: int, hook: str) -> None:
        self.epoch = epoch
        setattr(self, hook, self.kill)

    def kill(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.current_epoch == self.epoch:
            raise Killed


def run(
    params: Params, data: PreparedData, folder: Path, warnings: list[str] | None = None, **options: Any
) -> TrainedNet:
    planned = plan_training(params, data)
    lines: list[str] = [] if warnings is None else warnings
    with open_checkpoint(planned.description, folder, lines.append) as checkpoint:
        return train_net(planned, checkpoint, **options)


def kill_in(epoch: int, hook: str, params: Params, data: PreparedData, folder: Path) -> list[EpochRow]:
    """Train until the hook of this epoch, counted from 0; return the rows of the epochs that were handed on."""
    rows: list[EpochRow] = []
    with pytest.raises(Killed):
        run(params, data, folder, on_epoch=rows.append, callbacks=[KillAt(epoch, hook)])
    return rows


@pytest.fixture
def tiny_params(tiny_params: Params) -> Params:
    """Return the tiny params with the net that trains fastest."""
    return changed(tiny_params, arch="simple_cnn", encoder=None)


CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "dropout, schedule, average": {
        "arch": "deeplabv3plus",
        "encoder": "tu-mobilenetv3_small_050",
        "train": {
            "optimizer": "adamw",
            "weight_decay": 0.01,
            "schedule": "one_cycle",
            "warmup_epochs": 0.5,
            "ema": 0.9,
        },
    },
    "frozen encoder, plateau, ramp": {
        "arch": "unet",
        "encoder": "tu-mobilenetv3_small_050",
        "loss": "dice+0:1*bce",
        "train": {
            "optimizer": "sgd",
            "schedule": "plateau",
            "schedule_options": {"patience": 1},
            "freeze_encoder_epochs": 2,
            "encoder_lr": 1e-4,
            "accumulate": 2,
            "clip_grad_norm": 0.5,
            "augmentation": "strong",
        },
    },
    "crops, read by a worker": {"train": {"workers": 1, "crop": 32, "sampling": "balanced"}},
}


@pytest.mark.parametrize("case", CASES)
def test_killed_and_started_again_it_ends_in_the_same_bits(
    case: str, tiny_params: Params, tiny_data: PreparedData, tmp_path: Path
) -> None:
    params = changed(changed(tiny_params, train={"epochs": 4, "batch_size": 2}), **CASES[case])
    uninterrupted = run(params, tiny_data, tmp_path / "uninterrupted")
    folder = tmp_path / "killed"
    assert len(kill_in(1, "on_train_batch_end", params, tiny_data, folder)) == 1
    assert kill_in(2, "on_validation_batch_start", params, tiny_data, folder) == uninterrupted.history[1:2]
    rows: list[EpochRow] = []
    resumed = run(params, tiny_data, folder, on_epoch=rows.append)
    assert rows == uninterrupted.history[2:], "an epoch was trained twice, or left out"
    assert resumed.history == uninterrupted.history
    assert read_weights(resumed) == read_weights(uninterrupted)


def test_killed_after_its_last_epoch_it_trains_no_more(
    tiny_params: Params, tiny_data: PreparedData, tmp_path: Path
) -> None:
    uninterrupted = run(tiny_params, tiny_data, tmp_path)
    rows: list[EpochRow] = []
    again = run(tiny_params, tiny_data, tmp_path, on_epoch=rows.append)
    assert rows == [] and read_weights(again) == read_weights(uninterrupted) and again.history == uninterrupted.history


def test_finished_run_is_not_trained_again_until_it_is_forgotten(
    tiny_params: Params, tiny_data: PreparedData, tmp_path: Path
) -> None:
    planned = plan_training(tiny_params, tiny_data)
    with open_checkpoint(planned.description, tmp_path, pytest.fail) as checkpoint:
        uninterrupted = train_net(planned, checkpoint)
        checkpoint.finish(["a", "b"])
    (finished,) = tmp_path.glob("*.a.b.finished")
    for trained in (0, 2):
        again, rows = plan_training(tiny_params, tiny_data), list[EpochRow]()
        with open_checkpoint(again.description, tmp_path, pytest.fail) as checkpoint:
            assert read_weights(train_net(again, checkpoint, rows.append)) == read_weights(uninterrupted)
            checkpoint.finish(["a", "b"])
        assert len(rows) == trained
        finished.unlink()


def test_checkpoints_of_other_runs_are_reported_and_kept(tmp_path: Path) -> None:
    names = {"1.a.b.finished", "2.ckpt", "2.set-aside", ".2.ckpt.partial"}
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    warnings: list[str] = []
    with open_checkpoint(DESCRIPTION, tmp_path, warnings.append):
        pass
    assert len(warnings) == 1 and warnings[0].startswith(
        f"4 checkpoints in {tmp_path} of other params, data or code, or damaged ("
    )
    assert {path.name for path in tmp_path.iterdir()} == names


def test_early_stop_stands_when_the_run_is_started_again(
    tiny_params: Params, tiny_data: PreparedData, tmp_path: Path
) -> None:
    params = changed(tiny_params, train={"epochs": 30, "lr": 0.05, "early_stopping": 2})
    stopped = run(params, tiny_data, tmp_path)
    scores = [row["val_miou"] for row in stopped.history]
    assert len(scores) < 30 and max(scores) == scores[-3] > max(scores[-2:])
    assert run(params, tiny_data, tmp_path).history == stopped.history


NONSENSE: dict[str, dict[str, Any]] = {
    "record of nothing": {RECORD: {"rows": "zz", "weights": 5}},
    "no epochs": {RECORD: {"rows": [], "weights": {}}},
    "no net": {"state_dict": 5},
    "no optimizer": {"optimizer_states": []},
}
"""What the file of this very run may hold instead, with checksums that are right."""


@pytest.mark.parametrize("damage", ["truncated", "one bit", "of another run", "no checkpoint", *NONSENSE])
def test_checkpoint_that_cannot_be_trusted_is_set_aside(
    damage: str, tiny_params: Params, tiny_data: PreparedData, tmp_path: Path
) -> None:
    other = changed(tiny_params, seed=1)
    uninterrupted = run(tiny_params, tiny_data, tmp_path / "uninterrupted")
    kill_in(1, "on_train_epoch_start", other if damage == "of another run" else tiny_params, tiny_data, tmp_path)
    (path,) = tmp_path.glob("*.ckpt")
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "one bit":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "of another run":
        path = path.replace(tmp_path / f"{compute_run_key(plan_training(tiny_params, tiny_data).description)}.ckpt")
    else:
        known = torch.load(path, weights_only=True) if damage in NONSENSE else {}
        torch.save(known | NONSENSE.get(damage, {"epoch": 1}), path)
    warnings: list[str] = []
    assert read_weights(run(tiny_params, tiny_data, tmp_path, warnings)) == read_weights(uninterrupted)
    reason = "its params, data or code differ" if damage == "of another run" else "it is damaged"
    assert (
        len(warnings) == 1
        and f"cannot use the checkpoint {path}: {reason}; renamed to {path.stem}.set-aside" in warnings[0]
    )
    assert path.with_suffix(".set-aside").exists()


def test_checkpoint_of_other_params_is_reported_and_kept(
    tiny_params: Params, tiny_data: PreparedData, tmp_path: Path
) -> None:
    kill_in(1, "on_train_epoch_start", tiny_params, tiny_data, tmp_path)
    warnings: list[str] = []
    trained = run(changed(tiny_params, seed=1), tiny_data, tmp_path, warnings)
    assert len(trained.history) == 2
    assert len(warnings) == 1 and warnings[0].startswith(f"1 checkpoint in {tmp_path} of other params, data or code,")
    assert len(list(tmp_path.glob("*.ckpt"))) == 2


def test_key_is_of_params_data_and_code_but_not_of_workers(
    tiny_params: Params, tiny_data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(**changes: Any) -> str:
        return compute_run_key(plan_training(changed(tiny_params, **changes), tiny_data).description)

    assert key() == key() == key(train={"workers": 2})
    described = plan_training(tiny_params, tiny_data).description
    keys = {
        key(),
        key(seed=1),
        key(train={"lr": 0.01}),
        key(loss="dice"),
        compute_run_key({**described, "data_md5": "x"}),
    }
    for name, other in (
        ("_compute_code_digest", "changed"),
        ("version", "0"),
        ("pick_model_device", torch.device("meta")),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"losslab.training.checkpoints.{name}", lambda *_, other=other: other)
            keys.add(key())
    assert len(keys) == 8


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("unexpected pos 64")])
def test_full_disk_is_reported_and_leaves_the_last_checkpoint_usable(
    error: Exception, tiny_params: Params, tiny_data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second checkpoint fails half-way."""
    params = changed(tiny_params, train={"epochs": 3})
    uninterrupted = run(params, tiny_data, tmp_path / "uninterrupted")
    save, folder, saved = torch.save, tmp_path / "full", []

    def half(content: Any, file: Any) -> None:
        saved.append(1)
        if len(saved) == 2:
            file.write(b"half of it")
            raise error
        save(content, file)

    with (
        monkeypatch.context() as patch,
        pytest.raises(InputError, match=r"cannot write the checkpoint .* \(.*MB are free\): free some space"),
    ):
        patch.setattr(torch, "save", half)
        run(params, tiny_data, folder)
    assert {path.suffix for path in folder.iterdir()} <= {".ckpt", ".lock"}
    rows: list[EpochRow] = []
    assert read_weights(run(params, tiny_data, folder, on_epoch=rows.append)) == read_weights(uninterrupted)
    assert [row["epoch"] for row in rows] == [2, 3]


def test_same_run_beside_this_one_waits(tmp_path: Path) -> None:
    warnings: list[str] = []
    order: list[str] = []

    def second() -> None:
        with open_checkpoint(DESCRIPTION, tmp_path, warnings.append):
            order.append("second")

    with open_checkpoint(DESCRIPTION, tmp_path, pytest.fail):
        thread = threading.Thread(target=second)
        thread.start()
        while not warnings:
            time.sleep(0.1)
        order.append("first")
    thread.join(timeout=30)
    assert order == ["first", "second"] and warnings[0].startswith("another process is training this run")


def test_same_run_beside_one_of_several_processes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LAUNCHED_BY_TORCHRUN.items():
        monkeypatch.setenv(name, value)
    message = r"another process is training this run .*; start again when it has ended"
    with (
        open_checkpoint(DESCRIPTION, tmp_path, pytest.fail),
        pytest.raises(InputError, match=message),
        open_checkpoint(DESCRIPTION, tmp_path, pytest.fail),
    ):
        pass


def test_memory_that_runs_out_is_reported_with_what_to_change(
    tiny_params: Params, tiny_data: PreparedData, tmp_path: Path
) -> None:
    class Hungry(Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
            if trainer.current_epoch == 1:
                torch.empty(2**60)

    message = r"out of memory in epoch 2: set train.batch_size below 3 .*the checkpoint of epoch 1 is kept"
    with pytest.raises(InputError, match=message):
        run(tiny_params, tiny_data, tmp_path, callbacks=[Hungry()])
    assert len(run(tiny_params, tiny_data, tmp_path).history) == 2


@pytest.mark.parametrize("where", ["checkpoint", "MLflow"])
def test_worker_that_is_killed_is_not_taken_for_a_fault_of_what_was_going_on(
    where: str, tiny_params: Params, tiny_data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler of torch raises its error in the main thread, wherever that is."""

    error, store = RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It …"), Future[Any]()
    store.set_exception(error)
    tracked, options = TrainingRun(store, pytest.fail, tmp_path, tiny_params, "key"), dict[str, Any]()
    if where == "checkpoint":
        monkeypatch.setattr(torch, "save", Mock(side_effect=error))
    else:
        options["on_epoch"] = tracked.log_epoch
    with pytest.raises(InputError, match="process that loads data is killed by signal: Bus error, most likely because"):
        run(tiny_params, tiny_data, tmp_path, **options)


def test_worker_that_is_killed_is_reported_with_what_to_change(
    tiny_params: Params, tiny_data: PreparedData, tmp_path: Path
) -> None:
    class Killer(Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
            if trainer.current_epoch == 1:
                for worker in multiprocessing.active_children():
                    worker.kill()
                    worker.join()

    message = (
        r"epoch 2: a process that loads data .* set train.workers lower \(0 loads .*the checkpoint of epoch 1 is kept"
    )
    params = changed(tiny_params, train={"workers": 1, "batch_size": 1})
    with pytest.raises(InputError, match=message):
        run(params, tiny_data, tmp_path, callbacks=[Killer()])
    shutil.rmtree(tmp_path)
