"""Tests of a comparison's page in headless Chromium: twelve cells, offline, with and without a script."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from losslab.reporting.comparison.page import build_comparison_page
from tests.reporting.comparison.factory import MadeUpComparison, make_comparison

PHONE, DESK = 375, 1440
LOSSES, NETS = ["0.5*bce+0.5*dice", "cross_entropy", "focal_tversky", "lovasz"], ["unet_resnet18", "mit_b0", "segnet"]
TEXTS = [
    ".verdict p", ".question", ".basis", ".warnings li", ".cells tr.best .score b", ".cells .soft", ".forest tr.real .value",
    ".forest tbody .soft", "#heat-0 tbody td", ".shaded tbody td", ".names li", ".pictures small", "figcaption", "nav a",
    ".choices [aria-pressed=true]",
]  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    gains = {"lovasz": 0.1, "unet_resnet18": 0.05}
    made = MadeUpComparison(axes={"loss": LOSSES, "net": NETS}, gains=gains, ranked=True, epochs=4, seeds=5)
    path = folder / "index.html"
    path.write_text(build_comparison_page(make_comparison(folder, made)), encoding="utf-8")
    return path


def open_page(context: BrowserContext, path: Path) -> tuple[Page, list[str]]:
    """Open the page, and list what must stay empty: errors, and requests for anything but itself."""
    page, wrong = context.new_page(), []
    page.set_default_timeout(5000)
    page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request", lambda sent: wrong.append(sent.url) if not sent.url.startswith(("data:", path.as_uri())) else None
    )
    page.goto(path.as_uri())
    return page, wrong


@pytest.mark.parametrize(("width", "script"), [(PHONE, False), (DESK, True)])
def test_page_fits_requests_nothing_and_is_complete_without_a_script(
    browser: Browser, path: Path, width: int, script: bool
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, java_script_enabled=script)
    page, wrong = open_page(context, path)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for selector in (
        "#cells .strip",
        ".forest circle",
        "#heat-0",
        ".pareto circle",
        ".series path",
        "img.labels",
        "#ranks",
    ):
        assert page.locator(selector).first.is_visible(), selector
    if script:
        table = page.locator("table.cells")
        table.get_by_role("button", name="loss").focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        assert table.locator("tbody th").first.inner_text() == LOSSES[0]  # in the card's order
        assert table.bounding_box()["width"] <= page.locator("#cells figure").bounding_box()["width"]  # type: ignore[index]
        chart = page.locator("#chart-val_miou-0-0")
        assert chart.locator(".series.seed:visible").count() == 15
        chart.get_by_role("button", name=NETS[0]).click()
        assert chart.locator(".series.seed:visible").count() == 10
        chart.locator(".plot").focus()
        page.keyboard.press("ArrowRight")
        assert chart.locator(".tip span").count() == 2
        page.locator("#curves").get_by_role("button", name="by net").click()
        assert not chart.is_visible() and page.locator("#chart-val_miou-1-0").is_visible()
    assert wrong == []
    context.close()


def test_texts_are_legible_in_both_schemes(browser: Browser, path: Path) -> None:
    """Texts must have a contrast of at least 4.5 with what is behind them, as WCAG 2 counts it."""
    context = browser.new_context(viewport={"width": DESK, "height": 900})
    page, _ = open_page(context, path)
    script = Path(__file__).parents[1].joinpath("contrasts.js").read_text(encoding="utf-8")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        contrasts = page.evaluate(script, TEXTS)
        assert {selector: ratio for selector, ratio in contrasts.items() if not ratio >= 4.5} == {}, scheme
    context.close()


def test_eight_pictures_stand_side_by_side(browser: Browser, tmp_path: Path) -> None:
    made = MadeUpComparison(epochs=2)
    (tmp_path / "index.html").write_text(build_comparison_page(make_comparison(tmp_path, made)), encoding="utf-8")
    page = browser.new_page(viewport={"width": DESK, "height": 900})
    page.goto((tmp_path / "index.html").as_uri())
    assert page.locator(".pictures thead th").count() == 8
    assert page.evaluate(
        "(() => { const side = document.querySelector('.side'); return side.scrollWidth <= side.clientWidth })()"
    )
    page.close()
