"""The folder of a survey: a page that loads nothing, and tables."""

import csv
from dataclasses import replace
from math import nan
from pathlib import Path

from losslab.data.loading.arrays import PreparedData
from losslab.reporting.suspects.folder import describe_images, write_survey
from losslab.reporting.suspects.page import build_survey_page
from losslab.suspects.scores import MaskScores
from losslab.suspects.survey import Survey, survey_masks
from tests.suspects.made_up import build_fold


def build_survey(prepared: PreparedData, shifted: tuple[int, ...] = (1,)) -> Survey:
    return survey_masks("<tiny>", [build_fold(prepared, shifted)])


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_folder_has_page_and_tables_in_one_order(tiny_data: PreparedData, tmp_path: Path) -> None:
    survey, name = build_survey(tiny_data), tiny_data.names("test")[1]
    write_survey(survey, {name: Path("data/raw/tiny/own/masks/a.png")}, ["Do this."], tmp_path / "doubt")
    assert sorted(path.name for path in (tmp_path / "doubt").iterdir()) == ["images.csv", "index.html", "regions.csv"]
    images, regions = (read(tmp_path / f"doubt/{what}.csv") for what in ("images", "regions"))
    assert [row["rank"] for row in images] == ["1", "2", "3"] and images[0]["image"] == name
    assert images[0]["mask"] == "data/raw/tiny/own/masks/a.png" and images[1]["mask"] == ""
    assert {row["image"] for row in regions} == {name} and regions[0]["given"] in survey.classes
    sizes = [int(row["pixels"]) for row in regions]
    assert sizes == sorted(sizes, reverse=True)


def test_no_region_gives_a_table_of_headings(tiny_data: PreparedData, tmp_path: Path) -> None:
    write_survey(build_survey(tiny_data, ()), {}, [], tmp_path / "doubt")
    assert (tmp_path / "doubt/regions.csv").read_text(encoding="utf-8").startswith("rank,image,given,claimed,pixels")


def test_page_is_one_file_that_escapes_names_and_is_the_same_each_time(tiny_data: PreparedData) -> None:
    survey = build_survey(tiny_data)
    page = build_survey_page(survey, {}, ["Run <it>."])
    assert page == build_survey_page(survey, {}, ["Run <it>."])
    assert "<tiny>" not in page and "&lt;tiny&gt;" in page and "Run &lt;it&gt;." in page
    assert "http://" not in page and "https://" not in page and page.count('class="example"') == 3
    assert "There are 3 images only" in page and page.index("Before you believe") < page.index('id="masks"')


def test_image_without_a_score_is_described_without_one(tiny_data: PreparedData) -> None:
    survey = build_survey(tiny_data)
    nothing = MaskScores(doubt=nan, softmin=nan, dice=nan)
    void = replace(survey, images=[*survey.images[:2], replace(survey.images[2], scores=nothing)])
    described = describe_images(void, {})
    assert described[2]["doubt"] is None and described[2]["why"] == "void everywhere"
    assert build_survey_page(void, {}, []).count('class="example"') == 2


def test_images_are_described_with_their_regions(tiny_data: PreparedData) -> None:
    first, *rest = describe_images(build_survey(tiny_data), {})
    assert first["regions"] and not rest[0]["regions"] and first["doubt"] > rest[0]["doubt"]
