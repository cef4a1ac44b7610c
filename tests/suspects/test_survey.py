"""The ranking of all masks, and what is said of its worth."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from losslab.data.loading.arrays import PreparedData
from losslab.suspects.regions import SuspectRegion
from losslab.suspects.scores import MaskScores
from losslab.suspects.survey import SuspectImage, explain_image, find_warnings, place_region, rank_images, survey_masks
from tests.suspects.made_up import build_fold


def build_image(prepared: PreparedData, name: str, doubt: float) -> SuspectImage:
    scores = MaskScores(doubt=doubt, softmin=0.5, dice=0.5)
    return SuspectImage(name=name, fold=build_fold(prepared), index=0, scores=scores, regions=[])


def test_contradicted_mask_comes_first_and_says_where(tiny_data: PreparedData) -> None:
    steps: list[int] = []
    survey = survey_masks("tiny", [build_fold(tiny_data, shifted=(1,))], lambda: steps.append(1))
    assert survey.images[0].name == tiny_data.names("test")[1] and len(survey.images) == len(steps) == 3
    assert "lesion in the mask, skin by the net" in explain_image(survey.images[0], survey.classes)
    assert explain_image(survey.images[1], survey.classes) == "no region is contradicted"


def test_images_stand_out_of_the_others_and_those_without_a_score_come_last(tiny_data: PreparedData) -> None:
    doubts = [*np.linspace(0.01, 0.03, 20).tolist(), 0.9, float("nan"), 0.04]
    ranked = rank_images([build_image(tiny_data, f"i{number:02d}", each) for number, each in enumerate(doubts)])
    assert [image.name for image in ranked[:2]] == ["i20", "i22"] and ranked[-1].name == "i21"
    assert [image.name for image in ranked if image.stands_out] == ["i20"]


def test_little_doubt_never_stands_out(tiny_data: PreparedData) -> None:
    doubts = [0.0] * 9 + [0.04]
    assert not any(each.stands_out for each in rank_images([build_image(tiny_data, str(d), d) for d in doubts]))


def test_all_alike_none_stands_out(tiny_data: PreparedData) -> None:
    assert not any(image.stands_out for image in rank_images([build_image(tiny_data, str(n), 0.1) for n in range(5)]))


@pytest.mark.parametrize(
    ("mious", "said"),
    [
        ((0.8, 0.75), None),
        (
            (0.3, None),
            "All nets are poor (mIoU on images they never saw: fold 0 0.300, fold 1 –), so the ranking means little",
        ),
        ((0.8, 0.3), "What is said of images of fold 1 means little"),
        ((0.9, 0.7), "The nets differ much in quality"),
    ],
)
def test_poor_and_unequal_nets_are_named(
    tiny_data: PreparedData, mious: tuple[float | None, ...], said: str | None
) -> None:
    folds = [build_fold(tiny_data, number=number, miou=miou) for number, miou in enumerate(mious)]
    warnings = find_warnings(folds, [build_image(tiny_data, str(number), 0.1) for number in range(60)])
    assert [warning.startswith(said or "") for warning in warnings] == ([True] if said else [])


def test_few_images_void_and_unseen_classes_are_named(tiny_data: PreparedData, tmp_path: Path) -> None:
    shutil.copytree(tiny_data.folder, tmp_path / "data")
    data = tiny_data.describe()
    data["pixels"]["train"][2] = 0
    (tmp_path / "data/dataset.json").write_text(json.dumps(data), encoding="utf-8")
    fold = build_fold(PreparedData(tmp_path / "data"))
    warnings = find_warnings([fold], [build_image(tiny_data, "a", 0.1), build_image(tiny_data, "b", float("nan"))])
    assert [warning.split(":")[0] for warning in warnings] == [
        "The net of fold 0 never saw hair in training, so it contradicts all masks of it",
        "There are 2 images only",
        "Void everywhere, so not ranked",
    ]


def test_boxes_are_in_pixels_of_the_file() -> None:
    region = SuspectRegion(given=0, claimed=1, pixels=8, top=20, left=16, height=2, width=4, confidence=0.9)
    stretched = place_region(region, (128, 256), 64, "stretch")
    assert (stretched.top, stretched.left, stretched.height, stretched.width) == (40, 64, 4, 16)
    boxed = place_region(region, (128, 256), 64, "letterbox")
    assert (boxed.top, boxed.left, boxed.height, boxed.width, boxed.pixels) == (16, 64, 8, 16, 128)
    assert place_region(region, (500, 500), 64, "tile") == replace(region)
