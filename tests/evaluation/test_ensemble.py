"""Ensembles: who predicts which image, what is refused, and what a soup is made of."""

import itertools
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from losslab.data.loading.arrays import PreparedData
from losslab.data.loading.batches import build_training_loader
from losslab.data.loading.crops import CropSampler
from losslab.errors import InputError
from losslab.evaluation import describe_evaluation, evaluate_splits
from losslab.evaluation.ensemble import Ensemble
from losslab.evaluation.members import Member, find_start
from losslab.evaluation.regrouped import RegroupedData
from losslab.evaluation.soup import build_soup
from losslab.inference.tensors import InputScaling
from losslab.io.windows import read_whole
from losslab.models import build_model
from losslab.models.soup import average_weights
from losslab.params import EvaluateParams
from tests.evaluation.conftest import build_description

RUN = {"dataset": "tiny", "seed": 0, "encoder_weights": None, "train": {"device": "cpu", "batch_size": 3}}


class Voter(nn.Module):
    """Gives every pixel the same probabilities."""

    def __init__(self, *probabilities: float) -> None:
        super().__init__()
        self.probabilities = probabilities

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        return torch.tensor(self.probabilities).log().view(1, -1, 1, 1).expand(len(images), -1, height, width)


def choose(average: str, count: int, **changes: Any) -> EvaluateParams:
    md5s = itertools.cycle("0123456789abcdef")
    members = [
        {"run": f"m{n}", "weights": next(md5s) * 32, "description": "d" * 32, "images": "e" * 32, "settings": {}}
        for n in range(count)
    ]
    settings = {
        "batch_size": 2,
        "resolution": "prepared",
        "tta": "none",
        "tolerances": [1],
        "metrics": {},
        "predictions": 3,
    }
    return EvaluateParams.model_validate(settings | {"ensemble": {"average": average, "members": members}} | changes)


def name_all(data: PreparedData) -> dict[str, str]:
    return {name: split for split in ("train", "val", "test") for name in data.names(split)}


def fold(data: PreparedData, number: int, folds: int = 2) -> dict[str, str]:
    """The splits of the images if those of this fold are val."""
    outside = [name for name, split in name_all(data).items() if split != "test"]
    val = {name for place, name in enumerate(outside) if place % folds == number}
    return {name: "val" if name in val else "train" for name in outside} | dict.fromkeys(data.names("test"), "test")


def make_member(data: PreparedData, name: str, net: nn.Module, splits: Mapping[str, str], **changes: Any) -> Member:
    about = {"arch": "simple_cnn", "encoder": None, "parameters": 5, "run": RUN}
    return Member(name, net, build_description(data) | about | changes, splits)


def test_test_images_are_predicted_by_all_members_and_others_by_those_that_did_not_train_on_them(
    tiny_data: PreparedData,
) -> None:
    nets: list[nn.Module] = [Voter(0.5, 0.3, 0.2), Voter(0.05, 0.35, 0.6), Voter(0.1, 0.6, 0.3)]
    splits = [fold(tiny_data, number) for number in (0, 1, 1)]
    members = [make_member(tiny_data, f"m{n}", *each) for n, each in enumerate(zip(nets, splits, strict=True))]
    settings = choose("probabilities", 3)
    ensemble = Ensemble(members, settings, tiny_data, "tiny")
    results = evaluate_splits(nets[0], members[0].description, tiny_data, "tiny", settings, ensemble)
    test, val = results["test"], results["val"]
    assert test.names == tiny_data.names("test") and len(results["train"].names) == len(tiny_data.names("val"))
    # (0.5 + 0.05 + 0.1)/3, (0.3 + 0.35 + 0.6)/3, (0.2 + 0.6 + 0.3)/3: class 1, though each class has a member for it
    assert {
        int(label) for index in range(3) for label in np.unique(read_whole(test.get_details().predictions[index]))
    } == {1}
    outside = [name for name, split in name_all(tiny_data).items() if split != "test"]
    assert sorted(val.names) == sorted(outside)
    masks = {
        name: tiny_data.masks(split)[place]
        for split in ("train", "val")
        for place, name in enumerate(tiny_data.names(split))
    }
    for place, name in enumerate(val.names):
        # fold 0: the first alone, class 0; fold 1: the mean of the others, of which class 1 has 0.475
        labels = np.unique(read_whole(val.get_details().predictions[place]))
        assert labels.tolist() == [0 if splits[0][name] == "val" else 1], name
        assert np.array_equal(val.targets.open_mask(place).read(0, 0, 64, 64), masks[name])
    confidence = val.get_details().calibration.compute()["confidence"]
    assert confidence[~confidence.isnan()].tolist() == pytest.approx([(0.475 + 0.5) / 2], abs=1e-6)
    described = describe_evaluation(settings, results, ensemble)
    assert described["ensemble"]["members"][0]["run"] == "m0"
    assert described["ensemble_facts"]["val"] == {"images": 8, "members": [1, 2]}


def test_with_one_split_val_stays_as_it_is(tiny_data: PreparedData) -> None:
    members = [make_member(tiny_data, f"m{n}", Voter(0.2, 0.3, 0.5), name_all(tiny_data)) for n in range(2)]
    ensemble = Ensemble(members, choose("probabilities", 2), tiny_data, "tiny")
    assert ensemble.data.names("val") == tiny_data.names("val")
    assert ensemble.describe()["val"] == {"images": 2, "members": [2, 2]}


@pytest.mark.parametrize(("split", "saw"), [("train", "was trained on"), ("val", "was chosen, among its epochs, by")])
def test_a_member_that_knows_a_test_image_is_refused(tiny_data: PreparedData, split: str, saw: str) -> None:
    known = tiny_data.names("test")[1]
    members = [
        make_member(tiny_data, "clean", Voter(1, 1, 1), name_all(tiny_data)),
        make_member(tiny_data, "leaky", Voter(1, 1, 1), name_all(tiny_data) | {known: split}),
    ]
    with pytest.raises(InputError, match=f"leaky {saw} 1 of the 3 test images, such as {known}; members must share"):
        Ensemble(members, choose("probabilities", 2), tiny_data, "tiny")


def test_an_ensemble_that_has_trained_on_all_of_val_is_refused(tiny_data: PreparedData) -> None:
    everything = {name: "test" if split == "test" else "train" for name, split in name_all(tiny_data).items()}
    members = [make_member(tiny_data, f"m{n}", Voter(1, 1, 1), everything) for n in range(2)]
    with pytest.raises(InputError, match="every image outside test is one that all members were trained on"):
        Ensemble(members, choose("probabilities", 2), tiny_data, "tiny")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"size": 32}, "m0 has size 64, m1 32; members must have the same"),
        ({"classes": ["skin", "lesion", "vein"]}, "m0 has classes skin, lesion, hair, m1 skin, lesion, vein"),
        ({"run": RUN | {"dataset": "other"}}, "m1 was trained on other, but dataset is tiny"),
    ],
)
def test_members_of_other_data_are_refused(tiny_data: PreparedData, changes: dict[str, Any], complaint: str) -> None:
    names = name_all(tiny_data)
    members = [make_member(tiny_data, f"m{n}", Voter(1, 1, 1), names, **(changes if n else {})) for n in range(2)]
    with pytest.raises(InputError, match=complaint):
        Ensemble(members, choose("probabilities", 2), tiny_data, "tiny")


def test_the_code_of_one_plug_in_alone_is_known_to_dvc(
    tiny_data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("losslab.evaluation.members.find_arch", lambda arch: SimpleNamespace(is_plugin=arch == "mine"))
    archs = {"m0": "simple_cnn", "m1": "mine"}
    members = [make_member(tiny_data, n, Voter(1, 1, 1), name_all(tiny_data), arch=arch) for n, arch in archs.items()]
    with pytest.raises(InputError, match=r"m1 has arch mine of plugins/, .* name m1 first"):
        Ensemble(members, choose("probabilities", 2), tiny_data, "tiny")
    Ensemble(members[::-1], choose("probabilities", 2), tiny_data, "tiny")


def build_nets(count: int, dropout: bool = False) -> list[nn.Module]:
    nets: list[nn.Module] = []
    for seed in range(count):
        torch.manual_seed(seed)
        net: nn.Module = build_model("simple_cnn", 3)
        net = (
            nn.Sequential(net, nn.BatchNorm2d(3), nn.Dropout(0.5)) if dropout else nn.Sequential(net, nn.BatchNorm2d(3))
        )
        nets.append(net.eval())
    return nets


def test_a_soup_is_the_mean_of_weights_with_batch_norms_of_the_training_images(tiny_data: PreparedData) -> None:
    nets, names = build_nets(3, dropout=True), name_all(tiny_data)
    members = [make_member(tiny_data, f"m{n}", net, names) for n, net in enumerate(nets)]
    soup, description = build_soup(members, tiny_data)
    again, _ = build_soup(members, tiny_data)
    state, states = soup.state_dict(), [net.state_dict() for net in nets]
    for key, tensor in state.items():
        assert torch.equal(tensor, again.state_dict()[key]), key
        if not any(part in key for part in ("running", "num_batches")):
            mean = torch.stack([each[key].double() for each in states]).mean(dim=0)
            assert torch.equal(tensor, mean.float()), key
    expected = average_weights(nets, ["a", "b", "c"])
    for part in expected.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0
    scaling = InputScaling(description)
    loader = build_training_loader(tiny_data, "none", 3, 0, 0)
    update_bn([scaling(images) for images, _ in loader], expected)
    for key, tensor in expected.state_dict().items():
        assert torch.allclose(state[key], tensor, atol=1e-6), key
    assert not soup.training and soup[1].momentum == 0.1  # type: ignore[index]


def test_a_soup_of_folds_predicts_val_by_the_soup_of_those_that_did_not_train_on_it(tiny_data: PreparedData) -> None:
    nets = build_nets(3)
    members = [make_member(tiny_data, f"m{n}", net, fold(tiny_data, n, 3)) for n, net in enumerate(nets)]
    ensemble = Ensemble(members, choose("weights", 3), tiny_data, "tiny")
    for name in ensemble.data.names("val"):
        (judge,) = ensemble.judges[name]
        assert ensemble.pick("val", name).net is nets[judge]
    assert ensemble.pick("test", "any").net not in nets
    assert ensemble.pick("test", "any") is ensemble.pick("train", "any")


@pytest.mark.parametrize("sampling", ["uniform", "foreground", "balanced"])
def test_crops_of_images_from_several_splits_are_those_of_one_array(tiny_data: PreparedData, sampling: Any) -> None:
    names = tiny_data.names("train")
    joined = RegroupedData(tiny_data.folder, {"train": names}).rows("train", "masks")
    stored = tiny_data.rows("train", "masks")
    one, other = (CropSampler(masks, 16, sampling, None, seed=0) for masks in (joined, stored))
    assert [one.place(0, number) for number in range(len(one))] == [
        other.place(0, number) for number in range(len(other))
    ]


def test_weights_of_other_nets_are_not_averaged(tiny_data: PreparedData) -> None:
    names = name_all(tiny_data)
    one, other = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3)
    with pytest.raises(
        InputError, match=r"a and b cannot be averaged: weight has shape \(3, 3, 1, 1\) and \(3, 3, 3, 3\)"
    ):
        average_weights([one, other], ["a", "b"])
    members = [make_member(tiny_data, n, one, names, arch=arch) for n, arch in (("a", "unet"), ("b", "fpn"))]
    with pytest.raises(
        InputError, match="a and b cannot be averaged: arch is unet and fpn; average their probabilities"
    ):
        build_soup(members, tiny_data)


def test_whole_numbers_are_not_averaged() -> None:
    nets = [nn.BatchNorm2d(1), nn.BatchNorm2d(1)]
    for net, count in zip(nets, (4, 9), strict=True):
        net.num_batches_tracked = torch.tensor(count)
    assert int(average_weights(nets, ["a", "b"]).num_batches_tracked) == 4  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seeds", "weights", "start"),
    [((0, 0), None, "all"), ((0, 1), None, "none"), ((0, 1), "imagenet", "encoder")],
)
def test_the_start_that_members_share_is_known(
    tiny_data: PreparedData, seeds: tuple[int, int], weights: str | None, start: str
) -> None:
    members = [
        make_member(
            tiny_data,
            f"m{seed}",
            Voter(1, 1, 1),
            name_all(tiny_data),
            run=RUN | {"seed": seed, "encoder_weights": weights},
        )
        for seed in seeds
    ]
    assert find_start(members) == start
    warned = [Ensemble(members, choose(each, 2), tiny_data, "tiny").warn() for each in ("weights", "probabilities")]
    assert (warned[0] is None) == (start == "all") and warned[1] is None
