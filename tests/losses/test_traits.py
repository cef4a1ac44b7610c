"""Traits of losses: those that the docs state for each of the twenty, and that the measures see what they are for."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from losslab.losses import available, build_loss
from losslab.losses.base import Batch, cross_entropy
from losslab.losses.traits import (
    SIDE_PX,
    Build,
    compare_logit_forms,
    draw_scenes,
    measure_resolution_effect,
    measure_symmetry,
    measure_traits,
)
from tests.conftest import ROOT

ROWS = dict(
    re.findall(
        r"^\| `(\w+)` \| (.* \| .* \| .*) \|$", (ROOT / "docs/reference/losses.md").read_text(encoding="utf-8"), re.M
    )
)
"""Loss → its cells in the table of the docs."""


def test_docs_have_a_row_for_each_loss() -> None:
    assert list(ROWS) == available()


@pytest.mark.parametrize("name", available())
def test_docs_state_the_traits_that_the_loss_has(name: str) -> None:
    traits = measure_traits(lambda num_classes: build_loss(name, num_classes))
    assert f"{traits.logit_forms} | {traits.resolution} | {traits.symmetry}" == ROWS[name]


def compute_costs(logits: Tensor, target: Tensor) -> Tensor:
    return cross_entropy(Batch(logits, target, torch.ones_like(target, dtype=torch.bool)))


def build_changed(change: Callable[[Tensor], Tensor]) -> Build:
    """Cross entropy, with another value for two logits."""
    return lambda n: lambda z, y: change(compute_costs(z, y).mean()) if n == 2 else compute_costs(z, y).mean()


def test_two_logits_that_cost_the_same_agree() -> None:
    forms = compare_logit_forms(build_changed(lambda value: value))
    assert forms.agree_in_value and forms.agree_in_gradient and str(forms) == "agree in value and gradient"


def test_two_logits_with_another_value_or_gradient_do_not_agree() -> None:
    shifted = compare_logit_forms(build_changed(lambda value: value + 1))
    assert not shifted.agree_in_value and shifted.agree_in_gradient
    assert re.fullmatch(r"differ: value × [1-9]\.\d", str(shifted))

    halved = compare_logit_forms(build_changed(lambda value: (value + value.detach()) / 2))
    assert halved.agree_in_value and not halved.agree_in_gradient
    assert str(halved) == "differ: same value, gradient × 0.50 and turned by 0°"


def test_sum_over_pixels_is_seen_to_grow_with_resolution_and_a_mean_is_not() -> None:
    sums = measure_resolution_effect(lambda n: lambda z, y: compute_costs(z, y).sum())
    assert 3.8 < sums.least < sums.most < 4.2 and str(sums).startswith("× 3.9 to 4")
    assert str(measure_resolution_effect(lambda n: lambda z, y: compute_costs(z, y).mean())) == "no change"
    assert measure_resolution_effect(lambda n: lambda z, y: 0 * z.sum()).is_none


def test_class_with_a_weight_of_its_own_breaks_the_symmetry() -> None:
    def build(weighted: int) -> Build:
        return lambda n: lambda z, y: (compute_costs(z, y) * (1 + (y == 0) * (n == weighted))).mean()

    assert [str(measure_symmetry(build(weighted))) for weighted in (0, 1, 3)] == [
        "yes",
        "yes; with one logit no",
        "no; with one logit yes",
    ]


def test_scenes_of_two_sizes_show_the_same() -> None:
    (small, mask), (large, fine) = draw_scenes(3, 2), draw_scenes(3, 2, 2 * SIDE_PX)
    assert (F.avg_pool2d(large, 2) - small).abs().max() < 0.2
    assert (fine[:, ::2, ::2] == mask).double().mean() > 0.95
    assert set(mask.flatten().tolist()) == {0, 1, 2} and 0.05 < (small.argmax(1) != mask).double().mean() < 0.5
