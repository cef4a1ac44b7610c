"""Tests of the folder of a comparison: what must be in which file, for rich and for poor comparisons."""

import html
import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from losslab.comparison.result import ComparedMetric, Comparison
from losslab.io.files import read_csv, read_json
from losslab.reporting.comparison import write_comparison
from losslab.reporting.comparison.critical_difference import find_groups
from losslab.reporting.comparison.csv_tables import build_cell_rows, build_run_rows
from losslab.reporting.comparison.labels import place_labels
from losslab.reporting.comparison.markdown import build_markdown, escape_markdown
from losslab.reporting.comparison.page import build_comparison_page
from losslab.reporting.comparison.pareto import COSTS, find_candidates
from losslab.reporting.comparison.plain_data import convert_to_plain
from losslab.reporting.comparison.published import build_published_table
from tests.reporting.comparison.factory import HD95, MadeUpComparison, make_comparison

DECIDED = MadeUpComparison(gains={"dice": 0.06, "focal": -0.02, "unet": 0.05}, side=0, epochs=2)
TOGETHER = MadeUpComparison(gains={"unet": 0.1}, side=0, epochs=2)
FIGURES = {"scores.png", "forest.png", "heat.png", "pareto.png", "curves.png", "ranks.png"}
EVIL = "<b>x</b>|*y*"


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    """Write, once, a comparison with all that there can be."""
    folder = tmp_path_factory.mktemp("comparison")
    comparison = make_comparison(folder, MadeUpComparison(ranked=True))
    write_comparison(comparison, folder / "demo")
    return comparison, folder / "demo"


class Texts(HTMLParser):
    """Bold texts, links and ids of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.bold: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self._open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._open.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href")]
        self.ids += [value or "" for name, value in attributes if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "b" and "±" in data:
            self.bold.append(data)


def find_cells(page: str) -> str:
    """Find the section with the table of cells."""
    return page.split('<section id="cells">')[1].split("</section>")[0]


def make_small(folder: Path, **changes: Any) -> Comparison:
    return make_comparison(folder, MadeUpComparison(**({"side": 0, "epochs": 2} | changes)))


def test_folder_has_page_markdown_tables_json_and_figures(rich: tuple[Comparison, Path]) -> None:
    _, folder = rich
    assert {path.name for path in folder.iterdir()} == {
        "index.html", "comparison.md", "comparison.csv", "cells.csv", "comparison.json", "figures",
    }  # fmt: skip
    assert {path.name for path in (folder / "figures").iterdir()} == FIGURES


def test_no_file_names_a_place_on_this_machine_or_on_the_net(rich: tuple[Comparison, Path]) -> None:
    comparison, folder = rich
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".png":
            content = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
            assert str(comparison.gallery[0].photo.parent) not in content, path
            assert "http" not in content.replace("http-equiv", ""), path
    links = Texts((folder / "index.html").read_text(encoding="utf-8")).links
    assert links and all(link.startswith(("data:", "#")) for link in links)


def test_a_second_time_gives_the_same_bytes_and_an_error_leaves_the_old_folder(
    rich: tuple[Comparison, Path], tmp_path: Path
) -> None:
    comparison, folder = rich
    write_comparison(comparison, tmp_path / "again")
    old = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert old == {name: (tmp_path / "again" / name).read_bytes() for name in old}
    lost = replace(comparison.gallery[0], photo=tmp_path / "none.png")
    with pytest.raises(FileNotFoundError):
        write_comparison(replace(comparison, gallery=[lost]), tmp_path / "again")
    assert (tmp_path / "again/index.html").read_bytes() == old[Path("index.html")]
    assert not (tmp_path / ".again.partial").exists()


def test_all_that_is_said_is_on_the_page_and_in_markdown(rich: tuple[Comparison, Path]) -> None:
    comparison, folder = rich
    page = html.unescape((folder / "index.html").read_text(encoding="utf-8"))
    markdown = (folder / "comparison.md").read_text(encoding="utf-8")
    published = comparison.published
    assert published is not None
    said = [
        *(
            comparison.title,
            comparison.question,
            *comparison.headline,
            *comparison.changes,
            published.source,
            published.how,
        ),
        *comparison.warnings,
        *comparison.sentences,
        *(sentence for factor in comparison.factors for sentence in factor.sentences),
        *(sentence for breakdown in comparison.breakdowns for sentence in breakdown.sentences),
        *comparison.facts.values(),
    ]
    for sentence in said:
        assert sentence in page, sentence
        assert escape_markdown(sentence) in markdown, sentence


def test_ids_of_the_page_are_unique(rich: tuple[Comparison, Path]) -> None:
    ids = Texts((rich[1] / "index.html").read_text(encoding="utf-8")).ids
    assert len(ids) == len(set(ids)) > 20


def test_only_a_distinguishable_best_is_bold(tmp_path: Path) -> None:
    decided, together = make_comparison(tmp_path, DECIDED), make_comparison(tmp_path, TOGETHER)
    assert decided.verdict is not None and decided.verdict.is_decided
    best = decided.verdict.standings[0]
    assert Texts(find_cells(build_comparison_page(decided))).bold == [f"{best.mean:.3f} ± {best.sd:.3f}"]
    assert f"**{best.mean:.3f} ± {best.sd:.3f}**" in build_markdown(decided)
    assert together.verdict is not None and len(together.verdict.best) == 3
    table = find_cells(build_comparison_page(together))
    assert Texts(table).bold == [] and table.count("†</sup>") == 3
    assert "cannot be told apart from the best" in table
    rows = [line for line in build_markdown(together).splitlines() if re.match(r"\| \d+ \|", line)]
    assert sum("†" in row for row in rows) == 3 and not any("**" in row for row in rows)


def test_equivalent_pair_has_its_own_sign_and_shape(tmp_path: Path) -> None:
    comparison = make_small(
        tmp_path, axes={"loss": ["dice", "focal", "none"]}, seeds=8, seed_sd=1e-4, gains={"none": -0.1}
    )
    assert comparison.verdict is not None
    first, *worse = comparison.verdict.pairs
    assert first.is_equivalent and not first.is_real and all(pair.is_real for pair in worse)
    page, markdown = build_comparison_page(comparison), build_markdown(comparison)
    cells = find_cells(page)
    assert cells.count("≈</sup>") == 2 and "≈ equivalent to the best mean within 1 point." in cells and "†" not in cells
    forest = page.split('id="forest-cells"')[1].split("</figure>")[0]
    assert (
        forest.count('class="square"') == 1 and forest.count('class="band"') == 3 and forest.count('class="equal"') == 1
    )
    assert "Square: equivalent within 1 point." in forest and "The band is 1 point either way." in forest
    assert markdown.count(" ≈ |") == 2 and "are equivalent within 1 point" in markdown
    assert [row["mark"] for row in build_cell_rows(comparison)] == ["equivalent", "equivalent", ""]
    pairs = convert_to_plain(comparison)["verdict"]["pairs"]
    assert [pair["is_equivalent"] for pair in pairs] == [True, False, False]
    assert all(pair["is_decided"] and pair["units"] == 40 and pair["seeds"] == 8 for pair in pairs)


def test_small_and_real_difference_is_square_too(tmp_path: Path) -> None:
    comparison = make_small(
        tmp_path, axes={"loss": ["dice", "focal"]}, seeds=8, seed_sd=1e-4, gains={"dice": 0.004}, images=400
    )
    assert (
        comparison.verdict is not None and comparison.verdict.is_decided and comparison.verdict.pairs[0].is_equivalent
    )
    page = build_comparison_page(comparison)
    assert "which is less than 1 point." in page and "though told apart where blue" in page
    assert Texts(find_cells(page)).bold != [] and find_cells(page).count("≈</sup>") == 1


def test_page_has_verdict_then_forest_then_table(rich: tuple[Comparison, Path]) -> None:
    comparison, page = rich[0], (rich[1] / "index.html").read_text(encoding="utf-8")
    parts = [
        *comparison.headline,
        comparison.basis,
        *comparison.changes,
        'id="forest-cells"',
        'id="cells"',
        'id="axes"',
    ]
    places = [page.index(part) for part in parts]
    assert places == sorted(places)
    markdown = (rich[1] / "comparison.md").read_text(encoding="utf-8")
    assert all(part in markdown for part in (comparison.basis, *comparison.changes, "What would change this verdict"))


def test_best_of_a_class_is_bold_only_where_it_was_judged(tmp_path: Path) -> None:
    comparison = make_comparison(tmp_path, DECIDED)
    classes, strata = (
        part.split("</figure>")[0]
        for part in build_comparison_page(comparison).split('<figure class="classes" id="breakdown-')[1:]
    )
    assert len(Texts(classes).bold) == 1 and Texts(strata).bold == []
    assert "so no difference can be tested" in strata and ">–</td>" in strata


def test_one_seed_concludes_nothing(tmp_path: Path) -> None:
    page = build_comparison_page(make_small(tmp_path, seeds=1))
    table = find_cells(page)
    assert Texts(page.split('<section id="grid">')[0]).bold == [] and "†" not in table and "Nothing is bold" in table
    assert 'class="nets"' in page and "fewer than three seeds" in table and "another seed may reverse them" in page


def test_two_seeds_claim_nothing(tmp_path: Path) -> None:
    page = build_comparison_page(make_small(tmp_path, seeds=2, axes={"loss": ["dice", "focal"]}))
    assert "†" not in find_cells(page) and Texts(find_cells(page)).bold == []
    assert '<tr class="few">' in page and '<tr class="real">' not in page and "no difference is claimed" in page


def test_one_cell_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    comparison = make_small(tmp_path, axes={"loss": ["dice"]})
    comparison = replace(comparison, verdict=None, sentences=[])
    page = build_comparison_page(comparison)
    assert "there is only one cell" in page and "there is only one cell" in build_markdown(comparison)
    for section in ("differences", "grid", "cost"):
        assert f'id="{section}"' not in page


def test_one_axis_has_no_heat_map(tmp_path: Path) -> None:
    page = build_comparison_page(make_small(tmp_path, axes={"loss": ["dice", "focal"]}))
    assert 'id="grid"' not in page and 'id="chart-val_miou-0-0"' in page and "By loss" not in page


def test_three_axes_have_a_heat_map_for_each_two(tmp_path: Path) -> None:
    axes = {"loss": ["dice", "focal"], "net": ["unet", "segnet"], "recipe": ["plain", "augmented"]}
    page = build_comparison_page(make_small(tmp_path, axes=axes))
    assert re.findall(r'<figure class="heat" id="(.*?)"', page) == ["heat-0", "heat-1", "heat-2"]
    assert "Each number is the mean over recipe." in page and "mean of 2 cells, 6 runs" in page


def test_score_without_single_images_is_not_judged_and_the_page_says_why(tmp_path: Path) -> None:
    ece = ComparedMetric(
        key="ece",
        title="ECE",
        higher_is_better=False,
        point=0.01,
        unit="points",
        has_images=False,
        about="over all",
        why_not="single images have no ECE",
    )
    comparison = make_small(tmp_path, metric=ece, judged=False, known=False)
    page = build_comparison_page(comparison)
    assert "single images have no ECE" in page and "single images have no ECE" in build_markdown(comparison)
    assert 'id="differences"' not in page and Texts(find_cells(page)).bold == []
    assert "time per image is known for no cell" in page and find_cells(page).count(">–</td>") == 6 * 4


def test_where_less_is_better_the_page_says_so_in_pixels(tmp_path: Path) -> None:
    comparison = make_small(tmp_path, metric=HD95, axes={"loss": ["dice", "focal"]}, gains={"dice": 0.1})
    page = build_comparison_page(comparison)
    assert comparison.cells[0].name == "dice" and "lower is better" in page
    assert "pixels [95 % CI]" in page and "By how many pixels the first is better" in page
    front = [one.cell.name for one in find_candidates(comparison, COSTS[2]) if one.on_front]
    assert front == ["dice"]


def test_numbers_that_are_not_there_are_dashes(tmp_path: Path) -> None:
    comparison = make_small(tmp_path)
    cells = [
        replace(cell, runs=[replace(run, score=float("nan"), history=[]) for run in cell.runs])
        for cell in comparison.cells
    ]
    empty = replace(comparison, cells=cells, verdict=None, factors=[], sentences=[])
    page = build_comparison_page(empty)
    assert "nan" not in re.sub(r"<script>.*</script>", "", page, flags=re.DOTALL).lower()
    assert 'id="curves"' not in page
    write_comparison(empty, tmp_path / "empty")
    assert read_csv(tmp_path / "empty/comparison.csv")[0]["score"] == ""


def test_names_are_text(tmp_path: Path) -> None:
    comparison = make_small(tmp_path, axes={"loss": [EVIL, "dice"], "net": ["unet", "segnet"]}, warnings=[EVIL])
    page, markdown = build_comparison_page(comparison), build_markdown(comparison)
    assert EVIL not in page and html.escape(EVIL) in page
    assert EVIL not in markdown and r"&lt;b>x&lt;/b>\|\*y\*" in markdown
    assert escape_markdown("[a](b) _c_ d_e p < 0.1 &amp;") == r"[a\](b) \_c\_ d_e p < 0.1 &amp;amp;"
    assert escape_markdown("a\n\x1b[2J\u202e http://me:pw@h/") == r"a \\u001b[2J\\u202e http://\*\*\*@h/"


def test_markdown_tables_have_as_many_cells_in_each_row(rich: tuple[Comparison, Path]) -> None:
    for block in (rich[1] / "comparison.md").read_text(encoding="utf-8").split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("| ")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) <= 1, block


def test_json_has_all_and_nothing_that_is_no_number(rich: tuple[Comparison, Path]) -> None:
    comparison, folder = rich
    content = read_json(folder / "comparison.json")
    assert content == json.loads(json.dumps(convert_to_plain(comparison)))
    assert set(content) == {field.name for field in fields(Comparison)}
    assert content["breakdowns"][1]["rows"][0][1][1]["mean"] is None
    assert content["cells"][0]["runs"][0]["history"]["epoch"] == [1, 2, 3, 4, 5, 6]
    assert comparison.verdict is not None
    assert [pair["p"] for pair in content["verdict"]["pairs"]] == [pair.p for pair in comparison.verdict.pairs]
    assert content["verdict"]["is_decided"] is comparison.verdict.is_decided
    assert not any(is_dataclass(value) for value in list_leaves(content))


def list_leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for part in value.values():
            yield from list_leaves(part)
    elif isinstance(value, list):
        for part in value:
            yield from list_leaves(part)
    else:
        yield value


def test_tables_have_a_row_for_each_run_and_each_cell(tmp_path: Path) -> None:
    comparison = make_small(tmp_path, axes={"loss": ["dice", "focal"], "mean": ["a", "b"]})
    runs, cells = build_run_rows(comparison), build_cell_rows(comparison)
    assert len(runs) == 12 and len(cells) == 4
    assert {key: runs[0][key] for key in ("cell", "seed", "metric", "score")} == {
        "cell": comparison.cells[0].name,
        "seed": 0,
        "metric": "miou",
        "score": comparison.cells[0].runs[0].score,
    }
    assert [row["rank"] for row in cells] == [1, 2, 3, 4]
    assert cells[0]["axis mean"] in ("a", "b") and isinstance(cells[0]["mean"], float)


def test_published_numbers_stand_beside_their_cell(tmp_path: Path) -> None:
    comparison = make_small(tmp_path)
    section = build_comparison_page(comparison).split('<section id="published">')[1].split("</section>")[0]
    ours = next(cell for cell in comparison.cells if cell.name == "cross_entropy, unet")
    mean = sum(run.score for run in ours.runs) / 3
    first = section.split("<tbody>")[1].split("</tr>")[0]
    assert ">cross_entropy<" in first and ">0.71<" in first and f">{mean:.3f} ±" in first
    assert "were measured differently" in section


def test_published_numbers_have_their_doubt_where_the_images_are_known(tmp_path: Path) -> None:
    comparison = make_small(tmp_path)
    assert comparison.published is not None
    rows = [
        row.model_copy(update={"values": {"iou": value, "loss": 0.3}})
        for row, value in zip(comparison.published.rows, (0.71, 0.70), strict=True)
    ]
    plain = comparison.published.model_copy(update={"rows": rows})
    known, certain = (
        replace(comparison, published=plain.model_copy(update={"images": images})) for images in (50, 5_000_000)
    )
    assert "In brackets" not in build_comparison_page(replace(comparison, published=plain))
    for text in (build_comparison_page(known), build_markdown(known)):
        assert re.search(r"0\.7 \([34]\d\.\d %\)", text) and "0.71 (" not in text and "0.3 (" not in text
        assert "50 images, 1 seed (assumed)" in text and "on lesions data" in text
    rows = [row.model_copy(update={"sd": {"iou": 0.01}}) for row in rows]
    stated = replace(comparison, published=plain.model_copy(update={"images": 50, "rows": rows}))
    doubts = [table.rows[1].values[0] for table in map(build_published_table, (known, certain, stated)) if table]
    assert len(doubts) == 3 and doubts[0] not in doubts[1:]


def test_pareto_front_has_no_cell_that_another_beats_in_both(tmp_path: Path) -> None:
    comparison = make_small(tmp_path)
    candidates = find_candidates(comparison, COSTS[0])
    front = [one for one in candidates if one.on_front]
    assert [one.cell.name for one in front] == ["dice, simple_segnet", "dice, unet"]


def test_labels_lie_neither_on_each_other_nor_on_points() -> None:
    bounds = (0.0, 0.0, 480.0, 300.0)
    first, second = place_labels([(240.0, 150.0), (241.0, 152.0)], ["one name", "other name"], 12, bounds)
    assert first is not None and second is not None
    assert abs(first.y - second.y) >= 12 or first.anchor != second.anchor
    assert place_labels([(5.0, 5.0)], ["a name that is much too long for this"], 12, (0.0, 0.0, 60.0, 60.0)) == [None]


def test_bars_of_the_critical_difference_are_the_longest() -> None:
    assert find_groups([1.0, 1.5, 2.4, 4.0], 1.0) == [(0, 1), (1, 2)]
    assert find_groups([4.0, 1.0, 1.2, 1.4], 1.0) == [(0, 2)]
    assert find_groups([1.0, 3.0], 1.0) == []


def test_page_stays_small_with_large_pictures(tmp_path: Path) -> None:
    page = build_comparison_page(make_comparison(tmp_path, MadeUpComparison(side=700, epochs=1)))
    assert len(page) < 5_000_000
    assert max(int(width) for width in re.findall(r'width="(\d+)"', page)) <= 448


def test_page_and_markdown_say_how_many_groups_there_are(tmp_path: Path) -> None:
    alone, grouped = make_small(tmp_path), make_small(tmp_path, groups=8)
    for built in (build_comparison_page, build_markdown):
        assert "mIoU on 40 test images of synthetic_lesions" in built(alone)
        assert "mIoU on 40 test images in 8 groups of synthetic_lesions" in built(grouped)
    page = build_comparison_page(grouped)
    assert "the 40 test images in 8 groups count as 8 independent units" in page
    assert "independent units" not in build_comparison_page(alone)
    assert convert_to_plain(grouped)["units"] == 8 and convert_to_plain(alone)["units"] == 40


def test_every_number_of_more_seeds_comes_with_the_advice_to_fix_it_first(tmp_path: Path) -> None:
    comparison = make_small(tmp_path, gains={}, seed_sd=0.02)
    for text in (html.unescape(build_comparison_page(comparison)), build_markdown(comparison)):
        assert 0 < text.count("more seeds per cell") == text.count("(add them with")
