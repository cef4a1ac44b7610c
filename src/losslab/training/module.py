"""The Lightning module: what happens in a step, in an epoch, and in validation."""

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from losslab.cards import has_overlapping_labels
from losslab.data.loading.arrays import PreparedData, build_evaluation_loader
from losslab.data.loading.batches import build_training_loader
from losslab.data.loading.crops import CropSampler
from losslab.errors import DivergedError
from losslab.inference.tensors import InputScaling, to_labels
from losslab.losses.total import TotalLoss
from losslab.metrics.confusion import (
    compute_overlapping_scores,
    compute_scores,
    count_confusion_per_image,
    count_overlapping,
)
from losslab.params import Params
from losslab.runtime.randomness import derive_seed
from losslab.training.divergence import DivergenceWatch
from losslab.training.optimizer import build_optimizer, update_average


class SegmentationModule(L.LightningModule):
    """One net trained with one loss, on batches of images `[N, H, W, B]` and masks uint8 `[N, H, W]`.

    Args:
        crops: what crops of the images are trained on; None: whole images.
        factor: (optimizer steps done, val mIoU of the epochs done) → factor of the base learning rates.
        scores: val mIoU of the epochs done; the caller appends to it.
    """

    def __init__(
        self,
        net: nn.Module,
        loss: TotalLoss,
        params: Params,
        prepared: PreparedData,
        description: dict[str, Any],
        scores: Sequence[float],
        crops: CropSampler | None = None,
    ) -> None:
        super().__init__()
        self.net = net.to(memory_format=torch.channels_last)
        train = params.train
        self.average = copy.deepcopy(self.net).requires_grad_(False).eval() if train.ema is not None else None
        self.loss, self.params, self.prepared, self.scores = loss, params, prepared, scores
        self.crops = crops
        self.held: Tensor | int = 0
        """Crops of this epoch that hold each class, and their number, `[labels + 1]`."""
        self.classes, self.size = description["classes"], description["size"]
        self.scaling = InputScaling(description)  # on the device, so that no step waits for it to come there
        self.factor: Callable[[int, Sequence[float]], float] = lambda step, scores: 1.0
        self.labels, self.ignore_index = len(self.classes), description["ignore_index"]
        self.overlapping = has_overlapping_labels(description)
        self.confusion: Tensor | int = 0
        self.means = {phase: _Means(loss.losses) for phase in ("train", "val")}
        self.averaged = 0
        encoder = [] if self.encoder is None else self.encoder.parameters()
        self.to_freeze = [parameter for parameter in encoder if parameter.requires_grad]
        self.watch = DivergenceWatch(list(loss.losses), train.lr)

    @property
    def encoder(self) -> nn.Module | None:
        return getattr(self.net, "encoder", None)

    @property
    def kept_net(self) -> nn.Module:
        """The net that is validated and kept: the moving average where there is one."""
        return self.net if self.average is None else self.average

    def train_dataloader(self) -> Any:
        train, rank, world = self.params.train, self.trainer.global_rank, self.trainer.world_size
        settings = train.augmentation, train.batch_size, train.workers, self.params.seed
        loader: Any = build_training_loader(self.prepared, *settings, rank, world, self.crops)
        # Lightning sets a resumed run's epoch when its workers are already reading the first batches.
        epochs: Any = self.trainer.fit_loop.epoch_progress.current
        loader.batch_sampler.set_epoch(epochs.processed)
        return loader

    def val_dataloader(self) -> Any:
        rank, world = self.trainer.global_rank, self.trainer.world_size
        # As many pixels as a training step has: images may be many times the size of crops.
        times = 1 if self.crops is None else max(1, round((self.size / self.crops.side) ** 2))
        batch_size = max(1, self.params.train.batch_size // times)
        return build_evaluation_loader(self.prepared, "val", batch_size, rank, world)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build_optimizer(self.net, self.encoder, self.params.train, str(self.trainer.precision))

    def on_train_epoch_start(self) -> None:
        self.loss.set_epoch(self.current_epoch, self.params.train.epochs)
        self.watch.begin(self.current_epoch, "train", self.trainer)
        self.means["train"], self.held = _Means(self.loss.losses), 0
        if self.params.train.freeze_encoder_epochs and self.encoder is not None:
            frozen = self.current_epoch < self.params.train.freeze_encoder_epochs
            for parameter in self.to_freeze:
                parameter.requires_grad_(not frozen)
            self.encoder.train(not frozen)  # its batch norm keeps the statistics that it came with

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        factor = self.factor(self.trainer.global_step, self.scores)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["base_lr"] * factor

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        # What a net draws (dropout) depends on seed, epoch and step, not on what ran before. torch.manual_seed would do
        # the same for every kind of device, and note a stack trace for each that there is not: milliseconds a step.
        seed = derive_seed(self.params.seed, "step", self.current_epoch, batch_index, self.global_rank)
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        images, target = batch
        logits = self.net(self.scaling(images))
        terms = self.loss.compute_terms(logits, self._arrange(target))
        total = self.loss.add_up(terms)
        self.watch.note_loss(batch_index, logits, terms, total)
        alone = self.trainer.world_size == 1
        loader: Any = self.trainer.train_dataloader
        weight = 1.0 if alone else loader.batch_sampler.compute_weight(batch_index)
        self.means["train"].add(total, terms, len(images) if weight else 0)
        if self.crops is not None and weight:
            self.held = self.held + self._count_held(target)
        return total if alone else total * weight

    def _arrange(self, target: Tensor) -> Tensor:
        """Return a batch's masks as the loss takes them: int64 `[N, H, W]`, or `[N, C, H, W]` of overlapping classes."""
        return target.permute(0, 3, 1, 2).long() if self.overlapping else target.long()

    def _count_held(self, target: Tensor) -> Tensor:
        """Count the crops of a batch that hold each class, and all of them, int64 `[labels + 1]`."""
        if self.overlapping:
            return torch.cat(
                [(target == 1).any(dim=(1, 2)).sum(dim=0), target.new_tensor([len(target)], dtype=torch.int64)]
            )
        present = torch.zeros(len(target), 256, dtype=torch.int64, device=target.device)
        present.scatter_(1, target.flatten(1).long(), 1)
        return torch.cat([present[:, : self.labels].sum(dim=0), present.new_tensor([len(target)])])

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.trainer.precision != "16-mixed":  # there the scaler skips such a step and scales down
            groups = optimizer.param_groups  # quicker to go through than the modules of the net
            gradients = [one.grad for group in groups for one in group["params"] if one.grad is not None]
            self.watch.note_gradient(torch.nn.utils.get_total_norm(gradients))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        steps, decay = self.trainer.global_step, self.params.train.ema
        if self.average is not None and decay is not None and steps > self.averaged:
            update_average(self.average, self.net, decay, self.averaged)
            self.averaged = steps

    def on_train_start(self) -> None:
        self.averaged = self.trainer.global_step

    def on_validation_epoch_start(self) -> None:
        self.watch.drain()
        self.watch.begin(self.current_epoch, "val", self.trainer)
        self.means["val"] = _Means(self.loss.losses)
        self.confusion = 0

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        number = self.trainer.global_rank + batch_index * self.trainer.world_size
        loader: Any = self.trainer.val_dataloaders
        if number >= len(loader.batch_sampler.batches):
            return  # another process has it
        images, target = batch[0], self._arrange(batch[1])
        logits = self.kept_net(self.scaling(images))
        terms = self.loss.compute_terms(logits, target)
        total = self.loss.add_up(terms)
        if self.trainer.world_size == 1:
            self.watch.note_loss(number, logits, terms, total)
        self.means["val"].add(total, terms, len(images))
        if self.overlapping:
            counts = count_overlapping(logits.float(), target, self.ignore_index)
        else:
            labels = to_labels(logits.float())
            counts = count_confusion_per_image(labels, target, self.labels, self.ignore_index).sum(dim=0)
        self.confusion = self.confusion + counts

    def on_validation_epoch_end(self) -> None:
        self.watch.drain()

    def compute_epoch_row(self) -> dict[str, float]:
        """Return the row of history.csv for the epoch that ends; every process must call it."""
        rates = {group["name"]: group["lr"] for group in self.trainer.optimizers[0].param_groups}
        means = {phase: self.means[phase].reduce_over_processes(self) for phase in ("train", "val")}
        if not math.isfinite(means["val"]["total"]):  # all processes see it at once, so that none waits for another
            lower = f"set train.lr below {self.params.train.lr:g}"
            raise DivergedError(f"epoch {self.current_epoch + 1}: the val loss is not finite: {lower}")
        shape = (self.labels, 2, 2) if self.overlapping else (self.labels, self.labels)
        confusion = torch.zeros(shape, dtype=torch.int64, device=self.device) + self.confusion
        compute = compute_overlapping_scores if self.overlapping else compute_scores
        scores = compute(self.trainer.strategy.reduce(confusion, reduce_op="sum"))
        first = {f"{phase}_loss": means[phase]["total"] for phase in means} | {"val_miou": float(scores["miou"])}
        rest = {f"val_iou_{name}": float(iou) for name, iou in zip(self.classes, scores["iou"], strict=True)}
        if self.crops is not None:
            held = torch.zeros(self.labels + 1, dtype=torch.int64, device=self.device) + self.held
            *counts, crops = self.trainer.strategy.reduce(held, reduce_op="sum").tolist()
            rest |= {f"crops_{name}": count / crops for name, count in zip(self.classes, counts, strict=True)}
        rest |= {f"weight_{name}": weight for name, weight in self.loss.ramped.items()}
        if len(self.loss.losses) > 1:
            rest |= {f"{phase}_loss_{name}": means[phase][name] for phase in means for name in self.loss.losses}
        row: dict[str, float] = {"epoch": self.current_epoch + 1, "lr": rates["decoder"]}
        if self.params.train.encoder_lr is not None:
            row["lr_encoder"] = rates["encoder"]
        return row | {name: round(value, 6) for name, value in (first | dict(sorted(rest.items()))).items()}


class _Means:
    """Means over images of the loss and its terms, summed on the device so that no step waits for them."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = ["total", *names]
        self.sums: Tensor | float = 0.0
        self.images = 0

    def add(self, total: Tensor, terms: dict[str, Tensor], images: int) -> None:
        self.images += images
        self.sums = self.sums + torch.stack([total, *terms.values()]).detach().double() * images

    def compute_latest(self) -> float:
        return self.sums[0].item() / self.images if isinstance(self.sums, Tensor) else math.nan

    def reduce_over_processes(self, module: L.LightningModule) -> dict[str, float]:
        """Return the means over all processes, some of which may have had no images."""
        sums = torch.zeros(len(self.names), dtype=torch.float64, device=module.device) + self.sums
        totals = module.trainer.strategy.reduce(torch.cat([sums, sums.new_tensor([self.images])]), reduce_op="sum")
        *values, images = totals.tolist()
        return {name: value / images for name, value in zip(self.names, values, strict=True)}
