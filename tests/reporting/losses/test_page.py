import math
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser
from torch import Tensor

from losslab.losses import available
from losslab.losses.registry import LOSSES
from losslab.losses.traits import ClassSymmetry, LogitForms, LossTraits, ResolutionEffect
from losslab.reporting.losses import probes as loss_probes
from losslab.reporting.losses.page import _draw_figures, write_loss_cards
from losslab.reporting.losses.probes import (
    PROBABILITIES,
    LossProbes,
    measure_half_precision,
    measure_steps,
    probe_loss,
    use_one_thread,
)
from tests.reporting.run.test_in_browser import DESK, PHONE, open_page

TRAITS = LossTraits(LogitForms(0.5, 0.25, 45.0), ResolutionEffect(2.0, 3.0), ClassSymmetry(1.0, 2.0))


DRAWN = ("cross_entropy", "boundary", "topology")
"""Losses whose figures are drawn: with high values, with negative ones, and with none but 0 in some panels."""


def write_cards(path: Path, names: list[str], load: float = 0.0) -> None:
    """Write the page with three points a curve, the figures of a few, and traits that are tested elsewhere."""
    turn = iter(names)

    def draw_or_check(probes: LossProbes) -> dict[str, str]:
        curves = (probes.on_truth.loss, probes.on_truth.push, probes.on_background.loss, probes.on_background.push)
        assert np.isfinite([*curves, *probes.masks.values()]).all() and np.isfinite([*probes.shapes.values()]).all()
        if next(turn) in DRAWN:
            return _draw_figures(probes)
        return dict.fromkeys(
            ("curves", "masks", "shapes"), "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E"
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_probes, "STEP_SHAPE", (1, 3, 32, 32))
        patch.setattr(loss_probes, "PROBABILITIES", PROBABILITIES[::20])
        patch.setattr("losslab.reporting.losses.page.PROBABILITIES", PROBABILITIES[::20])
        patch.setattr(loss_probes, "measure_traits", lambda build: TRAITS)
        patch.setattr("losslab.reporting.losses.page._draw_figures", draw_or_check)
        patch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
        write_loss_cards(path, "a <fast> machine", names)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cards") / "losses.html"
    write_cards(path, available())
    return path


@pytest.fixture(scope="module")
def page(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_page_has_a_card_for_each_loss_with_formula_source_and_figures(page: str) -> None:
    cards = re.findall(r'<section class="card" id="(\w+)">(.*?)</section>', page, re.DOTALL)
    assert [name for name, _ in cards] == available()
    for name, card in cards:
        assert card.count("<math") == 1 and "\\" not in re.findall(r"<math.*</math>", card)[0]
        assert LOSSES[name].url in card and card.count("data:image/svg+xml") == 3
        assert ("needs a partner" in card) != LOSSES[name].stands_alone
        assert all(f"<code>{option}=" in card for option in LOSSES[name].defaults)
        for trait in (TRAITS.logit_forms, TRAITS.resolution, TRAITS.symmetry):
            assert f"<dd>{trait}</dd>" in card


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_each_card_is_a_click_away_and_the_bar_stays_above_it(browser: Browser, path: Path, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, reduced_motion="reduce")
    page, wrong = open_page(context, path)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert width == PHONE or page.evaluate(
        "(bar => bar.scrollWidth == bar.clientWidth)(document.querySelector('nav div'))"
    )
    assert [link.inner_text() for link in page.locator("#index dd a").all()] == available()
    for name in ("family-region", "unified_focal", "total_variation"):
        page.locator(f"a[href='#{name}']").first.click()
        top, bar = page.evaluate(
            "(id) => [document.getElementById(id).getBoundingClientRect().top,"
            " document.querySelector('nav').getBoundingClientRect().bottom]",
            name,
        )
        assert bar <= top < 100, name
        page.locator("nav a").first.click()
    assert wrong == []
    context.close()


def test_times_of_a_busy_machine_are_bounds(tmp_path: Path, page: str) -> None:
    assert "at most" not in page and "The machine was busy" not in page
    write_cards(tmp_path / "losses.html", ["cross_entropy", "total_variation"], load=1000.0)
    busy = (tmp_path / "losses.html").read_text(encoding="utf-8")
    assert busy.count("<dd>at most ") == 2 and busy.count("about ") == 2
    assert "The machine was busy: a load of 1000.0 on" in busy


def test_progress_of_a_piped_run_is_a_line_a_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cards(tmp_path / "losses.html", ["bce"])
    rounds = [f"time {number}/{loss_probes.ROUNDS} rounds" for number in range(1, loss_probes.ROUNDS + 1)]
    assert capsys.readouterr().out.splitlines() == [*rounds, "draw 1/1 cards"]


def test_losses_take_turns_and_the_fastest_step_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is ten times as slow for some rounds slows down all losses alike, and the other rounds count."""
    clock, order = [0.0], []

    class Slow(torch.nn.Module):
        def __init__(self, name: str, num_classes: int, options: None) -> None:
            super().__init__()
            self.name = name

        def forward(self, logits: Tensor, target: Tensor) -> Tensor:
            order.append(self.name)
            clock[0] += {"bce": 0.02, "dice": 0.08, "topology": 3.0}[self.name] * (10 if len(order) < 7 else 1)
            return logits.sum()

    monkeypatch.setattr(loss_probes, "build_loss", Slow)
    monkeypatch.setattr(loss_probes, "_read_clock", lambda device: clock[0])
    costs = measure_steps(["bce", "dice", "topology"], range(4))
    assert order[:6] == ["bce", "dice", "topology"] * 2 and order[6:10] == ["bce", "dice"] * 2
    assert costs["bce"].milliseconds == pytest.approx(20) and costs["dice"].milliseconds == pytest.approx(80)


def test_time_is_that_of_the_processor_not_that_of_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    class Waiting(torch.nn.Module):
        def forward(self, logits: Tensor, target: Tensor) -> Tensor:
            time.sleep(0.2)
            return logits.sum()

    monkeypatch.setattr(loss_probes, "STEP_SHAPE", (1, 3, 32, 32))
    monkeypatch.setattr(loss_probes, "build_loss", lambda name, num_classes, options: Waiting())
    if not torch.cuda.is_available():
        assert measure_steps(["bce"], range(1))["bce"].milliseconds < 100


def test_small_scenes_are_computed_in_one_thread_and_the_number_comes_back() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), use_one_thread():
        assert torch.get_num_threads() == 1
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == before


def test_page_needs_no_other_file_and_names_the_machine(page: str) -> None:
    assert not re.search(r'(src|@import|<link[^>]*stylesheet)[^>]*="?https?:', page)
    assert all(uri.startswith("data:") for uri in re.findall(r'src="([^"]*)"', page))
    assert "measured on this machine" in page and "a &lt;fast&gt; machine" in page
    assert not re.search(r">\s*(nan|inf)", page)
    assert set(re.findall(r'href="#([^"]*)"', page)) == set(re.findall(r' id="([^"]*)"', page)) > set(available())


def test_cross_entropy_curve_is_the_textbooks() -> None:
    probes = probe_loss("cross_entropy")
    share = loss_probes.draw_disc().mean()
    p = np.array(PROBABILITIES)
    rest = -(1 - share) * math.log(loss_probes.SURE)
    assert probes.on_truth.loss == pytest.approx(-share * np.log(p) + rest, rel=1e-4)
    assert probes.on_truth.push == pytest.approx(share * (1 - p), rel=1e-3, abs=1e-6)
    assert probes.on_background.push == pytest.approx(-(1 - share) * p, rel=1e-3, abs=1e-6)
    assert probes.masks["full"] == pytest.approx(-np.log(p), rel=1e-4)


def test_probes_show_what_each_loss_cares_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_probes, "PROBABILITIES", [0.01, 0.99])
    monkeypatch.setattr(loss_probes, "measure_traits", lambda build: TRAITS)
    topology = probe_loss("topology").shapes
    assert topology["broken"] > topology["exact"] + 0.1
    assert topology["shifted"] == pytest.approx(topology["exact"], abs=1e-6)
    cldice = probe_loss("cldice").shapes
    assert cldice["broken"] > 5 * cldice["dilated"]
    assert max(probe_loss("boundary").masks["empty"]) == 0


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
    small, large = measure_steps(["dice", "cldice"], range(2)).values()
    assert small.milliseconds > 0
    plane = 3 * 64 * 64 * 4 / 2**20
    assert 2 * plane <= small.megabytes <= 6 * plane
    assert large.megabytes > 5 * small.megabytes
