"""Losses of overlapping classes: each class is binary data of its own."""

import pytest
import segmentation_models_pytorch as smp
import torch
from torch.nn import functional as F

from losslab.errors import InputError
from losslab.losses import build_loss
from losslab.losses.registry import LOSSES

OF_CLASSES = [name for name, spec in LOSSES.items() if spec.instead is None]
generator = torch.Generator().manual_seed(0)
LOGITS = 2 * torch.randn(2, 3, 16, 16, generator=generator, dtype=torch.float64)
TARGET = (torch.rand(2, 3, 16, 16, generator=generator) < 0.4).long()


@pytest.mark.parametrize("name", OF_CLASSES)
def test_loss_is_the_mean_of_the_binary_losses_of_the_classes(name: str) -> None:
    target = TARGET.clone()
    target[0, 1, :4] = 255  # void for one class
    loss, binary = build_loss(name, 3, ignore_index=255, overlapping=True), build_loss(name, 1, ignore_index=255)
    parts = [binary(LOGITS[:, [label]], target[:, label]) for label in range(3)]
    logits = LOGITS.clone().requires_grad_()
    value = loss(logits, target)
    assert value.item() == pytest.approx(sum(map(float, parts)) / 3)
    value.backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
    assert not logits.grad[0, 1, :4].any() and logits.grad.abs().sum(dim=(0, 2, 3)).all()


def test_bce_is_torchs() -> None:
    expected = F.binary_cross_entropy_with_logits(LOGITS, TARGET.double())
    assert build_loss("bce", 3, overlapping=True)(LOGITS, TARGET) == pytest.approx(float(expected))


def test_focal_ovr_is_smps() -> None:
    expected = smp.losses.FocalLoss("multilabel", gamma=2.0)(LOGITS, TARGET.double())
    assert build_loss("focal_ovr", 3, overlapping=True)(LOGITS, TARGET) == pytest.approx(float(expected))


@pytest.mark.parametrize(("name", "reference"), [("dice", smp.losses.DiceLoss), ("jaccard", smp.losses.JaccardLoss)])
def test_region_losses_of_the_batch_are_smps(name: str, reference: type) -> None:
    options = {"smooth": 0.0, "reduction_over": "batch"}
    expected = reference("multilabel")(LOGITS, TARGET)
    assert build_loss(name, 3, options=options, overlapping=True)(LOGITS, TARGET) == pytest.approx(float(expected))


def test_tversky_of_the_batch_is_smps() -> None:
    expected = smp.losses.TverskyLoss("multilabel", alpha=0.3, beta=0.7)(LOGITS, TARGET)
    options = {"smooth": 0.0, "reduction_over": "batch", "alpha": 0.3, "beta": 0.7}
    assert build_loss("tversky", 3, options=options, overlapping=True)(LOGITS, TARGET) == pytest.approx(float(expected))


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in OF_CLASSES])
def test_loss_that_weighs_classes_against_each_other_is_refused_by_name(name: str) -> None:
    with pytest.raises(InputError, match=f"loss: {name} weighs classes .* use {LOSSES[name].instead}"):
        build_loss(f"dice+{name}", 3, overlapping=True)


@pytest.mark.parametrize("shape", [(2, 16, 16), (2, 2, 16, 16), (2, 3, 16, 8)])
def test_target_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \[N, 3, H, W\] both"):
        build_loss("dice", 3, overlapping=True)(LOGITS, torch.zeros(shape, dtype=torch.int64))
