"""An ensemble: which of its members predict an image, as one net."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from losslab.cards import SPLITS, SplitName
from losslab.data.loading.arrays import PreparedData
from losslab.errors import InputError
from losslab.evaluation.members import Member, check_members, check_unseen, find_start, load_member
from losslab.evaluation.regrouped import RegroupedData
from losslab.evaluation.soup import build_soup
from losslab.inference.ensemble import EnsembleNet
from losslab.inference.predictor import Predictor
from losslab.params import EnsembleParams, EvaluateParams


class Ensemble:
    """Trained nets that are scored as one on images that they were not trained on.

    A test image is predicted by all members. So is a training image, of which a sample is scored. An image of val is
    predicted by those that were not trained on it (out of fold), and val is every image outside test of which there is
    one: with folds all of them, with seeds of one split its val images.

    Raises InputError if members do not fit together, one knows a test image, or val is left without an image.
    """

    def __init__(
        self, members: Sequence[Member], settings: EvaluateParams, prepared: PreparedData, dataset: str
    ) -> None:
        assert settings.ensemble is not None
        self.members, self.prepared, self.tta = members, prepared, settings.tta
        self.params: EnsembleParams = settings.ensemble
        check_members(members, dataset)
        check_unseen(members, prepared.names("test"))
        self.predictors: dict[tuple[int, ...], Predictor] = {}
        if not self.judges:
            raise InputError(
                "evaluate.ensemble: every image outside test is one that all members were trained on, so none is left for val"
            )

    @cached_property
    def judges(self) -> dict[str, tuple[int, ...]]:
        """Image outside test → numbers of the members that were not trained on it; without images that have none."""
        images = [image for split in SPLITS if split != "test" for image in self.prepared.names(split)]
        found = {
            image: tuple(number for number, member in enumerate(self.members) if not member.has_trained_on(image))
            for image in images
        }
        return {image: numbers for image, numbers in found.items() if numbers}

    @property
    def data(self) -> PreparedData:
        """The prepared data with the images of val that this ensemble has, those with the same judges together."""
        order = sorted(self.judges, key=lambda image: (self.judges[image], image))
        return RegroupedData(self.prepared.folder, {"val": order})

    def pick(self, split: SplitName, image: str) -> Predictor:
        """Return what predicts an image of a split."""
        return self._build(self.judges[image] if split == "val" else tuple(range(len(self.members))))

    def describe(self) -> dict[str, Any]:
        """Describe the members and how val was predicted, for evaluation.json."""
        counts = {len(numbers) for numbers in self.judges.values()}
        members = [
            {"run": member.name, **member.kind, "parameters": member.description["parameters"]}
            for member in self.members
        ]
        return {
            "members": members,
            "common_start": find_start(self.members),
            "val": {"images": len(self.judges), "members": [min(counts), max(counts)]},
        }

    def warn(self) -> str | None:
        """Say why averaged weights may be worth nothing; None if there is no known reason."""
        if self.params.average == "probabilities" or (start := find_start(self.members)) == "all":
            return None
        what = "the decoders" if start == "encoder" else "the nets"
        return (
            f"{what} of the members began with different random weights: the mean of such weights is mostly no net that "
            "segments (soups are of nets that share their start); the scores tell"
        )

    def _build(self, numbers: tuple[int, ...]) -> Predictor:
        if numbers not in self.predictors:
            net, description = combine([self.members[number] for number in numbers], self.params.average, self.prepared)
            self.predictors[numbers] = Predictor(net, description, self.tta)
        return self.predictors[numbers]


def combine(members: Sequence[Member], average: str, prepared: PreparedData) -> tuple[nn.Module, dict[str, Any]]:
    """Make one net of members, and return it with its description; the prepared data are for a mean of weights alone."""
    if average == "weights":
        return build_soup(members, prepared)
    if len(members) == 1:
        return members[0].net, members[0].description
    descriptions = [member.description for member in members]
    return EnsembleNet([member.net for member in members], descriptions), descriptions[0]


def build_ensemble(
    folders: Mapping[str, Path], settings: EvaluateParams, prepared: PreparedData, dataset: str
) -> Ensemble | None:
    """Load the ensemble of the params from the folder of each member, by its name; None without one."""
    if settings.ensemble is None:
        return None
    return Ensemble([load_member(name, folder) for name, folder in folders.items()], settings, prepared, dataset)
