"""The file of the study that settles the advice: the three losses, dice+cross_entropy, and the loss that is used now."""

from collections.abc import Callable
from typing import Any

import yaml

from losslab.advice.choice import BASELINE, Advice
from losslab.losses.expression import parse_expression
from losslab.losses.registry import find_loss
from losslab.params import Params

Fits = Callable[[str, dict[str, Any]], bool]
SEEDS = [0, 1, 2]
PRESENT = "present"
"""Label of the loss that is used now, where it has options."""
HEADING = """\
# `losslab advise {dataset}` wrote this: its three losses, {baseline}, and the loss in params.yaml, on the net and
# with the other settings of params.yaml. Each loss gets the learning rate that does best on val.
#
#   losslab study show {name}
#   losslab study run {name}
#   losslab compare {name}
"""


def write_study(name: str, dataset: str, advice: Advice, params: Params, fits: Fits) -> str:
    """Write the content of studies/NAME.yaml.

    Args:
        params: those of the project; a loss that does not fit the dataset is left out.
        fits: whether the dataset can take a loss with options. Where it cannot take dice+cross_entropy, what these name
            instead is taken.
    """
    losses = [chosen.loss for chosen in advice.losses]
    baseline = BASELINE if fits(BASELINE, {}) else _replace(BASELINE)
    losses.append(baseline)
    has_present, options = fits(params.loss, params.loss_options), params.loss_options
    losses = list(dict.fromkeys([*losses, *([params.loss] if has_present and not options else [])]))
    grid: dict[str, Any] | list[str] = losses
    if options:  # the others must not get them
        grid = {loss: {"loss": loss, "loss_options": {}} for loss in losses}
        grid |= {PRESENT: {"loss": params.loss, "loss_options": options}} if has_present else {}
    rate = params.train.lr
    content = {
        "title": f"Losses advised for {dataset}",
        "question": f"Which of the losses that losslab advises for {dataset} is best, and is it better than {baseline}?",
        "params": {"dataset": dataset},
        "grid": {"loss": grid},
        "seeds": SEEDS,
        "tune": {"train.lr": [float(f"{rate / 3:.1g}"), rate, float(f"{rate * 3:.1g}")]},
    }
    heading = HEADING.format(dataset=dataset, name=name, baseline=baseline)
    return heading + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def _replace(loss: str) -> str:
    """Put what each loss of a sum names instead of itself, for overlapping classes, in its place."""
    return "+".join(find_loss(term.name).instead or term.name for term in parse_expression(loss))
