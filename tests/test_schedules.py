import math
from typing import Any

import pytest
import torch

from losslab.errors import InputError
from losslab.schedules import SCHEDULES, build_lr_factor, check_schedule, find_best_epoch, has_stalled


def list_factors(name: str, options: dict[str, Any] | None = None, warmup: int = 0, steps: int = 20) -> list[float]:
    factor = build_lr_factor(check_schedule(name, options or {}), warmup, steps)
    return [factor(step, []) for step in range(steps)]


def list_torch_rates(make: Any, steps: int = 20) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("name", "options", "reference"),
    [
        ("constant", {}, lambda opt: torch.optim.lr_scheduler.ConstantLR(opt, 1.0)),
        ("cosine", {"final": 0.1}, lambda opt: torch.optim.lr_scheduler.CosineAnnealingLR(opt, 20, eta_min=0.1)),
        ("poly", {"power": 2.0}, lambda opt: torch.optim.lr_scheduler.PolynomialLR(opt, 20, power=2.0)),
    ],
)
def test_schedule_is_torchs(name: str, options: dict[str, Any], reference: Any) -> None:
    assert list_factors(name, options) == pytest.approx(list_torch_rates(reference))


def test_one_cycle_rises_to_one_and_falls_to_its_end() -> None:
    rates = list_factors("one_cycle", steps=101)
    reference = list_torch_rates(
        lambda opt: torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=1.0, total_steps=101, cycle_momentum=False), 101
    )
    assert rates[0] == pytest.approx(0.04) and max(rates) == pytest.approx(1.0, abs=1e-3)
    assert rates == pytest.approx(reference, abs=0.06)  # torch's peak lies one step earlier


def test_plateau_falls_when_the_score_has_not_risen() -> None:
    factor = build_lr_factor(check_schedule("plateau", {"decay": 0.1, "patience": 2}), 0, 100)
    scores = [0.1, 0.3, 0.3, 0.2, 0.4, 0.4, 0.4, 0.3, 0.3]
    assert [factor(0, scores[:epochs]) for epochs in range(len(scores) + 1)] == pytest.approx(
        [1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001]
    )


@pytest.mark.parametrize("name", SCHEDULES)
def test_warm_up_rises_evenly_to_where_the_schedule_begins(name: str) -> None:
    rates = list_factors(name, warmup=4)
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4] == list_factors(name, steps=16)[0]


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("poly", {"powers": 1}, "train.schedule_options.powers: schedule poly has no such option; it takes power"),
        ("constant", {"power": 1}, "schedule constant has no such option; it takes none"),
        ("plateau", {"patience": 0}, "train.schedule_options.patience is 0; it must be greater than 0"),
        ("cosine", {"final": "x"}, "train.schedule_options.final is 'x'; it must be a number"),
    ],
)
def test_wrong_option_is_an_error(name: str, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        check_schedule(name, options)


def test_best_epoch_is_the_first_of_the_highest_and_never_nan() -> None:
    assert find_best_epoch([0.1, 0.5, 0.5, 0.2]) == 1
    assert find_best_epoch([math.nan, 0.1, math.nan]) == 1
    assert find_best_epoch([math.nan]) == 0


def test_early_stopping_waits_for_its_patience() -> None:
    assert [has_stalled([0.2, 0.5, 0.4, 0.5][:epochs], 2) for epochs in range(5)] == [False, False, False, False, True]
    assert not has_stalled([0.5, 0.1, 0.1, 0.1], None)
