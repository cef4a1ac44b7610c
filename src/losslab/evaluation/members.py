"""Members of an ensemble: trained nets, the images that each was trained on, and whether they can be scored together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from losslab import models
from losslab.errors import InputError
from losslab.io.files import iterate_csv
from losslab.models.registry import find_arch

AGREED = ("labels", "classes", "num_classes", "size", "fit", "bands", "ignore_index", "precision")
"""Fields of model.json that must be the same for all members."""
KIND = ("arch", "arch_options", "encoder")
"""Fields of model.json that must be the same for nets whose weights are averaged."""


@dataclass(frozen=True)
class Member:
    """A trained net of an ensemble."""

    name: str
    net: nn.Module
    description: dict[str, Any]
    """Content of its model.json."""
    splits: Mapping[str, str]
    """Image → split that it was in when the net was trained."""

    @property
    def kind(self) -> dict[str, Any]:
        """What decides the tensors of the net."""
        return {key: self.description.get(key, {} if key == "arch_options" else None) for key in KIND}

    def has_trained_on(self, image: str) -> bool:
        return self.splits.get(image) == "train"


def load_member(name: str, folder: Path) -> Member:
    """Load a member from a folder with model.safetensors, model.json and the index.csv of its prepared data."""
    net, description = models.load(folder)
    return Member(name, net, description, {row["image"]: row["split"] for row in iterate_csv(folder / "index.csv")})


def check_members(members: Sequence[Member], dataset: str) -> None:
    """Raise InputError unless members were trained for the same masks: dataset, classes, bands, size and more."""
    first = members[0]
    for member in members:
        if (other := member.description["run"]["dataset"]) != dataset:
            raise InputError(f"evaluate.ensemble: {member.name} was trained on {other}, but dataset is {dataset}")
        arch = member.description["arch"]
        if arch != first.description["arch"] and find_arch(arch).is_plugin:
            raise InputError(
                f"evaluate.ensemble: {member.name} has arch {arch} of plugins/, whose code DVC sees for the first member alone, "
                f"{first.name}; name {member.name} first, or train it with an arch of losslab"
            )
        for key in AGREED:
            one, own = first.description.get(key), member.description.get(key)
            if one != own:
                raise InputError(
                    f"evaluate.ensemble: {first.name} has {key} {_shorten(one)}, {member.name} {_shorten(own)}; members must have "
                    "the same classes, bands, size, fit and precision"
                )


def check_unseen(members: Sequence[Member], test: Iterable[str]) -> None:
    """Raise InputError if a member was trained on one of these test images, or its epoch was chosen by one."""
    images = list(test)
    for member in members:
        for split, saw in (("train", "was trained on"), ("val", "was chosen, among its epochs, by")):
            if seen := [image for image in images if member.splits.get(image) == split]:
                raise InputError(
                    f"evaluate.ensemble: {member.name} {saw} {len(seen)} of the {len(images)} test images, such as {seen[0]}; "
                    "members must share their test images, as with prepare.split.method crossval, or official with a test list"
                )


def find_start(members: Sequence[Member]) -> str:
    """Find what the members' nets had in common before they were trained: `all` weights, the `encoder`'s, or `none`."""
    runs = [member.description["run"] for member in members]
    weights = {
        (run["encoder_weights"], member.description.get("encoder_weights_sha256"))
        for run, member in zip(runs, members, strict=True)
    }
    if len(weights) > 1:
        return "none"
    if len({run["seed"] for run in runs}) == 1:
        return "all"
    return "none" if runs[0]["encoder_weights"] is None else "encoder"


def _shorten(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
