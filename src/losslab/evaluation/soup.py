"""A soup, ready to predict: averaged weights whose batch norms have seen the training images."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from losslab.cards import SPLITS
from losslab.data.loading.arrays import PreparedData, build_batch_loader
from losslab.data.loading.batches import EpochBatchSampler, TrainingDataset
from losslab.data.loading.crops import CropSampler
from losslab.evaluation.members import Member
from losslab.evaluation.regrouped import RegroupedData
from losslab.inference.tensors import InputScaling
from losslab.models.soup import average_weights, check_same_kind, list_norms, reset_norms
from losslab.runtime.devices import build_autocast, pick_model_device


def build_soup(members: Sequence[Member], prepared: PreparedData) -> tuple[nn.Module, dict[str, Any]]:
    """Average the weights of members, and return the net with its description, the content of a model.json.

    The statistics of its batch norms are estimated anew over the images of train and val that a member was trained on.
    `mean` and `std` of the bands, which folds may differ in, are averaged too. A single member comes back as it is.

    Raises:
        InputError: the members' nets are not of one kind.
    """
    names = [member.name for member in members]
    check_same_kind([member.kind for member in members], names)
    if len(members) == 1:
        return members[0].net, members[0].description
    net = average_weights([member.net for member in members], names)
    description = copy.deepcopy(members[0].description)
    for key in ("mean", "std"):
        values = zip(*(member.description[key] for member in members), strict=True)
        description[key] = [sum(band) / len(members) for band in values]
    known = {image for split in SPLITS if split != "test" for image in prepared.names(split)}
    seen = sorted(image for image in known if any(member.has_trained_on(image) for member in members))
    estimate_norms(net, description, RegroupedData(prepared.folder, {"train": seen}))
    return net, description


def estimate_norms(net: nn.Module, description: dict[str, Any], prepared: PreparedData) -> None:
    """Estimate the statistics of a net's batch norms over the training images, as `torch.optim.swa_utils.update_bn` does.

    Unlike there, only batch norms are in training mode: dropout would make the statistics random. Images come in batches
    and in an order as in the first epoch of the training that `description` tells of, without augmentation.
    """
    norms = list_norms(net)
    if not norms:
        return
    train, seed, device = description["run"]["train"], description["run"]["seed"], pick_model_device(description)
    crops = None
    if train.get("crop") is not None:
        masks = prepared.rows("train", "masks")
        crops = CropSampler(masks, train["crop"], train["sampling"], description["ignore_index"], seed)
    dataset = TrainingDataset(prepared, "none", seed, crops)
    batches = build_batch_loader(dataset, EpochBatchSampler(len(dataset), train["batch_size"], seed), workers=0)
    scaling = InputScaling(description).to(device)
    net.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    momenta = [norm.momentum for norm in norms]
    reset_norms(norms)
    with torch.no_grad(), build_autocast(description["precision"], device):
        for images, _ in batches:
            net(scaling(images.to(device)).contiguous(memory_format=torch.channels_last))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    net.eval()
