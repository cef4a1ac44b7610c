"""Training: the Lightning module and the trainer around it."""

import hashlib
import json
import logging
import math
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from torch import Tensor, nn

from losslab.data.cards import num_outputs
from losslab.data.prepared import Prepared, evaluation_loader
from losslab.data.training_set import training_loader
from losslab.devices import pick_device, pick_precision
from losslab.errors import DivergedError, InputError
from losslab.inference import to_input, to_labels
from losslab.losses import build_loss
from losslab.losses.check import check_options
from losslab.losses.class_weights import class_weights
from losslab.losses.expression import parse
from losslab.losses.total import TotalLoss
from losslab.metrics import SegmentationMetrics
from losslab.models import build_model, check_encoder, check_size, normalisation
from losslab.params import Params
from losslab.randomness import derive

EpochRow = dict[str, float]


@dataclass(frozen=True)
class Trained:
    net: nn.Module
    """The weights of the epoch with the best val mIoU, on the CPU."""
    description: dict[str, Any]
    """What model.json holds."""
    history: list[EpochRow]


@dataclass(frozen=True)
class Plan:
    """All that can be wrong with a run's params has been found out: what is left is to train."""

    params: Params
    prepared: Prepared
    device: torch.device
    net: nn.Module
    loss: TotalLoss
    description: dict[str, Any]


def plan(params: Params, prepared: Prepared) -> Plan:
    """Build the net and the loss that params describe, and try the net on one empty image.

    Raises:
        InputError: an encoder, its weights, a device or a precision that cannot be had; a net that cannot take images of
            this size; no prepared data.
    """
    device = pick_device(params.train.device)
    precision = pick_precision(params.train.precision, device)
    check_encoder(params.arch, params.encoder, params.encoder_weights)
    data = prepared.describe()
    classes, ignore_index, size = data["classes"], data["ignore_index"], data["size"]
    mean, std = normalisation(params.encoder, params.encoder_weights) or (data["mean"], data["std"])
    torch.manual_seed(derive(params.seed, "weights"))
    net = build_model(params.arch, num_outputs(len(classes)), params.encoder, params.encoder_weights)
    check_size(net, size)
    loss = _loss_for(params, data)
    description = {
        "arch": params.arch,
        "encoder": params.encoder,
        "num_classes": num_outputs(len(classes)),
        "classes": classes,
        "palette": data["palette"],
        "ignore_index": ignore_index,
        "size": size,
        "mean": mean,
        "std": std,
        "precision": precision,
        "data_md5": prepared.md5(),
        "run": params.model_dump(include=RECORDED),
    }
    return Plan(params, prepared, device, net, loss, description)


def _loss_for(params: Params, data: dict[str, Any]) -> TotalLoss:
    """The loss of params; class weights that are named by a frequency are counted in the training images."""
    outputs = num_outputs(len(data["classes"]))
    options = check_options([term.name for term in parse(params.loss)], params.loss_options, outputs)
    weighting = options.get("cross_entropy", {}).get("class_weights")
    weights = None
    if isinstance(weighting, str):
        where_present = data.get("pixels_where_present")
        if where_present is None:
            raise InputError("the prepared data are of an older losslab and lack pixel counts; run dvc repro prepare")
        weights = class_weights(weighting, data["pixels"]["train"], where_present["train"])  # type: ignore[arg-type]
    return build_loss(params.loss, outputs, data["ignore_index"], weights, params.loss_options)


def train(
    plan: Plan, scratch: Path, on_epoch: Callable[[EpochRow], None] = lambda row: None, progress: bool = False
) -> Trained:
    """Train as planned; deterministic for one machine, data and params.

    Args:
        scratch: a folder for checkpoints while training runs.
        on_epoch: called after each epoch with a row of history.csv.
        progress: show a bar with loss and val mIoU.

    Raises:
        DivergedError: the loss is not finite; the checkpoint of the last finished epoch is kept in `scratch`.
    """
    params, prepared, net, description = plan.params, plan.prepared, plan.net, plan.description
    # Deterministic algorithms alone give the same bits; filling fresh memory with NaN as well costs 5 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    module = SegmentationModule(net, plan.loss, description, params.train.lr, params.seed)
    history = _History(on_epoch)
    scratch.mkdir(parents=True, exist_ok=True)
    rescued = scratch / f"diverged-{_key(description)}.ckpt"
    rescued.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        best = ModelCheckpoint(folder, monitor="val_miou", mode="max", save_top_k=1, save_weights_only=True)
        last = ModelCheckpoint(folder, filename="last")
        trainer = L.Trainer(
            accelerator="gpu" if plan.device.type == "cuda" else "cpu",
            devices=1,
            precision=description["precision"],
            max_epochs=params.train.epochs,
            deterministic=True,
            logger=False,
            callbacks=[best, last, history, *([_Bar()] if progress else [])],
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
        train_batches = training_loader(
            prepared, params.train.augmentation, params.train.batch_size, params.train.workers, params.seed
        )
        val_batches = evaluation_loader(prepared, "val", params.train.batch_size)
        with warnings.catch_warnings():
            # Lightning advises workers and warns of its own internals; neither is for the reader of a run's output.
            warnings.filterwarnings("ignore", module="lightning")
            try:
                trainer.fit(module, train_batches, val_batches)
            except SystemExit:  # what Lightning makes of Ctrl-C
                raise KeyboardInterrupt from None
            except DivergedError as error:
                if not history.rows:
                    raise DivergedError(f"{error}. No epoch was finished, so there is no checkpoint") from None
                Path(last.best_model_path).replace(rescued)
                raise DivergedError(f"{error}. The checkpoint of epoch {len(history.rows)} is {rescued}") from None
        weights = torch.load(best.best_model_path, map_location="cpu", weights_only=True)["state_dict"]
    net.cpu().load_state_dict(
        {name.removeprefix("net."): value for name, value in weights.items() if name.startswith("net.")}
    )
    return Trained(net.eval(), description, history.rows)


def _key(description: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:12]


RECORDED = {"dataset", "seed", "loss", "loss_options", "arch", "encoder", "encoder_weights", "train"}
"""The params that model.json keeps beside the weights."""


class SegmentationModule(L.LightningModule):
    """One net, one loss, Adam. Batches are uint8 `[N, H, W, 3]` and int64 `[N, H, W]`."""

    def __init__(self, net: nn.Module, loss: TotalLoss, description: dict[str, Any], lr: float, seed: int) -> None:
        super().__init__()
        self.net = net.to(memory_format=torch.channels_last)
        self.loss = loss
        self.classes, self.lr, self.seed = description["classes"], lr, seed
        self.mean, self.std = description["mean"], description["std"]
        self.val_metrics = SegmentationMetrics(description["num_classes"], description["ignore_index"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.net.parameters(), lr=self.lr, fused=True)

    def on_train_epoch_start(self) -> None:
        # What a net draws in an epoch (dropout) depends on seed and epoch, not on what ran before.
        torch.manual_seed(derive(self.seed, "step", self.current_epoch))
        self.loss.set_epoch(self.current_epoch, self.trainer.max_epochs or 1)
        self.log_dict({f"weight_{name}": weight for name, weight in self.loss.ramped.items()})

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        return self._loss_of(batch, "train", batch_index)[0]

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.trainer.precision == "16-mixed":
            return  # there the scaler skips such a step and scales down
        gradients = [parameter.grad for parameter in self.net.parameters() if parameter.grad is not None]
        if not math.isfinite(torch.nn.utils.get_total_norm(gradients).item()):
            step = self.trainer.fit_loop.batch_idx + 1
            raise DivergedError(
                f"epoch {self.current_epoch + 1}, train step {step}: the gradient of {' + '.join(self.loss.losses)} is not "
                f"finite, though the loss is: give milder loss_options, or set train.lr below {self.lr:g}"
            )

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        _, logits = self._loss_of(batch, "val", batch_index)
        self.val_metrics.update(to_labels(logits.float()), batch[1])

    def on_validation_epoch_end(self) -> None:
        scores = self.val_metrics.compute()
        self.val_metrics.reset()
        self.log("val_miou", scores["miou"].float(), prog_bar=True)
        for name, iou in zip(self.classes, scores["iou"], strict=True):
            self.log(f"val_iou_{name}", iou.float())

    def _loss_of(self, batch: tuple[Tensor, Tensor], phase: str, batch_index: int) -> tuple[Tensor, Tensor]:
        images, target = batch
        logits = self.net(to_input(images, self.mean, self.std))
        terms = self.loss.terms(logits, target)
        total = self.loss.total(terms)
        if not math.isfinite(total.item()):
            where = f"epoch {self.current_epoch + 1}, {phase} step {batch_index + 1}"
            raise DivergedError(f"{where}: {_diagnosis(logits, terms, self.trainer.precision, self.lr)}")
        logged = {f"{phase}_loss": total}
        if len(terms) > 1:
            logged |= {f"{phase}_loss_{name}": term for name, term in terms.items()}
        for name, value in logged.items():
            on_bar = name == "train_loss"
            self.log(name, value.detach(), on_step=False, on_epoch=True, prog_bar=on_bar, batch_size=len(images))
        return total, logits


def _diagnosis(logits: Tensor, terms: dict[str, Tensor], precision: str, lr: float) -> str:
    """What is not finite, and what to do about it."""
    wrong = {name: term.item() for name, term in terms.items() if not term.isfinite()}
    found = ", ".join(f"{name} is {value}" for name, value in wrong.items()) or "the sum of all terms is not finite"
    lower = f"set train.lr below {lr:g}"
    if not logits.isfinite().all():
        other = " or train.precision to bf16-mixed or 32-true" if precision == "16-mixed" else ""
        return f"the loss term {found}, as the net's output is not finite: {lower}{other}"
    names = ", ".join(wrong or terms)
    return f"the loss term {found} on finite output: give {names} a smaller weight or milder loss_options, or {lower}"


class _History(Callback):
    """Collects a row per epoch after its validation, and hands it on."""

    def __init__(self, on_epoch: Callable[[EpochRow], None]) -> None:
        self.rows: list[EpochRow] = []
        self.on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        values = {name: round(float(value), 6) for name, value in trainer.callback_metrics.items()}
        first: EpochRow = {"epoch": trainer.current_epoch + 1, "lr": trainer.optimizers[0].param_groups[0]["lr"]}
        order = ["train_loss", "val_loss", "val_miou"]
        rest = sorted(name for name in values if name not in order)
        row = first | {name: values[name] for name in [*order, *rest] if name in values}
        self.rows.append(row)
        self.on_epoch(row)


class _Bar(TQDMProgressBar):
    """The steps of an epoch, counted from 1 as everywhere, with loss and val mIoU."""

    def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")
