"""The plan of a training run: whatever can be wrong with its params shows before anything is trained."""

import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from losslab.bands import read_bands
from losslab.cards import IGNORE_INDEX, SPLITS, count_outputs, has_overlapping_labels
from losslab.data.loading.arrays import PreparedData
from losslab.data.loading.augmentation import RECIPES_WITHOUT_VOID
from losslab.data.loading.batches import EpochBatchSampler, TrainingDataset
from losslab.data.loading.crops import CropSampler
from losslab.errors import InputError
from losslab.inference.tensors import InputScaling
from losslab.losses.class_weights import compute_class_weights
from losslab.losses.parsed_loss import parse_loss
from losslab.losses.total import TotalLoss
from losslab.models import build_model, check_encoder, check_size, compute_weights_digest, find_normalisation
from losslab.models.probe import find_fault
from losslab.models.segmentation_net import SegmentationNet
from losslab.params import Params
from losslab.runtime.devices import pick_device, pick_precision
from losslab.runtime.randomness import derive_seed
from losslab.stage_inputs import check_checkout
from losslab.training.launch import check_launch

RECORDED_PARAMS = {"dataset", "seed", "loss", "loss_options", "arch", "encoder", "encoder_weights", "train"}
"""Params that model.json keeps."""


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """A run whose params are known to fit together, with its net and loss built and ready to train."""

    params: Params
    prepared: PreparedData
    device: torch.device
    net: nn.Module
    loss: TotalLoss
    description: dict[str, Any]
    """The content of model.json."""
    crops: CropSampler | None
    inexact: list[str]
    """Operations of this net and loss that have no deterministic version on the device."""


def plan_training(params: Params, prepared: PreparedData) -> TrainingPlan:
    """Build the net and the loss that params describe, and try the net on one empty image.

    Raises InputError if encoder, weights, device, precision or data are not available, or the net cannot take the size.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without, cuBLAS has no deterministic mode
    device = pick_device(params.train.device)
    check_launch(params.train)
    if device.type == "cuda" and params.train.devices > torch.cuda.device_count():
        devices = f"{torch.cuda.device_count()} CUDA devices"
        raise InputError(f"train.devices is {params.train.devices}, but torch finds {devices} here")
    precision = pick_precision(params.train.precision, device)
    check_encoder(params.arch, params.encoder, params.encoder_weights)
    data, data_md5 = prepared.describe(), prepared.md5()
    check_checkout(prepared.folder, data_md5)
    outputs, size = count_outputs(len(data["classes"]), has_overlapping_labels(data)), data["size"]
    bands = read_bands(data)
    mean, std = find_normalisation(params.encoder, params.encoder_weights, bands) or (data["mean"], data["std"])
    torch.manual_seed(derive_seed(params.seed, "weights"))
    net = build_model(
        params.arch,
        outputs,
        params.encoder,
        params.encoder_weights,
        in_channels=len(bands.names),
        options=params.arch_options,
    )
    processes = params.train.devices * params.train.nodes
    crops = None
    if params.train.crop is not None:
        size, masks = params.train.crop, prepared.rows("train", "masks")
        crops = CropSampler(masks, size, params.train.sampling, data["ignore_index"], params.seed)
    images = len(TrainingDataset(prepared, "none", params.seed, crops))
    batches = EpochBatchSampler(images, params.train.batch_size, params.seed, world=processes)
    # On CUDA batch norm is over all processes.
    if crops is not None:
        check_size(net, data["size"])  # validation is on larger parts
    if data["fit"] == "tile":
        _check_small_images(net, prepared, data["size"])
    check_size(net, size, batches.count_fewest() * (processes if device.type == "cuda" else 1), images)
    loss = _build_loss(params, data)
    description = {
        "arch": params.arch,
        **({"arch_options": params.arch_options} if params.arch_options else {}),
        "encoder": params.encoder,
        "num_classes": outputs,
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        **({"labels": data["labels"]} if "labels" in data else {}),
        **{key: data[key] for key in ("classes", "palette", "ignore_index", "size", "fit")},
        "mean": mean,
        "std": std,
        **({"bands": data["bands"]} if "bands" in data else {}),
        **({"first_layer": net.first_layer} if net.first_layer else {}),
        "precision": precision,
        "data_md5": data_md5,
        "encoder_weights_sha256": compute_weights_digest(params.encoder_weights),
        "run": _record_params(params),
    }
    return TrainingPlan(
        params=params,
        prepared=prepared,
        device=device,
        net=net,
        loss=loss,
        crops=crops,
        description=description,
        inexact=_try_inexact_step(net, loss, size, description) if device.type == "cuda" else [],
    )


def _check_small_images(net: SegmentationNet, prepared: PreparedData, side: int) -> None:
    """Raise InputError if the net cannot take images below the size of a tile, and some are: they are scored as they are."""
    smallest = min(min(size) for split in SPLITS for size in prepared.rows(split, "masks").sizes)
    if smallest < side and (reason := find_fault(net, smallest)):
        raise InputError(
            f"encoder: this net cannot take images below prepare.size {side}, such as of {smallest} pixels: {reason}; use fit "
            "letterbox, or another encoder"
        )


def _record_params(params: Params) -> dict[str, Any]:
    """Return the params that model.json keeps; without crops nothing is said of them, as before there were any."""
    recorded = params.model_dump(include=RECORDED_PARAMS)
    if params.train.crop is None:
        recorded["train"] = {key: value for key, value in recorded["train"].items() if key not in ("crop", "sampling")}
    return recorded


def list_inexact_operations(warned: list[str]) -> list[str]:
    """List the operations that torch names in its warnings of missing determinism."""
    matches = (re.match(r"(\S+) (?:\S+ ){0,6}?does not have a deterministic implementation", text) for text in warned)
    named = {match[1] for match in matches if match}
    if any("it uses CuBLAS" in text for text in warned):
        named.add("cuBLAS with this CUBLAS_WORKSPACE_CONFIG")
    return sorted(named)


def _try_inexact_step(net: nn.Module, loss: TotalLoss, size: int, description: Mapping[str, Any]) -> list[str]:
    """Try one step on this process's CUDA device and list the operations torch warns of; the net is left as it was."""
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0"))))
    kept = {name: value.clone() for name, value in net.state_dict().items()}
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            net.to(device).train()
            scaling = InputScaling(description).to(device)
            images = torch.zeros(2, size, size, len(scaling.low), device=device)
            logits = net(scaling(images))
            shape = logits.shape if loss.overlapping else (2, size, size)
            loss.to(device)(logits, torch.zeros(shape, dtype=torch.int64, device=device)).backward()
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        net.cpu().zero_grad(set_to_none=True)
        net.load_state_dict(kept)
        loss.cpu()
    return list_inexact_operations([str(item.message) for item in warned])


def _build_loss(params: Params, data: dict[str, Any]) -> TotalLoss:
    """Build the loss; class weights that are named by a frequency are counted in the training images."""
    parsed = params.parsed_loss
    weighting = getattr(parsed.options.get("cross_entropy"), "class_weights", None)
    if isinstance(weighting, str):
        where_present = data.get("pixels_where_present")
        if where_present is None:
            raise InputError(
                "the prepared data are from an older losslab and lack pixel counts; run `dvc repro prepare`"
            )
        weights = compute_class_weights(weighting, data["pixels"]["train"], where_present["train"])  # type: ignore[arg-type]
        parsed = parse_loss(params.loss, params.loss_options, weights)
    ignore_index = data["ignore_index"]
    if ignore_index is None and params.train.augmentation not in RECIPES_WITHOUT_VOID:
        ignore_index = IGNORE_INDEX
    overlapping = has_overlapping_labels(data)
    return TotalLoss(parsed, count_outputs(len(data["classes"]), overlapping), ignore_index, overlapping)
