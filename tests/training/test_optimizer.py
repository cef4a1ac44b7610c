from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from losslab.data.loading.arrays import PreparedData
from losslab.params import Params
from losslab.training import plan_training, train_net
from losslab.training.optimizer import build_optimizer, build_parameter_groups, update_average
from tests.training.test_fit import changed, compute_val_miou


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.decoder = nn.Conv2d(4, 2, 1)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_norms_and_biases_are_not_decayed_and_the_encoder_has_its_own_rate(name: str, tiny_params: Params) -> None:
    settings = {"optimizer": name, "lr": 0.1, "encoder_lr": 0.01, "weight_decay": 0.5}
    net = Net()
    optimizer = build_optimizer(net, net.encoder, changed(tiny_params, train=settings).train, "32-true")
    names = {id(parameter): key for key, parameter in net.named_parameters()}
    settings_by_name = {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert settings_by_name == {
        "encoder.0.weight": (0.01, 0.5),
        "encoder.0.bias": (0.01, 0.0),
        "encoder.1.weight": (0.01, 0.0),
        "encoder.1.bias": (0.01, 0.0),
        "decoder.weight": (0.1, 0.5),
        "decoder.bias": (0.1, 0.0),
    }


def test_without_a_rate_of_its_own_the_encoder_learns_as_the_rest(tiny_params: Params) -> None:
    net = Net()
    assert {group["lr"] for group in build_parameter_groups(net, net.encoder, tiny_params.train)} == {0.001}


def test_fp16_gradients_can_be_clipped(tiny_params: Params) -> None:
    """Lightning refuses to clip where the optimizer takes the scale out of the gradients itself, as fused ones do."""
    net = Net()
    for clip, fused in ((None, True), (1.0, False)):
        train = changed(tiny_params, train={"clip_grad_norm": clip}).train
        assert build_optimizer(net, net.encoder, train, "16-mixed").defaults["fused"] == fused


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_gradients_are_clipped_where_auto_is_bf16(optimizer: str, tiny_params: Params, tiny_data: PreparedData) -> None:
    settings = {"optimizer": optimizer, "clip_grad_norm": 1e-6, "epochs": 1, "precision": "bf16-mixed"}
    planned = plan_training(changed(tiny_params, arch="simple_cnn", encoder=None, train=settings), tiny_data)
    assert len(train_net(planned).history) == 1


def test_average_starts_quickly_and_ends_at_its_decay() -> None:
    average, net = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    with torch.no_grad():
        net.weight.fill_(2.0)
    assert net.num_batches_tracked is not None
    net.num_batches_tracked.fill_(7)
    update_average(average, net, 0.9, updates=0)
    assert average.weight.item() == pytest.approx(1 + 0.9)  # decay (1 + 0)/(10 + 0)
    assert average.num_batches_tracked == 7
    update_average(average, net, 0.9, updates=10**6)
    assert average.weight.item() == pytest.approx(1.9 + 0.1 * 0.1)


class Changes(Callback):
    """Notes for each epoch whether the encoder's weights or its batch norm's statistics changed."""

    def __init__(self, net: nn.Module) -> None:
        self.net, self.seen = net, [self.encoder(net)]
        self.changed: list[bool] = []

    def encoder(self, net: nn.Module) -> list[torch.Tensor]:
        return [value.clone() for name, value in net.state_dict().items() if "encoder" in name]

    def on_train_epoch_end(self, *_: Any) -> None:
        self.seen.append(self.encoder(self.net))
        self.changed.append(any(not torch.equal(a, b) for a, b in zip(self.seen[-1], self.seen[-2], strict=True)))


def test_frozen_encoder_does_not_change_until_its_time(tiny_params: Params, tiny_data: PreparedData) -> None:
    settings = {"epochs": 3, "freeze_encoder_epochs": 2, "weight_decay": 0.1, "optimizer": "adamw", "momentum": 0.5}
    planned = plan_training(changed(tiny_params, train=settings), tiny_data)
    changes = Changes(planned.net)
    train_net(planned, callbacks=[changes])
    assert changes.changed == [False, False, True]


def test_parameters_that_an_encoder_never_trains_stay_so(tiny_params: Params, tiny_data: PreparedData) -> None:
    planned = plan_training(changed(tiny_params, train={"freeze_encoder_epochs": 1}), tiny_data)
    fixed = next(iter(planned.net.encoder.parameters()))  # type: ignore[union-attr]
    fixed.requires_grad_(False)
    before = fixed.clone()
    train_net(planned)
    assert not fixed.requires_grad and torch.equal(fixed, before)


def test_average_is_what_is_validated_and_kept(tiny_params: Params, tiny_data: PreparedData) -> None:
    exact = changed(tiny_params, train={"precision": "32-true"})
    plain = train_net(plan_training(exact, tiny_data))
    averaged = train_net(plan_training(changed(exact, train={"ema": 0.99}), tiny_data))
    assert averaged.history[0]["train_loss"] == plain.history[0]["train_loss"]
    assert averaged.history[0]["val_loss"] != plain.history[0]["val_loss"]
    assert compute_val_miou(averaged, tiny_data) == pytest.approx(
        max(row["val_miou"] for row in averaged.history), abs=1e-5
    )


def test_gradients_are_added_up_over_steps(tiny_params: Params, tiny_data: PreparedData) -> None:
    """Two steps of three images, added up, move the weights once; the schedule counts such moves."""
    params = changed(tiny_params, train={"accumulate": 2, "schedule": "poly", "schedule_options": {"power": 1.0}})
    assert [row["lr"] for row in train_net(plan_training(params, tiny_data)).history] == pytest.approx([0.001, 0.0005])


def test_rates_are_in_the_history(tiny_params: Params, tiny_data: PreparedData) -> None:
    params = changed(tiny_params, train={"encoder_lr": 1e-5, "warmup_epochs": 1.0})
    rows = train_net(plan_training(params, tiny_data)).history
    assert [row["lr"] for row in rows] == pytest.approx([0.001 * 2 / 3, 0.001])
    assert [row["lr_encoder"] for row in rows] == pytest.approx([1e-5 * 2 / 3, 1e-5])
