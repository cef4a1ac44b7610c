"""Training as planned: the trainer around the module, and the record it keeps of each epoch."""

import logging
import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, nn

from losslab.errors import DivergedError, InputError, Terminated, find_exhausted_memory, find_killed_worker
from losslab.runtime.devices import keep_freed_memory
from losslab.schedules import build_lr_factor, check_schedule, find_best_epoch, has_stalled
from losslab.training.checkpoints import RECORD, AtomicCheckpointIO, Checkpoint
from losslab.training.launch import build_environments
from losslab.training.module import SegmentationModule
from losslab.training.plan import TrainingPlan

EpochRow = dict[str, float]


@dataclass(frozen=True)
class TrainedNet:
    net: nn.Module
    """The net with the weights of its best epoch by val mIoU, on the CPU."""
    description: dict[str, Any]
    """The content of model.json."""
    history: list[EpochRow]


def train_net(
    plan: TrainingPlan,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[EpochRow], None] = lambda row: None,
    progress: bool = False,
    callbacks: Sequence[Callback] = (),
) -> TrainedNet:
    """Train as planned; deterministic for one machine, data and params, also when it resumes from a checkpoint.

    Args:
        checkpoint: where training resumes from, replaced after each epoch; None keeps nothing.
        on_epoch: called after each epoch that is trained here, with its row of history.csv.
        progress: whether to show a bar with loss and val mIoU.
        callbacks: further Lightning callbacks, for measurements.

    Raises:
        DivergedError: the loss is not finite; the checkpoint is that of the last finished epoch.
        InputError: the devices, nodes or strategy are not available; memory or disk space ran out, or a process that loads
            data was killed.
    """
    settings, net = plan.params.train, plan.net
    keep_freed_memory()
    # Deterministic algorithms alone give the same bits; filling fresh memory with NaN as well costs 5 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    record = _EpochRecord(checkpoint, on_epoch, settings.early_stopping)
    module = SegmentationModule(net, plan.loss, plan.params, plan.prepared, plan.description, record.scores, plan.crops)
    if not record.is_complete(settings.epochs):
        bar = [_ProgressBar()] if progress else []
        trainer = _build_trainer(plan, checkpoint, [record, *callbacks, *bar], progress)
        resume = checkpoint.resume_path if checkpoint is not None else None
        with warnings.catch_warnings():
            # Lightning advises workers and warns of its own internals; neither is for the reader of a run's output.
            warnings.filterwarnings("ignore", module="lightning")
            try:
                trainer.fit(module, ckpt_path=resume, weights_only=True)
            except SIGTERMException:
                raise Terminated from None
            except SystemExit:  # what Lightning makes of Ctrl-C
                raise KeyboardInterrupt from None
            except DivergedError as error:
                kept = "No epoch finished, so there is no checkpoint"
                if record.rows and checkpoint is not None:
                    kept = f"The checkpoint of epoch {len(record.rows)} is {checkpoint.path}"
                raise DivergedError(f"{error}. {kept}") from None
            except Exception as error:
                if (explained := explain_error(error, settings.batch_size, len(record.rows))) is not None:
                    raise explained from error
                raise
    assert record.weights is not None
    net.cpu().load_state_dict(record.weights)
    return TrainedNet(net.eval(), plan.description, record.rows)


def _build_trainer(
    plan: TrainingPlan, checkpoint: Checkpoint | None, callbacks: list[Callback], progress: bool
) -> L.Trainer:
    settings = plan.params.train
    files = [AtomicCheckpointIO(checkpoint.key)] if checkpoint is not None else []
    try:
        return L.Trainer(
            accelerator="gpu" if plan.device.type == "cuda" else "cpu",
            devices=settings.devices,
            num_nodes=settings.nodes,
            strategy=_choose_strategy(plan),
            sync_batchnorm=plan.device.type == "cuda" and settings.devices * settings.nodes > 1,
            precision=plan.description["precision"],
            max_epochs=settings.epochs,
            accumulate_grad_batches=settings.accumulate,
            gradient_clip_val=settings.clip_grad_norm,
            deterministic="warn" if plan.inexact else True,
            logger=False,
            callbacks=callbacks,
            plugins=[*files, *build_environments()],
            enable_checkpointing=False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
    except (ValueError, RuntimeError, TypeError, ImportError, MisconfigurationException) as error:
        chosen = f"devices {settings.devices}, nodes {settings.nodes} and strategy {settings.strategy!r}"
        reason = " ".join(str(error).split())
        raise InputError(f"train: Lightning cannot run with {chosen} on {plan.device.type}: {reason}") from error


def _choose_strategy(plan: TrainingPlan) -> Any:
    """Choose Lightning's strategy; DDP must know that some parameters take no part, as in many encoders."""
    settings = plan.params.train
    chosen = settings.strategy.lower()
    if chosen == "ddp" or (chosen == "auto" and settings.devices * settings.nodes > 1):
        return DDPStrategy(find_unused_parameters=plan.params.encoder is not None)
    return settings.strategy


class _EpochRecord(Callback):
    """Keeps the row of each epoch and the best weights so far, and saves the checkpoint with both."""

    def __init__(
        self, checkpoint: Checkpoint | None, on_epoch: Callable[[EpochRow], None], patience: int | None
    ) -> None:
        self.rows: list[EpochRow] = list(checkpoint.rows) if checkpoint is not None else []
        self.weights: dict[str, Tensor] | None = checkpoint.weights if checkpoint is not None else None
        self.scores = [row["val_miou"] for row in self.rows]
        self.checkpoint, self.on_epoch, self.patience = checkpoint, on_epoch, patience

    def is_complete(self, epochs: int) -> bool:
        return len(self.rows) >= epochs or has_stalled(self.scores, self.patience)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, SegmentationModule)
        train = pl_module.params.train
        per_epoch = math.ceil(int(trainer.num_training_batches) / train.accumulate)
        schedule = check_schedule(train.schedule, train.schedule_options)
        warmup = round(train.warmup_epochs * per_epoch)
        pl_module.factor = build_lr_factor(schedule, warmup, train.epochs * per_epoch)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, SegmentationModule)
        row = pl_module.compute_epoch_row()
        self.rows.append(row)
        self.scores.append(row["val_miou"])
        if find_best_epoch(self.scores) == len(self.scores) - 1:
            weights = pl_module.kept_net.state_dict()
            self.weights = {name: value.detach().cpu().clone() for name, value in weights.items()}
        if self.checkpoint is not None:
            trainer.save_checkpoint(self.checkpoint.path)
        if trainer.is_global_zero:
            self.on_epoch(row)
        trainer.should_stop = has_stalled(self.scores, self.patience)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[RECORD] = {"rows": self.rows, "weights": self.weights}


class _ProgressBar(TQDMProgressBar):
    """The steps of an epoch, counted from 1 as everywhere, with loss and val mIoU."""

    def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        assert isinstance(pl_module, SegmentationModule)
        shown: dict[str, Any] = {"train_loss": pl_module.means["train"].compute_latest()}
        return shown | ({"val_miou": pl_module.scores[-1]} if pl_module.scores else {})


def explain_error(error: BaseException, batch_size: int, epochs_done: int) -> InputError | None:
    """Explain memory that ran out, a killed worker or a lost process in one line; return None for anything else."""
    kept = "no epoch has finished yet"
    if epochs_done:
        kept = f"the checkpoint of epoch {epochs_done} is kept: start again with the same params to resume from it"
    if (where := find_exhausted_memory(error)) is not None:
        return InputError(
            f"out of {where} in epoch {epochs_done + 1}: set train.batch_size below {batch_size} (a higher train.accumulate "
            f"keeps the images per optimizer step), set prepare.size lower, or choose a smaller net; {kept}"
        )
    if (ended := find_killed_worker(error)) is not None:
        return InputError(
            f"epoch {epochs_done + 1}: a process that loads data {ended}, most likely because memory or /dev/shm ran out: "
            f"set train.workers lower (0 loads data within the training process); {kept}"
        )
    cause = error.__context__
    if "iter(combined_loader)" in str(error) and isinstance(cause, OSError):  # Lightning's, instead of it
        return InputError(
            f"epoch {epochs_done + 1}: the processes that load data cannot start: {cause.strerror} (they need /dev/shm): set "
            f"train.workers to 0; {kept}"
        )
    if re.search("Connection (closed|reset) by peer", str(error)):
        lost = "another process of this run ended; its own message says why"
        return InputError(f"epoch {epochs_done + 1}: {lost}; {kept}")
    return None
