"""A trial of a run's plug-ins on one drawn image, before data are fetched and prepared for them."""

from pathlib import Path

import numpy as np
import torch

from losslab.cards import IGNORE_INDEX, read_card
from losslab.data.loading.augmentation import build_augmentation
from losslab.errors import InputError, find_exhausted_memory, shorten
from losslab.losses.parsed_loss import parse_loss
from losslab.losses.registry import find_loss
from losslab.losses.total import TotalLoss
from losslab.metrics.plugin_metric import load_metric
from losslab.models import build_model
from losslab.models.registry import find_arch
from losslab.params import Params

HEIGHT, WIDTH = 64, 96


def try_plugins(params: Params, catalog: Path = Path("data/catalog")) -> None:
    """Build and run each plug-in that the params name, once. Raises InputError that says what is wrong with one, and where."""
    card = read_card(params.dataset, catalog)
    outputs, labels, bands = card.num_outputs, len(card.classes), len(card.format.names)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, outputs, HEIGHT, WIDTH, generator=generator, requires_grad=True)
    target = torch.randint(0, labels, (2, HEIGHT, WIDTH), generator=generator)
    labelled = target
    if any(find_loss(term.name).kind == "plug-in" for term in params.parsed_loss.terms):
        if card.is_overlapping:
            labelled = torch.randint(0, 2, (2, outputs, HEIGHT, WIDTH), generator=generator)
        named = isinstance(getattr(params.parsed_loss.options.get("cross_entropy"), "class_weights", None), str)
        parsed = parse_loss(params.loss, params.loss_options, [1.0] * labels) if named else params.parsed_loss
        with_void = labelled.clone()
        with_void[0, ..., :4, :] = IGNORE_INDEX
        try:
            TotalLoss(parsed, outputs, IGNORE_INDEX, card.is_overlapping)(logits, with_void).backward()
        except RuntimeError as error:
            if find_exhausted_memory(error):
                raise
            raise InputError(
                f"loss: {params.loss}: its gradient fails: {shorten(' '.join(str(error).split()))}"
            ) from None
    if find_arch(params.arch).is_plugin:
        build_model(params.arch, outputs, in_channels=bands, options=params.arch_options)
    build_augmentation(params.train.augmentation, [0.0] * bands, IGNORE_INDEX, card.bands is None)
    counts = {name: np.full((2, labels), pixels) for name, pixels in (("hit", 5.0), ("truth", 8.0), ("predicted", 6.0))}
    inputs = {
        "prediction": target[1].to(torch.uint8).numpy(),
        "target": target[0].to(torch.uint8).numpy(),
        "valid": np.ones((HEIGHT, WIDTH), np.bool_),
        "probabilities": torch.rand(labels, HEIGHT, WIDTH, generator=generator).softmax(dim=0).numpy(),
        "classes": [each.name for each in card.classes],
    }
    for name, options in params.evaluate.metrics.items():
        metric = load_metric(name, options)
        if metric.is_of_classes:
            metric.score_classes(counts)
        elif card.is_overlapping:
            metric.refuse_overlapping()
        else:
            metric.score_image(inputs)
