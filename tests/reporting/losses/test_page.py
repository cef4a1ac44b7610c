import math
import re

import numpy as np
import pytest

from losslab.losses import available
from losslab.losses.registry import LOSSES
from losslab.reporting.losses import probes as loss_probes
from losslab.reporting.losses.page import write_loss_cards
from losslab.reporting.losses.probes import PROBABILITIES, StepCost, measure_half_precision, measure_step, probe_loss


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("cards") / "losses.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_probes, "STEP_SHAPE", (1, 3, 32, 32))
        patch.setattr(loss_probes, "PROBABILITIES", PROBABILITIES[::20])
        patch.setattr("losslab.reporting.losses.page.PROBABILITIES", PROBABILITIES[::20])
        write_loss_cards(path, "a <fast> machine", available())
    return path.read_text(encoding="utf-8")


def test_page_has_a_card_for_each_loss_with_formula_source_and_figures(page: str) -> None:
    cards = re.findall(r'<section class="card" id="(\w+)">(.*?)</section>', page, re.DOTALL)
    assert [name for name, _ in cards] == available()
    for name, card in cards:
        assert card.count("<math") == 1 and "\\" not in re.findall(r"<math.*</math>", card)[0]
        assert LOSSES[name].url in card and card.count("data:image/svg+xml") == 3
        assert ("needs a partner" in card) != LOSSES[name].stands_alone
        assert all(f"<code>{option}=" in card for option in LOSSES[name].defaults)


def test_page_needs_no_other_file_and_names_the_machine(page: str) -> None:
    assert not re.search(r'(src|@import|<link[^>]*stylesheet)[^>]*="?https?:', page)
    assert all(uri.startswith("data:") for uri in re.findall(r'src="([^"]*)"', page))
    assert "measured on this machine" in page and "a &lt;fast&gt; machine" in page
    assert not re.search(r">\s*(nan|inf)", page)


def no_cost(expression: str) -> StepCost:
    return StepCost(1.0, 1.0)


def test_cross_entropy_curve_is_the_textbooks() -> None:
    probes = probe_loss("cross_entropy", no_cost)
    share = loss_probes.draw_disc().mean()
    p = np.array(PROBABILITIES)
    rest = -(1 - share) * math.log(loss_probes.SURE)
    assert probes.on_truth.loss == pytest.approx(-share * np.log(p) + rest, rel=1e-4)
    assert probes.on_truth.push == pytest.approx(share * (1 - p), rel=1e-3, abs=1e-6)
    assert probes.on_background.push == pytest.approx(-(1 - share) * p, rel=1e-3, abs=1e-6)
    assert probes.masks["full"] == pytest.approx(-np.log(p), rel=1e-4)


def test_probes_show_what_each_loss_cares_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_probes, "PROBABILITIES", [0.01, 0.99])
    topology = probe_loss("topology", no_cost).shapes
    assert topology["broken"] > topology["exact"] + 0.1
    assert topology["shifted"] == pytest.approx(topology["exact"], abs=1e-6)
    cldice = probe_loss("cldice", no_cost).shapes
    assert cldice["broken"] > 5 * cldice["dilated"]
    assert max(probe_loss("boundary", no_cost).masks["empty"]) == 0


def test_shapes_differ_as_their_names_say() -> None:
    exact, shifted, dilated, broken = loss_probes.draw_shapes().values()
    assert shifted.sum() == exact.sum() and (shifted != exact).any()
    assert (dilated >= exact).all() and dilated.sum() > exact.sum()
    assert (broken <= exact).all() and 0 < exact.sum() - broken.sum() < exact.sum() / 4


@pytest.mark.parametrize("name", available())
def test_bfloat16_logits_cost_little_precision(name: str) -> None:
    half = measure_half_precision(name)
    assert half.finite and half.value_error < 0.02 and half.degrees < 10


def test_step_counts_what_is_kept_for_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_probes, "STEP_SHAPE", (1, 3, 64, 64))
    small, large = measure_step("dice", 2), measure_step("cldice", 2)
    assert small.milliseconds > 0
    plane = 3 * 64 * 64 * 4 / 2**20
    assert 2 * plane <= small.megabytes <= 6 * plane
    assert large.megabytes > 5 * small.megabytes
