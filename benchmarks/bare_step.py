"""Contestant d: the bare step, tuned by hand, as an upper bound: no loader, no metrics, no checks, no engine.

All images are in memory as prepared (uint8), on the device. A step picks a batch of them, flips each image with its mask
left to right with probability 1/2, normalises, and trains: channels_last, bf16 where the hardware has it, fused Adam. The net
is losslab's, with its quick upsampling, and freed memory is kept as in losslab, so that all that differs is what a step costs
besides. Nothing is evaluated. After its last epoch the process measures the machine's rate of matrix products.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gemm import count_step_gflops, measure_gemm_rates
from benchmarks.settings import LR, MEAN, STD, Settings, Work
from benchmarks.stopwatch import Stopwatch
from losslab.cards import IGNORE_INDEX
from losslab.models import build_model
from losslab.runtime.devices import build_autocast, keep_freed_memory, pick_device, pick_precision


class BareTraining:
    """The net, its optimizer, and all training images of `work` on the device."""

    def __init__(self, work: Work, settings: Settings, num_classes: int) -> None:
        self.device = pick_device("auto")
        self.precision = pick_precision("auto", self.device)
        self.images, self.masks = (
            torch.from_numpy(np.load(work.prepared / f"train/{kind}.npy")).to(self.device)
            for kind in ("images", "masks")
        )
        net = build_model("unet", num_classes, settings.encoder, None)
        self.net = net.to(self.device).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=LR, fused=True)
        self.shift, self.scale = (255 * torch.tensor(values, device=self.device) for values in (MEAN, STD))
        self.batch_size = settings.batch_size

    def draw_batches(self) -> Sequence[Tensor]:
        """Draw the numbers of the images of each step of an epoch."""
        return torch.split(torch.randperm(len(self.images), device=self.device), self.batch_size)

    def step(self, batch: Tensor) -> None:
        images, target = flip(self.images[batch], self.masks[batch])
        scaled = ((images.float() - self.shift) / self.scale).permute(0, 3, 1, 2)  # lies in memory as channels_last
        with build_autocast(self.precision, self.device):
            logits = self.net(scaled)
        loss = F.cross_entropy(logits.float(), target.long(), ignore_index=IGNORE_INDEX)
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()


def run(work: Work, settings: Settings, num_classes: int, stopwatch: Stopwatch) -> None:
    keep_freed_memory()
    torch.backends.cudnn.benchmark = True
    training = BareTraining(work, settings, num_classes)
    stopwatch.precision = training.precision
    for _ in range(1 + settings.epochs):
        with stopwatch.time_training(len(training.images)):
            for batch in training.draw_batches():
                training.step(batch)
    stopwatch.step_gflops = count_step_gflops(training.net, settings.size)
    stopwatch.gemm_gflops_per_s = measure_gemm_rates(training.device, training.precision)


def flip(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Flip each image `[N, H, W, B]` with its mask `[N, H, W]` left to right, or leave both as they are, at random."""
    flipped = torch.rand(len(images), device=images.device) < 0.5
    return (
        torch.where(flipped.view(-1, 1, 1, 1), images.flip(2), images),
        torch.where(flipped.view(-1, 1, 1), masks.flip(2), masks),
    )
