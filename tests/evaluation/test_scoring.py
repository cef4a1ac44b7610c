from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from losslab.data.loading.arrays import PreparedData
from losslab.errors import InputError
from losslab.evaluation import SplitResult, evaluate_split
from losslab.evaluation.scoring import choose_spread_indices
from losslab.io.files import read_csv, write_csv
from losslab.io.windows import read_whole
from tests.evaluation.conftest import Brightness


def test_predictions_are_kept_and_scored(result: SplitResult, tiny_data: PreparedData) -> None:
    truth, guess = tiny_data.masks("test"), np.where(tiny_data.images("test")[..., 0] / 255 * 2 - 1 > 0, 0, 1)
    assert result.details is not None and len(result.details.predictions) == len(guess)
    assert all(
        np.array_equal(read_whole(result.details.predictions[index]), guess[index]) for index in range(len(guess))
    )
    scores = result.pixels.compute()
    assert scores["pixel_accuracy"] == pytest.approx((guess == truth).mean())
    assert result.details.strata.compute()["borders"][..., 1].sum() == (guess != truth).sum()
    assert result.details.calibration.compute()["pixels"].sum() == truth.size


def test_batch_size_changes_nothing(result: SplitResult, tiny_data: PreparedData, description: dict[str, Any]) -> None:
    other = evaluate_split(Brightness(), description, tiny_data, "test", 1)
    assert result.details and other.details
    assert torch.equal(other.pixels.confusion, result.pixels.confusion)
    for name in ("contours", "calibration", "strata"):
        scores, expected = (getattr(details, name).compute() for details in (other.details, result.details))
        assert all(torch.equal(scores[key].nan_to_num(-1), expected[key].nan_to_num(-1)) for key in expected), name


def test_scored_images_keep_their_groups(tiny_data: PreparedData, description: dict[str, Any], tmp_path: Path) -> None:
    rows = read_csv(tiny_data.folder / "index.csv")
    for name in ("dataset.json", "train"):
        (tmp_path / name).symlink_to(tiny_data.folder / name)
    write_csv(tmp_path / "index.csv", [row | {"group": f"patient {row['index']}"} for row in rows])
    grouped = PreparedData(tmp_path)
    assert tiny_data.groups("train") is None and grouped.groups("val") == ["patient 0", "patient 1"]
    sample = evaluate_split(Brightness(), description, grouped, "train", 2, tolerances=None, max_images=2)
    assert sample.groups == ["patient 0", "patient 3"]


def test_progress_counts_every_image(tiny_data: PreparedData, description: dict[str, Any]) -> None:
    steps = list[int]()
    evaluate_split(Brightness(), description, tiny_data, "test", 2, steps.append)
    assert steps == [2, 1]


def test_a_sample_of_a_split_is_scored_by_pixels_alone(tiny_data: PreparedData, description: dict[str, Any]) -> None:
    sample = evaluate_split(Brightness(), description, tiny_data, "train", 2, tolerances=None, max_images=2)
    names = tiny_data.names("train")
    assert sample.names == [names[0], names[3]] and sample.details is None
    assert sample.pixels.compute()["support"].sum() == 2 * 64 * 64
    assert (
        choose_spread_indices(7, 3) == [0, 2, 4]
        and choose_spread_indices(2, 5) == [0, 1]
        and choose_spread_indices(3, None) == [0, 1, 2]
        and choose_spread_indices(0, 4) == []
    )


def test_augmentation_at_test_time_is_used(tiny_data: PreparedData, description: dict[str, Any]) -> None:
    class Leaning(Brightness):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) + 5 * torch.linspace(-1, 1, images.shape[-1]) * torch.tensor(
                [1, -1, 0.0]
            ).view(3, 1, 1)

    plain, flipped = (
        evaluate_split(Leaning(), description, tiny_data, "test", 2, tta=tta).pixels.confusion
        for tta in ("none", "flip")
    )
    assert not torch.equal(plain, flipped)


def test_an_error_while_scoring_is_reported(tiny_data: PreparedData, description: dict[str, Any]) -> None:
    class Gone:
        def read_masks(self, indices: Any) -> Any:
            raise InputError("gone")

    with pytest.raises(InputError, match="gone"):
        evaluate_split(Brightness(), description, tiny_data, "test", 1, targets=Gone())  # type: ignore[arg-type]


def test_scores_of_logits_that_are_not_finite_are_refused(tiny_data: PreparedData, description: dict[str, Any]) -> None:
    class Damaged(Brightness):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) * torch.nan

    with pytest.raises(InputError, match="not finite"):
        evaluate_split(Damaged(), description, tiny_data, "test", 2)


def test_model_of_other_data_is_refused(tiny_data: PreparedData, description: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"size: the model has 32, .* has 64; train again"):
        evaluate_split(Brightness(), description | {"size": 32}, tiny_data, "test", 2)
