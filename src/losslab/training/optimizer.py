"""Optimizers over parameter groups: norms and biases are not decayed, the encoder may have its own learning rate."""

import torch
from torch import nn

from losslab.params import TrainParams


def build_optimizer(
    net: nn.Module, encoder: nn.Module | None, train: TrainParams, precision: str
) -> torch.optim.Optimizer:
    """Build the optimizer of params.train; each group keeps its base learning rate as `base_lr`.

    Args:
        precision: that of the run, which `auto` leaves to the hardware.
    """
    groups = build_parameter_groups(net, encoder, train)
    # A fused optimizer takes the scale out of fp16 gradients itself, too late to clip them; Lightning refuses bf16 too.
    fused = train.clip_grad_norm is None or precision == "32-true"
    if train.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=train.lr, momentum=train.momentum, fused=fused)
    optimizer = torch.optim.AdamW if train.optimizer == "adamw" else torch.optim.Adam
    return optimizer(groups, lr=train.lr, fused=fused)


def build_parameter_groups(net: nn.Module, encoder: nn.Module | None, train: TrainParams) -> list[dict[str, object]]:
    """Group parameters by encoder or decoder and by weight decay or none, leaving out empty groups.

    Vectors and scalars (biases, and the scales and shifts of norms) are never decayed (He et al. 2019, arXiv 1812.01187).
    """
    in_encoder = {id(parameter) for parameter in encoder.parameters()} if encoder is not None else set()
    members: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for parameter in net.parameters():
        part = "encoder" if id(parameter) in in_encoder else "decoder"
        members.setdefault((part, parameter.ndim > 1), []).append(parameter)
    groups: list[dict[str, object]] = []
    for (part, decayed), parameters in members.items():
        rate = train.encoder_lr if part == "encoder" and train.encoder_lr is not None else train.lr
        rates = {"lr": rate, "base_lr": rate, "weight_decay": train.weight_decay if decayed else 0.0}
        groups.append({"params": parameters, "name": part, **rates})
    return groups


@torch.no_grad()
def update_average(average: nn.Module, net: nn.Module, decay: float, updates: int) -> None:
    """Move the exponential moving average of a net's weights and buffers towards the net.

    As in TensorFlow and timm the decay begins low, so that the random beginning weighs little.
    """
    weight = 1 - min(decay, (1 + updates) / (10 + updates))
    for mean, current in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(current, weight)
        else:  # batch norm counts its batches
            mean.copy_(current)
