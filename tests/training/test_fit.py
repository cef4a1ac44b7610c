import errno
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from losslab.data.loading.arrays import EvaluationDataset, PreparedData, build_evaluation_loader
from losslab.data.loading.batches import TrainingDataset
from losslab.data.loading.crops import CropSampler
from losslab.errors import DivergedError, InputError, Terminated
from losslab.inference.predictor import Predictor
from losslab.inference.tensors import to_labels
from losslab.metrics import SegmentationMetrics
from losslab.metrics.confusion import compute_scores, count_confusion_per_image
from losslab.params import Params
from losslab.runtime.devices import pick_device
from losslab.stage_inputs import check_model
from losslab.training import EpochRow, TrainedNet, open_checkpoint, plan_training
from losslab.training import train_net as train_planned
from losslab.training.fit import explain_error
from losslab.training.plan import list_inexact_operations
from tests.conftest import merge
from tests.data.own_data import own_card, prepared_from
from tests.data.prepare.test_bands import describe, make_bands


def changed(params: Params, **changes: Any) -> Params:
    return Params.model_validate(merge(params.model_dump(), changes))


def train(params: Params, data: PreparedData, **options: Any) -> TrainedNet:
    return train_planned(plan_training(params, data), **options)


@pytest.fixture
def trained(tiny_params: Params, tiny_data: PreparedData) -> TrainedNet:
    return train(tiny_params, tiny_data)


def read_weights(trained: TrainedNet) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in trained.net.state_dict().values())


LAUNCHED_BY_TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}
LAUNCHED_BY_SRUN = {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "job", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


def compute_val_miou(trained: TrainedNet, data: PreparedData) -> float:
    metrics = SegmentationMetrics(3)
    predictor = Predictor(trained.net, trained.description | {"precision": "32-true"}, device=torch.device("cpu"))
    for images, target in build_evaluation_loader(data, "val", 2):
        metrics.update(to_labels(predictor.compute_logits(images)), target.long())
    return float(metrics.compute()["miou"])


def test_training_is_bit_exact(trained: TrainedNet, tiny_params: Params, tiny_data: PreparedData) -> None:
    again = train(tiny_params, tiny_data)
    assert read_weights(again) == read_weights(trained)
    assert again.history == trained.history


def test_seed_changes_the_weights_and_workers_do_not(
    trained: TrainedNet, tiny_params: Params, tiny_data: PreparedData
) -> None:
    workers = train(changed(tiny_params, train={"workers": 2}), tiny_data)
    assert read_weights(workers) == read_weights(trained)
    assert read_weights(train(changed(tiny_params, seed=1), tiny_data)) != read_weights(trained)


@pytest.mark.parametrize("sampling", ["uniform", "balanced"])
def test_crops_are_trained_on_and_counted(sampling: str, tiny_params: Params, tiny_data: PreparedData) -> None:
    params = changed(tiny_params, train={"crop": 16, "sampling": sampling, "batch_size": 32, "precision": "32-true"})
    trained = train(params, tiny_data)
    assert trained.description["size"] == 64 and trained.description["run"]["train"]["crop"] == 16
    dataset = TrainingDataset(
        tiny_data, "none", 0, CropSampler(tiny_data.rows("train", "masks"), 16, params.train.sampling, None, seed=0)
    )
    _, masks = dataset.__getitems__([(0, number) for number in range(len(dataset))])
    for label, name in enumerate(("skin", "lesion", "hair")):
        share = (masks == label).flatten(1).any(dim=1).double().mean()
        assert trained.history[0][f"crops_{name}"] == pytest.approx(float(share), abs=1e-6)
    again = train(params, tiny_data)
    assert read_weights(again) == read_weights(trained) and again.history == trained.history


def test_model_of_whole_images_says_nothing_of_crops(trained: TrainedNet, tiny_params: Params) -> None:
    assert {"crop", "sampling"}.isdisjoint(trained.description["run"]["train"])
    assert not [name for name in trained.history[0] if name.startswith("crops_")]
    check_model(trained.description, tiny_params)
    cropped = changed(tiny_params, train={"crop": 16})
    with pytest.raises(InputError, match=r"this model was trained with train\.crop null, but params\.yaml has 16"):
        check_model(trained.description, cropped)


def test_history_has_a_row_per_epoch_in_order(trained: TrainedNet) -> None:
    assert [row["epoch"] for row in trained.history] == [1, 2]
    assert list(trained.history[0])[:5] == ["epoch", "lr", "train_loss", "val_loss", "val_miou"]
    assert {"val_iou_skin", "val_iou_lesion", "val_iou_hair"} <= set(trained.history[0])


def test_kept_weights_are_those_of_the_best_val_miou(tiny_params: Params, tiny_data: PreparedData) -> None:
    """The learning rate ruins the net after its first epochs: the last weights are not the best."""
    params = changed(tiny_params, train={"epochs": 4, "lr": 0.05, "precision": "32-true"})
    trained = train(params, tiny_data)
    history = [row["val_miou"] for row in trained.history]
    assert max(history) > history[-1], "the last epoch is the best: this test shows nothing"
    assert compute_val_miou(trained, tiny_data) == pytest.approx(max(history), abs=1e-5)


def test_each_epoch_is_handed_on_while_it_trains(tiny_params: Params, tiny_data: PreparedData) -> None:
    rows: list[EpochRow] = []
    trained = train(tiny_params, tiny_data, on_epoch=rows.append)
    assert rows == trained.history


def test_terms_of_a_sum_are_logged_beside_it(tiny_params: Params, tiny_data: PreparedData) -> None:
    params = changed(tiny_params, loss="0.5*bce+2*dice", train={"epochs": 1})
    row = train(params, tiny_data).history[0]
    assert row["train_loss"] == pytest.approx(0.5 * row["train_loss_bce"] + 2 * row["train_loss_dice"], abs=1e-4)
    assert row["val_loss"] == pytest.approx(0.5 * row["val_loss_bce"] + 2 * row["val_loss_dice"], abs=1e-4)


def test_ramped_weight_is_logged_and_makes_the_sum(tiny_params: Params, tiny_data: PreparedData) -> None:
    params = changed(tiny_params, loss="dice+0.5:2*bce", train={"epochs": 3})
    rows = train(params, tiny_data).history
    assert [row["weight_bce"] for row in rows] == [0.5, 1.25, 2.0]
    for row in rows:
        for phase in ("train", "val"):
            terms = row[f"{phase}_loss_dice"] + row["weight_bce"] * row[f"{phase}_loss_bce"]
            assert row[f"{phase}_loss"] == pytest.approx(terms, abs=1e-4)


@pytest.mark.parametrize("weighting", ["inverse_frequency", "median_frequency"])
def test_class_weights_are_counted_in_the_training_images(
    weighting: str, tiny_params: Params, tiny_data: PreparedData
) -> None:
    masks = tiny_data.masks("train")
    pixels = np.array([(masks == label).sum() for label in range(3)])
    if weighting == "inverse_frequency":
        expected = masks.size / (3 * pixels)
    else:
        having = [sum(mask.size for mask in masks if (mask == label).any()) for label in range(3)]
        frequency = pixels / np.array(having)
        expected = np.median(frequency) / frequency
    for options in ({"class_weights": weighting}, {"cross_entropy": {"class_weights": weighting}}):
        loss = plan_training(changed(tiny_params, loss_options=options), tiny_data).loss
        (weights,) = loss.losses["cross_entropy"].buffers()
        assert weights.tolist() == pytest.approx(expected.tolist())


class Bomb(torch.nn.Module):
    """A loss term that is not finite from its step `fuse` on."""

    def __init__(self, fuse: int) -> None:
        super().__init__()
        self.fuse = fuse

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        self.fuse -= 1
        return logits.mean() * (float("nan") if self.fuse < 0 else 1.0)


def test_loss_that_is_not_finite_stops_the_run_and_leaves_the_last_good_checkpoint(
    tiny_params: Params, tiny_data: PreparedData, tmp_path: Path
) -> None:
    """An epoch is two steps of training and one of val."""
    params = changed(tiny_params, loss="bce+dice", train={"epochs": 4})
    planned = plan_training(params, tiny_data)
    planned.loss.losses["dice"] = Bomb(fuse=7)
    message = (
        r"epoch 3, train step 2: the loss term dice is nan on finite output: .*train.lr below 0.001.*epoch 2 is (.*)$"
    )
    with (
        open_checkpoint(planned.description, tmp_path, pytest.fail) as kept,
        pytest.raises(DivergedError, match=message) as caught,
    ):
        train_planned(planned, kept)
    assert str(caught.value).endswith(str(kept.path))
    checkpoint = torch.load(kept.path, weights_only=True)
    assert checkpoint["epoch"] == 1
    assert all(tensor.isfinite().all() for tensor in checkpoint["state_dict"].values() if tensor.is_floating_point())
    assert "optimizer_states" in checkpoint


class Trap(torch.nn.Module):
    """A finite term whose gradient is not: √0."""

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (logits - logits.detach()).square().sum().sqrt()


def test_gradient_that_is_not_finite_stops_the_run_before_the_weights_are_lost(
    tiny_params: Params, tiny_data: PreparedData, tmp_path: Path
) -> None:
    planned = plan_training(changed(tiny_params, loss="bce+dice"), tiny_data)
    planned.loss.losses["dice"] = Trap()
    with pytest.raises(
        DivergedError, match=r"epoch 1, train step 1: the gradient of bce \+ dice is not finite, though"
    ):
        train_planned(planned)
    assert all(parameter.isfinite().all() for parameter in planned.net.parameters())


def test_class_weights_of_data_prepared_before_they_were_counted_are_reported(
    tiny_params: Params, tiny_data: PreparedData, tmp_path: Path
) -> None:
    shutil.copytree(tiny_data.folder, tmp_path / "old")
    described = tiny_data.describe()
    del described["pixels_where_present"]
    (tmp_path / "old/dataset.json").write_text(json.dumps(described), encoding="utf-8")
    weighted = changed(tiny_params, loss_options={"class_weights": "median_frequency"})
    with pytest.raises(InputError, match="older losslab and lack pixel counts; run `dvc repro prepare`"):
        plan_training(weighted, PreparedData(tmp_path / "old"))


@pytest.mark.parametrize("loss", ["cross_entropy", "cross_entropy+0:0.01*topology"])
def test_net_that_explodes_is_reported_with_a_remedy(loss: str, tiny_params: Params, tiny_data: PreparedData) -> None:
    params = changed(tiny_params, loss=loss, train={"lr": 1e30})
    message = r"epoch 1, train step 2: .*net's output is not finite: set train.lr below 1e\+30.*there is no checkpoint"
    with pytest.raises(DivergedError, match=message):
        train(params, tiny_data)


def test_interrupt_stays_an_interrupt(tiny_params: Params, tiny_data: PreparedData) -> None:
    def interrupt(row: EpochRow) -> None:
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(tiny_params, tiny_data, on_epoch=interrupt)
    finally:
        signal.signal(signal.SIGINT, handler)


def test_termination_by_a_scheduler_is_told_from_ctrl_c(
    tiny_params: Params, tiny_data: PreparedData, tmp_path: Path
) -> None:
    plan = plan_training(changed(tiny_params, arch="simple_cnn", encoder=None), tiny_data)
    with open_checkpoint(plan.description, tmp_path, pytest.fail) as checkpoint, pytest.raises(Terminated):
        train_planned(plan, checkpoint, on_epoch=lambda row: os.kill(os.getpid(), signal.SIGTERM))
    assert checkpoint.path.exists() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("loss", ["bce+dice", "cross_entropy+correlation+0:0.01*topology"])
def test_losses_train_in_bf16(loss: str, tiny_params: Params, tiny_data: PreparedData) -> None:
    params = changed(tiny_params, loss=loss, train={"epochs": 1, "precision": "bf16-mixed"})
    trained = train(params, tiny_data)
    assert trained.description["precision"] == "bf16-mixed"
    assert np.isfinite(trained.history[0]["train_loss"])
    assert all(tensor.dtype != torch.bfloat16 for tensor in trained.net.state_dict().values())


def test_two_classes_train_with_one_logit(tiny_params: Params, tiny_data: PreparedData, tmp_path: Path) -> None:
    data = tmp_path / "binary"
    for split in ("train", "val", "test"):
        (data / split).mkdir(parents=True)
        np.save(data / split / "images.npy", tiny_data.images(split))
        np.save(data / split / "masks.npy", (tiny_data.masks(split) == 1).astype(np.uint8))
    (data / "index.csv").write_bytes((tiny_data.folder / "index.csv").read_bytes())
    text = (tiny_data.folder / "dataset.json").read_text(encoding="utf-8")
    (data / "dataset.json").write_text(text.replace('"skin",', "").replace("null", "255"), encoding="utf-8")
    trained = train(changed(tiny_params, loss="bce+dice"), PreparedData(data))
    assert trained.description["num_classes"] == 1
    assert trained.net(torch.zeros(1, 3, 64, 64)).shape == (1, 1, 64, 64)


def test_model_description_is_enough_to_use_the_model(trained: TrainedNet, tiny_data: PreparedData) -> None:
    assert trained.description["classes"] == ["skin", "lesion", "hair"]
    assert trained.description["mean"] == tiny_data.describe()["mean"]
    assert trained.description["data_md5"].endswith(".dir")
    assert trained.description["run"]["train"]["epochs"] == 2


def test_encoder_that_cannot_take_the_size_is_reported(tiny_params: Params, tiny_data: PreparedData) -> None:
    with pytest.raises(InputError, match=r"encoder: this net cannot take images of prepare.size 64: "):
        plan_training(changed(tiny_params, encoder="tu-maxvit_pico_rw_256"), tiny_data)


def test_what_the_hardware_lacks_is_reported(
    tiny_params: Params, tiny_data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto").type == "cpu"
    with pytest.raises(InputError, match=r"train.device is 'cuda', but torch finds no CUDA device"):
        plan_training(changed(tiny_params, train={"device": "cuda"}), tiny_data)
    with pytest.raises(InputError, match=r"train.precision is '16-mixed', which needs CUDA"):
        plan_training(changed(tiny_params, train={"precision": "16-mixed"}), tiny_data)


@pytest.mark.parametrize(
    ("train", "environment", "complaint"),
    [
        ({"devices": 2, "strategy": "dpp"}, {}, r"devices 2, nodes 1 and strategy 'dpp' on cpu: "),
        (
            {"nodes": 2},
            {},
            r"train.nodes is 2, which needs torchrun or srun to start the other nodes: see `losslab docs training`",
        ),
        ({}, LAUNCHED_BY_TORCHRUN, r"torchrun or srun started 2 processes, but .* is 1: make them equal"),
        ({}, LAUNCHED_BY_SRUN, r"torchrun or srun started 4 processes, but .* is 1: make them equal"),
        ({"nodes": 2, "devices": 2}, LAUNCHED_BY_SRUN, r"Lightning cannot run with .*--ntasks-per-node"),
    ],
)
def test_devices_that_cannot_be_had_are_reported(
    train: dict[str, Any],
    environment: dict[str, str],
    complaint: str,
    tiny_params: Params,
    tiny_data: PreparedData,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=complaint) as caught:
        train_planned(plan_training(changed(tiny_params, train={"batch_size": 4, **train}), tiny_data))
    assert "\n" not in str(caught.value)


def test_step_of_one_image_is_refused_where_the_net_needs_two(tiny_params: Params, tiny_data: PreparedData) -> None:
    """Six images in batches of 4 over two processes: the last gives each of them one."""
    params = changed(tiny_params, arch="deeplabv3plus", train={"devices": 2, "batch_size": 4})
    with pytest.raises(InputError, match=r"train.batch_size leaves one image per process and step"):
        plan_training(params, tiny_data)
    plan_training(changed(params, train={"batch_size": 6}), tiny_data)


def test_advice_on_a_single_training_image_is_more_images(
    tiny_params: Params, tiny_data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PreparedData, "rows", lambda *_: [0])
    with pytest.raises(InputError, match=r"the train split has one image, on which this net cannot .* give it more"):
        plan_training(changed(tiny_params, arch="deeplabv3", train={"batch_size": 4}), tiny_data)


def test_operations_without_a_deterministic_version_are_named() -> None:
    """The warnings are worded as torch words them."""
    warned = [
        "upsample_bilinear2d_backward_out_cuda does not have a deterministic implementation, but you set "
        "'torch.use_deterministic_algorithms(True, warn_only=True)'.",
        "Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)` or … but this operation "
        "is not deterministic because it uses CuBLAS and you have CUDA >= 10.2.",
        "something else",
    ]
    assert list_inexact_operations(warned) == [
        "cuBLAS with this CUBLAS_WORKSPACE_CONFIG",
        "upsample_bilinear2d_backward_out_cuda",
    ]


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), "device memory"),
        (OSError(12, "Cannot allocate memory"), "memory"),  # of a loader's fork
        (MemoryError("Caught MemoryError in DataLoader worker process 0."), "memory"),
        (Exception("OpenCV: (-4:Insufficient memory) Failed to allocate 108 bytes"), "memory"),
    ],
)
def test_memory_that_runs_out_is_reported_whoever_says_so(error: Exception, where: str) -> None:
    explained = str(explain_error(error, 4, 1))
    assert explained.startswith(f"out of {where} in epoch 2: set train.batch_size below 4 ")


@pytest.mark.parametrize("workers", ["(pid 77) is killed by signal: Killed", "(pid(s) 77, 78) exited unexpectedly"])
def test_workers_that_end_are_reported_whatever_torch_calls_them(workers: str) -> None:
    error = explain_error(RuntimeError(f"DataLoader worker {workers}. "), 4, 1)
    assert "a process that loads data " + workers.partition(") ")[2].split(") ")[-1] in str(error)


def test_workers_that_cannot_start_are_reported_by_their_cause() -> None:
    """Without /dev/shm Lightning raises an error of its own in place of the system's."""
    error = RuntimeError("Please call `iter(combined_loader)` first.")
    assert explain_error(error, 4, 0) is None
    error.__context__ = OSError(errno.EROFS, "Read-only file system")
    assert "the processes that load data cannot start: Read-only file system (they need" in str(
        explain_error(error, 4, 0)
    )


@pytest.mark.parametrize("crop", [None, 16])
def test_tiles_and_crops_of_any_bands_give_the_same_weights_with_workers(
    crop: int | None, tiny_params: Params, tmp_path: Path
) -> None:
    make_bands(tmp_path)
    card = own_card(tmp_path, bands=describe(scaling={"percentiles": [1, 99]}))
    _, data = prepared_from(tmp_path, card, fit="tile")
    sampling = "uniform" if crop is None else "foreground"
    how: dict[str, Any] = {"augmentation": "strong", "crop": crop, "sampling": sampling, "precision": "32-true"}
    params = changed(tiny_params, arch="simple_cnn", encoder=None, prepare={"size": 32, "fit": "tile"}, train=how)
    once, again = (train(changed(params, train={"workers": workers}), data) for workers in (0, 2))
    assert read_weights(once) == read_weights(again) and once.history == again.history
    assert once.description["bands"] == data.describe()["bands"] and len(once.description["mean"]) == 5
    val = EvaluationDataset(data, "val")
    images, masks = val.__getitems__(list(range(len(val))))
    labels = to_labels(Predictor(once.net, once.description, device=torch.device("cpu")).compute_logits(images))
    counts = count_confusion_per_image(labels, masks, 2, 255).sum(dim=0)
    best = max(row["val_miou"] for row in once.history)
    assert compute_scores(counts)["miou"] == pytest.approx(best, abs=1e-6)
    assert counts.sum() == sum(data.describe()["pixels"]["val"])


def test_net_of_one_size_is_refused_where_images_are_smaller_than_a_tile(tiny_params: Params, tmp_path: Path) -> None:
    make_bands(tmp_path)
    _, data = prepared_from(tmp_path, own_card(tmp_path, bands=describe()), fit="tile", size=96)
    params = changed(tiny_params, arch="simple_cnn", encoder=None, prepare={"size": 96, "fit": "tile"})
    with mock.patch("losslab.training.plan.find_fault", lambda net, size: None if size >= 96 else "it takes 96 alone"):
        small = r"cannot take images below prepare.size 96, such as of 20 pixels: it takes 96 alone; use fit letterbox"
        with pytest.raises(InputError, match=small):
            plan_training(params, data)
