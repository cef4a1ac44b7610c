"""The page in headless Chromium: offline, at two widths, by mouse, touch and keyboard."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from losslab.reporting.run.inputs import read_report_inputs
from losslab.reporting.run.page import build_run_page
from tests.conftest import ROOT
from tests.reporting.run.made_up import MadeUp, write_outs

PHONE, DESK = 375, 1440
EVIL = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    classes = ("sky & sea", "road", EVIL, *(f"class {index}" for index in range(8)))
    return write_page(tmp_path_factory.mktemp("outs"), MadeUp(classes, near_duplicates=2, findings=2))


def write_page(folder: Path, run: MadeUp) -> Path:
    outs = write_outs(folder, run)
    path = outs / "report.html"
    path.write_text(
        build_run_page(read_report_inputs(outs / "models", outs / "reports", outs / "prepared"), 8), encoding="utf-8"
    )
    return path


def open_page(context: BrowserContext, path: Path) -> tuple[Page, list[str]]:
    """Open a page, and return it with what must stay empty: errors, and requests for anything but itself."""
    page, wrong = context.new_page(), []
    page.set_default_timeout(5000)
    page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url) if not _is_own(request.url, path) else None)
    page.goto(path.as_uri())
    return page, wrong


def _is_own(url: str, path: Path) -> bool:
    return url.startswith("data:") or url == path.as_uri()


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    """Open the report at the width of a desk, and check after the test that it met no error."""
    context = browser.new_context(viewport={"width": DESK, "height": 900})
    page, wrong = open_page(context, report)
    yield page
    assert wrong == []
    context.close()


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_page_fits_and_asks_for_nothing(browser: Browser, report: Path, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800})
    page, wrong = open_page(context, report)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert wrong == []
    context.close()


def test_cards_fill_their_rows_and_images_come_first(page: Page) -> None:
    assert page.evaluate("document.querySelector('h1').closest('section').nextElementSibling.id") == "images"
    lone = page.evaluate(
        """() => [...document.querySelectorAll(".charts, .examples, .numbers, .chooser")].flatMap((grid) => {
          const cards = [...grid.children].filter((card) => card.offsetParent);
          return cards.filter((card) => cards.filter((other) => other.offsetTop === card.offsetTop).length === 1
            && card.offsetWidth < 0.9 * grid.offsetWidth).map((card) => card.textContent);
        })"""
    )
    assert lone == []


def test_labels_of_marks_stand_above_the_plot(page: Page) -> None:
    for width in (PHONE, DESK):
        page.set_viewport_size({"width": width, "height": 900})
        boxes = page.evaluate(
            """() => [...document.querySelectorAll(".plot")].filter((plot) => plot.offsetParent).flatMap((plot) => {
              const find = (query) => [...plot.querySelectorAll(query)].map((one) => one.getBBox());
              return find(".marked").map((mark) => ({
                top: mark.y, bottom: mark.y + mark.height, left: mark.x, right: mark.x + mark.width,
                plot: Math.min(...find("path.mark").map((line) => line.y)), label: find(".label")[0].y + find(".label")[0].height,
              }));
            })"""
        )
        assert len(boxes) >= 3
        for box in boxes:
            assert box["label"] <= box["top"] + 2 and box["bottom"] <= box["plot"], box
            assert box["left"] >= 0 and box["right"] <= 480, box


@pytest.mark.parametrize("rich", [True, False])
def test_poorest_pages_work(browser: Browser, tmp_path: Path, rich: bool) -> None:
    """One epoch, two classes, no void, no examples; with and without tables."""
    run = MadeUp(("background", "pet"), epochs=1, images=1, examples=0, ignore_index=None, terms=("bce",), rich=rich)
    context = browser.new_context(viewport={"width": PHONE, "height": 800})
    page, wrong = open_page(context, write_page(tmp_path, run))
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE
    page.locator("#chart-loss .plot").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#chart-loss .tip b").inner_text() == "epoch 1"
    assert wrong == []
    context.close()


def test_page_without_a_script_shows_all(browser: Browser, report: Path) -> None:
    context = browser.new_context(viewport={"width": PHONE, "height": 800}, java_script_enabled=False)
    page, wrong = open_page(context, report)
    for selector in (
        "#confusion-truth",
        "#confusion-prediction",
        "#chart-loss .series path",
        "#chart-threshold-1",
        ".example img.truth",
    ):
        assert page.locator(selector).first.is_visible(), selector
    assert wrong == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_are_legible(browser: Browser, report: Path, scheme: str) -> None:
    """Texts contrast with what is behind them by at least 4.5, as WCAG 2 counts it."""
    context = browser.new_context(viewport={"width": DESK, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page, _ = open_page(context, report)
    contrasts = page.evaluate(Path(__file__).parents[1].joinpath("contrasts.js").read_text(encoding="utf-8"), KEY_TEXTS)
    assert {selector: ratio for selector, ratio in contrasts.items() if not ratio >= 4.5} == {}
    assert (
        page.evaluate("getComputedStyle(document.body).backgroundColor")
        == {"light": "rgb(246, 247, 249)", "dark": "rgb(20, 24, 29)"}[scheme]
    )
    context.close()


KEY_TEXTS = [
    ".verdict p", ".number b", ".number .soft", ".notes li b", ".notes li .soft", ".facts dt", "nav a", "figcaption",
    ".legend button", ".choices [aria-pressed=true]", "#confusion-truth tbody td", "#errors-border td", ".sortable td.value",
]  # fmt: skip


def test_curves_show_values_and_series_can_be_switched_off(page: Page) -> None:
    chart = page.locator("#chart-loss")
    chart.locator("svg").last.hover(position={"x": 60, "y": 100})
    assert chart.locator(".tip").inner_text().split() == ["epoch", "1", "train", "1", "val", "1.2"]
    chart.get_by_role("button", name="train").click()
    assert not chart.locator(".series").first.is_visible() and chart.locator(".series").last.is_visible()
    chart.locator(".plot").focus()
    page.keyboard.press("End")
    assert chart.locator(".tip").inner_text().split() == ["epoch", "6", "val", "0.2833"]
    page.keyboard.press("ArrowLeft")
    assert chart.locator("[aria-live]").inner_text() == "epoch 5: val 0.32"
    page.keyboard.press("Escape")
    assert not chart.locator(".tip").is_visible()


def test_curves_answer_to_touch(browser: Browser, report: Path) -> None:
    context = browser.new_context(viewport={"width": PHONE, "height": 800}, has_touch=True)
    page, wrong = open_page(context, report)
    page.locator("#chart-iou svg").last.tap()
    assert page.locator("#chart-iou .tip").is_visible() and wrong == []
    context.close()


def test_confusion_matrix_switches_and_shows_counts(page: Page) -> None:
    truth, prediction = page.locator("#confusion-truth"), page.locator("#confusion-prediction")
    assert truth.is_visible() and not prediction.is_visible()
    page.get_by_role("button", name="by prediction (precision)").click()
    assert prediction.is_visible() and not truth.is_visible()
    prediction.locator("tbody td").nth(1).hover()
    assert prediction.locator(".detail").inner_text().startswith("road predicted where sky & sea is: 50 pixels")
    prediction.locator("tbody td").first.focus()
    page.keyboard.press("ArrowDown")
    assert prediction.locator(".detail").inner_text().startswith("sky & sea predicted where road is: 50 pixels")


def test_classes_are_sorted_by_a_heading(page: Page) -> None:
    first = page.locator(".sortable tbody tr th").first
    assert first.inner_text() == "sky & sea"
    page.locator(".sortable").get_by_role("button", name="Dice", exact=True).focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert first.inner_text() == "class 7"


def test_class_of_a_threshold_is_chosen_from_a_list(page: Page) -> None:
    page.locator("#calibration .choices select").select_option("road")
    assert page.locator("#chart-threshold-1").is_visible() and not page.locator("#chart-threshold-0").is_visible()


def read_canvas(page: Page, kind: str) -> str:
    """Read what a canvas of the viewer shows."""
    return str(page.evaluate("(kind) => document.querySelector(`[data-kind=${kind}] canvas`).toDataURL()", kind))


def wait_for(page: Page, name: str) -> None:
    page.wait_for_selector(f'#viewer[data-shown="{name}"]')


def test_gallery_opens_by_click_and_closes_by_escape(page: Page) -> None:
    example = page.locator(".example").first
    example.click()
    wait_for(page, "im1")
    assert page.locator("#viewer h2").inner_text() == "im1"
    assert len({read_canvas(page, kind) for kind in ("image", "truth", "prediction", "errors")}) == 4
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()
    assert example.evaluate("(example) => example === document.activeElement")


def test_gallery_works_by_keyboard(page: Page) -> None:
    page.locator(".example").nth(1).focus()
    page.keyboard.press("Enter")
    wait_for(page, "im2")
    before = read_canvas(page, "image")
    page.keyboard.press("ArrowRight")
    wait_for(page, "im20")
    assert read_canvas(page, "image") != before
    page.keyboard.press("ArrowLeft")
    wait_for(page, "im2")
    assert read_canvas(page, "image") == before
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.dataset.name") == "im2"


def test_classes_of_the_viewer_can_be_hidden(page: Page) -> None:
    page.locator(".example").first.click()
    wait_for(page, "im1")
    before = {kind: read_canvas(page, kind) for kind in ("image", "truth", "prediction", "errors")}
    box = page.locator("#viewer").get_by_label("road")
    box.focus()
    page.keyboard.press("Space")
    changed = {kind for kind in before if read_canvas(page, kind) != before[kind]}
    assert changed >= {"truth", "prediction"} and "image" not in changed
    box.check()
    assert {kind: read_canvas(page, kind) for kind in before} == before
    page.locator("#viewer select").select_option("prediction")
    assert read_canvas(page, "errors") != before["errors"]


def test_viewer_paints_the_labels_of_the_files(page: Page) -> None:
    """Truth at full opacity: each pixel has its class's colour, and void shows the image."""
    page.locator(".example").first.click()
    wait_for(page, "im1")
    page.locator("#viewer .opacity").fill("100")
    places = """(kind) => {
      const copy = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
      copy.drawImage(document.querySelector(`[data-kind=${kind}] canvas`), 0, 0);
      const pixel = (y) => [...copy.getImageData(16, y, 1, 1).data];
      return [pixel(2), pixel(16)];
    }"""
    (void, _), (image, _) = page.evaluate(places, "truth"), page.evaluate(places, "image")
    assert void == image
    colours = page.evaluate("[...document.querySelectorAll('#viewer .classes input')].map((box) => box.dataset.colour)")
    assert ",".join(map(str, page.evaluate(places, "truth")[1][:3])) in colours


def test_plots_of_dvc_show_without_a_network(browser: Browser, tmp_path: Path) -> None:
    """The template of .dvc/config needs nothing but files of the repository."""
    from dvc_render import VegaRenderer, render_html

    (tmp_path / ".dvc").symlink_to(ROOT / ".dvc", target_is_directory=True)
    points = [{"epoch": str(index), "loss": str(1 / index), "rev": rev} for rev in ("a", "b") for index in (1, 2, 3)]
    renderer = VegaRenderer(points, "loss", x="epoch", y="loss", template="linear")
    path = tmp_path / "dvc_plots/index.html"
    render_html([renderer], path, html_template=ROOT / ".dvc/plots/page.html")
    context = browser.new_context(offline=True)
    page, wrong = open_page(context, path)
    page.wait_for_selector(".vega-embed canvas, .vega-embed svg")
    assert [one for one in wrong if not one.startswith("warning") and not one.startswith("file:")] == []
    context.close()
