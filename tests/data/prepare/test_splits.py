from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from losslab.cards import SPLITS, read_card
from losslab.data.prepare.splits import choose_samples, split_samples
from losslab.errors import InputError
from losslab.params import SplitParams
from losslab.plugins import Sample
from tests.conftest import ROOT


def split_by(method: Any, **changes: Any) -> SplitParams:
    return SplitParams(**{"method": method, "val": 0.25, "test": 0.25, "seed": 0, "folds": 5, "fold": 0} | changes)


OFFICIAL, RANDOM = split_by("official"), split_by("random")


def samples(count: int, official: Any = None, prefix: str = "im") -> list[Sample]:
    return [Sample(f"{prefix}{number:03}", Path("i"), Path("m"), official) for number in range(count)]


def deal(given: list[Sample], split: SplitParams, labels: Any = None, find_group: Any = str) -> dict[str, list[str]]:
    """The names of each split; without `labels` each image has the label 0."""
    presence = {sample.name: frozenset((labels or {}).get(sample.name, {0})) for sample in given}
    dealt = split_samples(given, split, presence, find_group)
    return {name: [sample.name for sample in dealt[name]] for name in SPLITS}


def sizes(dealt: dict[str, list[str]]) -> tuple[int, ...]:
    return tuple(len(dealt[name]) for name in SPLITS)


def by_letter(name: str) -> str:
    return name[0]


def test_random_split_depends_on_names_and_its_seed_only() -> None:
    dealt = deal(samples(100), RANDOM)
    assert sizes(dealt) == (50, 25, 25)
    assert deal(samples(100)[::-1], RANDOM) == dealt
    assert deal(samples(100), split_by("random", seed=1)) != dealt
    # What runs were measured on must not change.
    assert dealt["val"][:3] == ["im004", "im006", "im007"] and dealt["test"][:3] == ["im001", "im003", "im012"]


def test_official_split_is_kept_and_val_drawn_from_train() -> None:
    dealt = deal(samples(20, "train") + samples(5, "test", "t") + samples(2, None, "x"), OFFICIAL)
    assert sizes(dealt) == (15, 5, 5)
    assert dealt["test"] == [f"t{number:03}" for number in range(5)]
    assert dealt["val"] == deal(samples(20), RANDOM)["val"]


def test_val_is_drawn_from_train_in_whole_groups() -> None:
    given = [sample for prefix in "abcdefgh" for sample in samples(5, "train", prefix)] + samples(4, "test", "t")
    dealt = deal(given, OFFICIAL, find_group=by_letter)
    letters = {part: {name[0] for name in names} for part, names in dealt.items()}
    assert not letters["train"] & letters["val"] and sizes(dealt) == (30, 10, 4)
    alone = samples(20, "train", "a") + samples(4, "test", "t")  # one group cannot be in both whole
    assert sizes(deal(alone, OFFICIAL, find_group=by_letter)) == (15, 5, 4)


def test_complete_official_split_is_taken_as_it_is() -> None:
    lists = {name: samples(count, name, name) for name, count in (("train", 2), ("val", 3), ("test", 4))}
    dealt = deal([sample for part in lists.values() for sample in part], OFFICIAL)
    assert dealt == {name: [sample.name for sample in part] for name, part in lists.items()}


@pytest.mark.parametrize(
    ("given", "split", "complaint"),
    [
        ([], RANDOM, "there is no image to split"),
        (samples(1), RANDOM, r"1 image cannot be split in three \(train, val and test\); at least 3 are needed"),
        (samples(2), RANDOM, "leaves no image for train; there are 2 in all: at least 3 are needed"),
        (samples(2), split_by("stratified"), "leaves no image for train; there are 2 in all: at least 3 are needed"),
        (
            samples(3),
            split_by("random", val=0.5, test=0.45),
            r"no image for train; there are 3 in all: make prepare.split.val \(0.5\) and prepare.split.test \(0.45\) smaller",
        ),
        (samples(3), OFFICIAL, "no image of this dataset has a split of its own: use random"),
        (
            samples(4, "test"),
            OFFICIAL,
            "no image for train; there are 4 in all: too few usable ones are in the dataset's own lists",
        ),
        (samples(9), split_by("grouped"), "1 group cannot be split in three"),
        (
            samples(2) + samples(2, None, "x"),
            split_by("grouped"),
            "'grouped', but 2 groups cannot be split in three .*: use random, or a group in the card",
        ),
        (samples(4, None, "x"), split_by("kfold", folds=2), "folds is 2, too many for 1 group: make it 2 or less"),
        (samples(9), split_by("crossval"), "'crossval', but 1 group cannot be split into test and 2 folds"),
        (
            samples(4) + samples(4, None, "x") + samples(4, None, "y"),
            split_by("crossval"),
            "folds is 5, too many for the 2 groups outside test: make it 2 or less",
        ),
        (
            samples(4) + samples(4, None, "x"),
            split_by("kfold", folds=2, fold=1),
            "no image for train: of 2 groups in 2 folds, one is outside fold 1, and val takes it; at least 3 are needed",
        ),
    ],
)
def test_split_that_cannot_be_is_reported(given: list[Sample], split: SplitParams, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        deal(given, split, find_group=by_letter)


def test_folds_that_cannot_be_are_reported() -> None:
    with pytest.raises(InputError, match="folds is 6, too many for 5 images: make it 5 or less"):
        deal(samples(5), split_by("kfold", folds=6))
    with pytest.raises(InputError, match=r"of 10, 5 are outside fold 0, and val 0.6 takes 6; make .*val smaller"):
        deal(samples(10), split_by("kfold", folds=2, val=0.6))


def test_stratified_gives_each_split_its_share_of_a_rare_class_where_random_does_not() -> None:
    names = [sample.name for sample in samples(200)]
    labels = {name: {0, 1} if index % 20 == 0 else {0} for index, name in enumerate(names)}  # 10 of 200
    off = {}
    for method in ("random", "stratified"):
        misses = []
        for seed in range(20):
            dealt = deal(samples(200), split_by(method, seed=seed, val=0.2, test=0.2), labels)
            assert sizes(dealt) == (120, 40, 40)
            misses.append(max(abs(sum(1 in labels[name] for name in dealt[part]) - 2) for part in ("val", "test")))
        off[method] = misses
    assert off["stratified"] == [0] * 20
    assert sum(off["random"]) >= 20


def test_stratified_keeps_the_shares_of_many_classes_at_once() -> None:
    # Ten classes, the tenth in every third image, the first the rarest.
    names = [sample.name for sample in samples(400)]
    labels = {
        name: {c for c in range(1, 11) if index % (33 - 3 * c) == 0 or index % 7 == c}
        for index, name in enumerate(names)
    }
    dealt = deal(samples(400), split_by("stratified"), labels)
    for label in range(1, 11):
        there = sum(label in labels[name] for name in names)
        for part in ("val", "test"):
            assert abs(sum(label in labels[name] for name in dealt[part]) - there / 4) <= 1


def test_stratified_fills_each_split_though_no_class_can_be_shared() -> None:
    labels = {sample.name: {index} for index, sample in enumerate(samples(8))}
    assert sizes(deal(samples(8), split_by("stratified"), labels)) == (4, 2, 2)


def test_stratified_deals_the_rarest_class_first() -> None:
    # Dealt last, the 4 images of class 0 would go wherever the 36 of class 1 left room.
    labels = {sample.name: {0, 1} if index < 4 else {1} for index, sample in enumerate(samples(40))}
    for seed in range(10):
        dealt = deal(samples(40), split_by("stratified", seed=seed), labels)
        assert [sum(0 in labels[name] for name in dealt[part]) for part in SPLITS] == [2, 1, 1]


def test_stratified_draws_by_its_seed() -> None:
    first, second = (deal(samples(40), split_by("stratified", seed=seed)) for seed in (0, 1))
    assert first != second and sizes(first) == sizes(second) == (20, 10, 10)


def test_grouped_sizes_come_near_to_the_fractions() -> None:
    # CamVid's sequences.
    given = [
        sample
        for prefix, count in (("a", 124), ("b", 101), ("c", 305), ("d", 171))
        for sample in samples(count, None, prefix)
    ]
    dealt = deal(given, split_by("grouped", val=0.2, test=0.2), find_group=by_letter)
    assert {part: {name[0] for name in names} for part, names in dealt.items()} == {
        "train": {"b", "c"},
        "val": {"d"},
        "test": {"a"},
    }


def test_grouped_fills_each_split_though_the_fractions_ask_for_less() -> None:
    given = samples(60, None, "a") + samples(1, None, "b") + samples(1, None, "c")
    assert sizes(deal(given, split_by("grouped", val=0.4, test=0.01), find_group=by_letter)) == (60, 1, 1)


def test_grouped_goes_by_the_group_of_the_card() -> None:
    card = read_card("camvid", ROOT / "data/catalog")
    given = [sample for prefix in ("0001TP_", "0006R0_", "Seq05VD_f") for sample in samples(4, "train", prefix)]
    groups = card.find_groups([sample.name for sample in given])
    dealt = deal(given, split_by("grouped"), find_group=groups.__getitem__)
    assert [len({name.split("_")[0] for name in names}) for names in dealt.values()] == [1, 1, 1]


def test_kfold_tests_each_image_once_and_takes_val_from_the_rest() -> None:
    folds = [deal(samples(23), split_by("kfold", val=0.2, fold=fold)) for fold in range(5)]
    assert sorted(sizes(dealt) for dealt in folds) == [(13, 5, 5)] * 3 + [(14, 5, 4)] * 2
    tested = [name for dealt in folds for name in dealt["test"]]
    assert sorted(tested) == [sample.name for sample in samples(23)]


def test_crossval_holds_the_same_images_out_of_all_folds_and_validates_each_other_once() -> None:
    folds = [deal(samples(23), split_by("crossval", test=0.2, fold=fold)) for fold in range(5)]
    assert {tuple(dealt["test"]) for dealt in folds} == {tuple(folds[0]["test"])} and len(folds[0]["test"]) == 5
    assert sorted(sizes(dealt)[:2] for dealt in folds) == [(14, 4)] * 3 + [(15, 3)] * 2
    validated = [name for dealt in folds for name in dealt["val"]]
    assert sorted(validated + folds[0]["test"]) == [sample.name for sample in samples(23)]
    assert deal(samples(23), split_by("crossval", test=0.2, folds=3))["test"] == folds[0]["test"]


def test_crossval_takes_the_official_test_list_and_drops_what_no_list_names() -> None:
    lists = samples(8, "train", "a") + samples(2, "val", "b") + samples(3, "test", "t")
    given = lists + samples(4, None, "x")
    split = split_by("crossval", fold=1)
    for each in (given, choose_samples(given, None, split)):
        dealt = deal(each, split)
        assert sizes(dealt) == (8, 2, 3) and {name[0] for name in dealt["test"]} == {"t"}
        assert {name[0] for name in dealt["train"] + dealt["val"]} == {"a", "b"}
    drawn = Counter(sample.split for sample in choose_samples(given, 7, split))
    assert drawn == {"train": 4, "val": 1, "test": 2}


def test_crossval_keeps_groups_whole() -> None:
    given = [sample for prefix in "abcdefgh" for sample in samples(4, None, prefix)]
    for fold in range(3):
        dealt = deal(given, split_by("crossval", folds=3, fold=fold), find_group=by_letter)
        letters = [{name[0] for name in names} for names in dealt.values()]
        assert sum(map(len, letters)) == len(set.union(*letters)) == 8


def test_all_are_worth_decoding_without_a_limit() -> None:
    given = samples(4, "train") + samples(2, None, "x")
    assert choose_samples(given[::-1], None, RANDOM) == choose_samples(given, 6, RANDOM) == given
    assert choose_samples(given, None, OFFICIAL) == given[:4]
    with pytest.raises(InputError, match="'official', but no image of this dataset has a split of its own: use random"):
        choose_samples(samples(4), 3, OFFICIAL)


def test_limit_draws_by_the_seed_whatever_the_order() -> None:
    drawn = choose_samples(samples(50), 10, RANDOM)
    assert len(drawn) == 10 and drawn != samples(10)
    assert choose_samples(samples(50)[::-1], 10, RANDOM) == drawn
    assert choose_samples(samples(50), 10, split_by("random", seed=1)) != drawn
    assert set(drawn) < set(choose_samples(samples(50), 11, RANDOM))


@pytest.mark.parametrize(
    ("there", "limit", "chosen"),
    [
        ({"train": 60, "val": 20, "test": 20}, 10, {"train": 6, "val": 2, "test": 2}),
        ({"train": 367, "val": 101, "test": 233}, 60, {"train": 31, "val": 9, "test": 20}),
        ({"train": 90, "val": 5, "test": 5}, 3, {"train": 1, "val": 1, "test": 1}),
        ({"train": 10, "test": 90}, 3, {"train": 2, "test": 1}),  # val will be drawn from train
        ({"train": 90}, 5, {"train": 5}),
        ({"train": 1, "test": 5}, 4, {"train": 1, "test": 3}),
    ],
)
def test_limit_keeps_the_proportion_of_the_official_lists(
    there: dict[str, int], limit: int, chosen: dict[str, int]
) -> None:
    given = [sample for name, count in there.items() for sample in samples(count, name, name)]
    drawn = choose_samples(given + samples(9, None, "x"), limit, OFFICIAL)
    assert Counter(sample.split for sample in drawn) == chosen
    assert [sample.name for sample in drawn] == sorted(sample.name for sample in drawn)


@given(
    st.sampled_from(["official", "random", "stratified", "grouped", "kfold", "crossval"]),
    st.lists(st.integers(1, 9), min_size=3, max_size=12),
    st.integers(0, 3),
    st.sampled_from([(0.2, 0.2), (0.05, 0.4), (0.3, 0.1)]),
    st.randoms(use_true_random=False),
)
def test_every_method_deals_each_image_once_whatever_the_order(
    method: str, groups: list[int], seed: int, fractions: tuple[float, float], random: Any
) -> None:
    given = [
        sample
        for group, size in enumerate(groups)
        for sample in samples(size, ("train", "train", "test", None)[group % 4], f"{chr(97 + group)}")
    ]
    labels = {sample.name: random.sample(range(5), random.randrange(5)) for sample in given}
    split = split_by(method, val=fractions[0], test=fractions[1], seed=seed, folds=3, fold=seed % 3)
    try:
        dealt = deal(given, split, labels, by_letter)
    except InputError:
        if method == "crossval":
            assert sum(group % 4 < 2 for group in range(len(groups))) < 3  # groups outside test
            return
        assert method in ("official", "kfold") and (groups[0] + groups[1] < 3 or fractions[0] == 0.3)
        return
    names = [name for part in dealt.values() for name in part]
    expected = {sample.name for sample in given if method not in ("official", "crossval") or sample.split}
    assert len(names) == len(expected) and set(names) == expected
    assert all(dealt[name] == sorted(dealt[name]) and dealt[name] for name in SPLITS)
    if method in ("grouped", "kfold"):
        home = {(name[0], part) for part in SPLITS for name in dealt[part]}
        assert len(home) == len(groups)
    shuffled = list(given)
    random.shuffle(shuffled)
    assert deal(shuffled, split, labels, by_letter) == dealt


@given(st.lists(st.integers(1, 6), min_size=4, max_size=15), st.integers(2, 4), st.integers(0, 5))
def test_folds_partition_the_images_in_complete_groups(groups: list[int], folds: int, seed: int) -> None:
    given = [sample for group, size in enumerate(groups) for sample in samples(size, None, chr(97 + group))]
    split = [split_by("kfold", val=0.1, seed=seed, folds=folds, fold=fold) for fold in range(folds)]
    try:
        tested = [deal(given, each, find_group=by_letter)["test"] for each in split]
    except InputError:
        # The largest group has a fold for itself, and is all that is left for train and val when the other fold tests.
        assert folds == 2 and max(groups) >= (sum(groups) - max(groups)) - min(groups)
        return
    assert sorted(name for names in tested for name in names) == [sample.name for sample in given]
    letters = [name[0] for names in tested for name in sorted({n[0]: n for n in names}.values())]
    assert len(letters) == len(set(letters)) == len(groups)
    # Greedy: the fullest fold has no more than one group above its share.
    assert max(map(len, tested)) <= sum(groups) / folds + max(groups)
