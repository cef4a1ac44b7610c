import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from losslab.data.prepared import Prepared, evaluation_loader
from losslab.data.training_set import training_loader
from losslab.devices import pick_device, pick_precision
from losslab.errors import DivergedError, InputError
from losslab.inference import predict, to_input, to_labels
from losslab.metrics import SegmentationMetrics
from losslab.params import Params
from losslab.training import EpochRow, Trained, plan
from losslab.training import train as train_planned
from tests.conftest import merge


def changed(params: Params, **changes: Any) -> Params:
    return Params.model_validate(merge(params.model_dump(), changes))


def train(params: Params, data: Prepared, scratch: Path, **options: Any) -> Trained:
    return train_planned(plan(params, data), scratch, **options)


@pytest.fixture
def trained(tiny_params: Params, tiny_data: Prepared, tmp_path: Path) -> Trained:
    return train(tiny_params, tiny_data, tmp_path / "scratch")


def weights_of(trained: Trained) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in trained.net.state_dict().values())


def test_training_is_bit_exact_and_leaves_no_scratch(
    trained: Trained, tiny_params: Params, tiny_data: Prepared, tmp_path: Path
) -> None:
    again = train(tiny_params, tiny_data, tmp_path / "scratch")
    assert weights_of(again) == weights_of(trained)
    assert again.history == trained.history
    assert list((tmp_path / "scratch").iterdir()) == []


def test_seed_changes_the_weights_and_workers_do_not(
    trained: Trained, tiny_params: Params, tiny_data: Prepared, tmp_path: Path
) -> None:
    workers = train(changed(tiny_params, train={"workers": 2}), tiny_data, tmp_path)
    assert weights_of(workers) == weights_of(trained)
    assert weights_of(train(changed(tiny_params, seed=1), tiny_data, tmp_path)) != weights_of(trained)


def test_history_has_a_row_per_epoch_in_order(trained: Trained) -> None:
    assert [row["epoch"] for row in trained.history] == [1, 2]
    assert list(trained.history[0])[:5] == ["epoch", "lr", "train_loss", "val_loss", "val_miou"]
    assert {"val_iou_skin", "val_iou_lesion", "val_iou_hair"} <= set(trained.history[0])


def test_kept_weights_are_those_of_the_best_val_miou(tiny_params: Params, tiny_data: Prepared, tmp_path: Path) -> None:
    """With a learning rate that ruins the net after its first epochs, the last weights are not the best."""
    params = changed(tiny_params, train={"epochs": 4, "lr": 0.05})
    trained = train(params, tiny_data, tmp_path)
    history = [row["val_miou"] for row in trained.history]
    metrics = SegmentationMetrics(3)
    mean, std = trained.description["mean"], trained.description["std"]
    batches = evaluation_loader(tiny_data, "val", 2)
    for prediction, target in predict(trained.net, batches, mean, std, "32-true", torch.device("cpu")):
        metrics.update(prediction, target)
    assert max(history) > history[-1], "the last epoch is the best: this test shows nothing"
    assert float(metrics.compute()["miou"]) == pytest.approx(max(history), abs=1e-5)


def test_each_epoch_is_handed_on_while_it_trains(tiny_params: Params, tiny_data: Prepared, tmp_path: Path) -> None:
    rows: list[EpochRow] = []
    trained = train(tiny_params, tiny_data, tmp_path, on_epoch=rows.append)
    assert rows == trained.history


def test_terms_of_a_sum_are_logged_beside_it(tiny_params: Params, tiny_data: Prepared, tmp_path: Path) -> None:
    params = changed(tiny_params, loss="0.5*bce+2*dice", train={"epochs": 1})
    row = train(params, tiny_data, tmp_path).history[0]
    assert row["train_loss"] == pytest.approx(0.5 * row["train_loss_bce"] + 2 * row["train_loss_dice"], abs=1e-4)
    assert row["val_loss"] == pytest.approx(0.5 * row["val_loss_bce"] + 2 * row["val_loss_dice"], abs=1e-4)


def test_ramped_weight_is_logged_and_makes_the_sum(tiny_params: Params, tiny_data: Prepared, tmp_path: Path) -> None:
    params = changed(tiny_params, loss="dice+0.5:2*bce", train={"epochs": 3})
    rows = train(params, tiny_data, tmp_path).history
    assert [row["weight_bce"] for row in rows] == [0.5, 1.25, 2.0]
    for row in rows:
        for phase in ("train", "val"):
            terms = row[f"{phase}_loss_dice"] + row["weight_bce"] * row[f"{phase}_loss_bce"]
            assert row[f"{phase}_loss"] == pytest.approx(terms, abs=1e-4)


@pytest.mark.parametrize("weighting", ["inverse_frequency", "median_frequency"])
def test_class_weights_are_counted_in_the_training_images(
    weighting: str, tiny_params: Params, tiny_data: Prepared
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
        loss = plan(changed(tiny_params, loss_options=options), tiny_data).loss
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
    tiny_params: Params, tiny_data: Prepared, tmp_path: Path
) -> None:
    """An epoch is two steps of training and one of val."""
    params = changed(tiny_params, loss="bce+dice", train={"epochs": 4})
    planned = plan(params, tiny_data)
    planned.loss.losses["dice"] = Bomb(fuse=7)
    message = (
        r"epoch 3, train step 2: the loss term dice is nan on finite output: .*train.lr below 0.001.*epoch 2 is (.*)$"
    )
    with pytest.raises(DivergedError, match=message) as caught:
        train_planned(planned, tmp_path / "scratch")
    (kept,) = (tmp_path / "scratch").iterdir()
    assert str(caught.value).endswith(str(kept))
    checkpoint = torch.load(kept, weights_only=True)
    assert checkpoint["epoch"] == 1
    assert all(tensor.isfinite().all() for tensor in checkpoint["state_dict"].values() if tensor.is_floating_point())
    assert "optimizer_states" in checkpoint
    train(params, tiny_data, tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == [], "a run that went well leaves the old checkpoint"


class Trap(torch.nn.Module):
    """A finite term whose gradient is not: √0."""

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (logits - logits.detach()).square().sum().sqrt()


def test_gradient_that_is_not_finite_stops_the_run_before_the_weights_are_lost(
    tiny_params: Params, tiny_data: Prepared, tmp_path: Path
) -> None:
    planned = plan(changed(tiny_params, loss="bce+dice"), tiny_data)
    planned.loss.losses["dice"] = Trap()
    with pytest.raises(
        DivergedError, match=r"epoch 1, train step 1: the gradient of bce \+ dice is not finite, though"
    ):
        train_planned(planned, tmp_path / "scratch")
    assert all(parameter.isfinite().all() for parameter in planned.net.parameters())


def test_class_weights_of_data_prepared_before_they_were_counted_are_told(
    tiny_params: Params, tiny_data: Prepared, tmp_path: Path
) -> None:
    shutil.copytree(tiny_data.folder, tmp_path / "old")
    described = tiny_data.describe()
    del described["pixels_where_present"]
    (tmp_path / "old/dataset.json").write_text(json.dumps(described), encoding="utf-8")
    weighted = changed(tiny_params, loss_options={"class_weights": "median_frequency"})
    with pytest.raises(InputError, match="older losslab and lack pixel counts; run dvc repro prepare"):
        plan(weighted, Prepared(tmp_path / "old"))


@pytest.mark.parametrize("loss", ["cross_entropy", "cross_entropy+0:0.01*topology"])
def test_net_that_explodes_is_told_with_a_remedy(
    loss: str, tiny_params: Params, tiny_data: Prepared, tmp_path: Path
) -> None:
    params = changed(tiny_params, loss=loss, train={"lr": 1e30})
    message = r"epoch 1, train step 2: .*net's output is not finite: set train.lr below 1e\+30.*there is no checkpoint"
    with pytest.raises(DivergedError, match=message):
        train(params, tiny_data, tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_interrupt_stays_an_interrupt(tiny_params: Params, tiny_data: Prepared, tmp_path: Path) -> None:
    def interrupt(row: EpochRow) -> None:
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(tiny_params, tiny_data, tmp_path / "scratch", on_epoch=interrupt)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("loss", ["bce+dice", "cross_entropy+correlation+0:0.01*topology"])
def test_losses_train_in_bf16(loss: str, tiny_params: Params, tiny_data: Prepared, tmp_path: Path) -> None:
    params = changed(tiny_params, loss=loss, train={"epochs": 1, "precision": "bf16-mixed"})
    trained = train(params, tiny_data, tmp_path)
    assert trained.description["precision"] == "bf16-mixed"
    assert np.isfinite(trained.history[0]["train_loss"])
    assert all(tensor.dtype != torch.bfloat16 for tensor in trained.net.state_dict().values())


def test_two_classes_train_with_one_logit(tiny_params: Params, tiny_data: Prepared, tmp_path: Path) -> None:
    data = tmp_path / "binary"
    for split in ("train", "val", "test"):
        (data / split).mkdir(parents=True)
        np.save(data / split / "images.npy", tiny_data.images(split))
        np.save(data / split / "masks.npy", (tiny_data.masks(split) == 1).astype(np.uint8))
    (data / "index.csv").write_bytes((tiny_data.folder / "index.csv").read_bytes())
    text = (tiny_data.folder / "dataset.json").read_text(encoding="utf-8")
    (data / "dataset.json").write_text(text.replace('"skin",', "").replace("null", "255"), encoding="utf-8")
    trained = train(changed(tiny_params, loss="bce+dice"), Prepared(data), tmp_path)
    assert trained.description["num_classes"] == 1
    assert trained.net(torch.zeros(1, 3, 64, 64)).shape == (1, 1, 64, 64)


def test_model_description_is_enough_to_use_the_model(trained: Trained, tiny_data: Prepared) -> None:
    assert trained.description["classes"] == ["skin", "lesion", "hair"]
    assert trained.description["mean"] == tiny_data.describe()["mean"]
    assert trained.description["data_md5"].endswith(".dir")
    assert trained.description["run"]["train"]["epochs"] == 2


def batches_of(data: Prepared, epoch: int, **changes: Any) -> list[torch.Tensor]:
    options: dict[str, Any] = {"augmentation": "flip", "batch_size": 2, "workers": 0, "seed": 0} | changes
    loader = training_loader(data, **options)
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    return [torch.cat([images.flatten(1).float(), target.flatten(1).float()], dim=1) for images, target in loader]


def test_samples_depend_on_seed_epoch_and_index_only(tiny_data: Prepared) -> None:
    once = torch.cat(batches_of(tiny_data, 3))
    assert torch.equal(once, torch.cat(batches_of(tiny_data, 3, workers=2)))
    assert torch.equal(once, torch.cat(batches_of(tiny_data, 3, batch_size=3)))
    assert not torch.equal(once, torch.cat(batches_of(tiny_data, 4)))
    assert not torch.equal(once, torch.cat(batches_of(tiny_data, 3, seed=1)))


def test_flip_turns_image_and_mask_together_and_not_always(tiny_data: Prepared) -> None:
    images, masks = tiny_data.images("train"), tiny_data.masks("train")
    known = {}
    for flipped in (False, True):
        for image, mask in zip(images, masks, strict=True):
            pair = (image[:, ::-1], mask[:, ::-1]) if flipped else (image, mask)
            known[b"".join(np.ascontiguousarray(part).tobytes() for part in pair)] = flipped
    loader = training_loader(tiny_data, "flip", 1, 0, seed=0)
    turned = []
    for epoch in range(4):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        turned += [known[image[0].numpy().tobytes() + mask[0].byte().numpy().tobytes()] for image, mask in loader]
    assert 6 <= sum(turned) <= 18


def test_last_batch_of_one_image_is_left_out_of_training(tiny_data: Prepared) -> None:
    assert [len(batch) for batch in batches_of(tiny_data, 0, batch_size=5)] == [5]
    assert [len(batch) for batch in batches_of(tiny_data, 0, batch_size=4)] == [4, 2]
    assert [len(batch) for batch in batches_of(tiny_data, 0, batch_size=9)] == [6]


def test_input_is_normalised_and_channels_last() -> None:
    images = torch.tensor([0, 128, 255], dtype=torch.uint8).expand(1, 4, 4, 3)
    result = to_input(images, [0.0, 128 / 255, 0.5], [1.0, 0.5, 0.25])
    assert result[0, :, 0, 0].tolist() == pytest.approx([0.0, 0.0, 2.0])
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_labels_are_argmax_or_sign() -> None:
    assert to_labels(torch.tensor([[[[0.1]], [[0.3]], [[0.2]]]])).tolist() == [[[1]]]
    assert to_labels(torch.tensor([[[[-0.1, 0.1]]]])).tolist() == [[[0, 1]]]


def test_precision_auto_follows_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for capability, expected in (("amx_bf16", "bf16-mixed"), ("avx512_bf16", "bf16-mixed"), ("avx2", "32-true")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda name=capability: {name: True})
        assert pick_precision("auto", cpu) == expected
    assert pick_precision("bf16-mixed", cpu) == "bf16-mixed"


def test_encoder_that_cannot_take_the_size_is_told(tiny_params: Params, tiny_data: Prepared) -> None:
    with pytest.raises(InputError, match=r"encoder: this net cannot take images of prepare.size 64: "):
        plan(changed(tiny_params, encoder="tu-maxvit_pico_rw_256"), tiny_data)


def test_what_the_hardware_lacks_is_told(
    tiny_params: Params, tiny_data: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto").type == "cpu"
    with pytest.raises(InputError, match=r"train.device is 'cuda'; torch finds no CUDA device"):
        plan(changed(tiny_params, train={"device": "cuda"}), tiny_data)
    with pytest.raises(InputError, match=r"train.precision is '16-mixed', which needs CUDA"):
        plan(changed(tiny_params, train={"precision": "16-mixed"}), tiny_data)
