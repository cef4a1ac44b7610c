"""Which image is for training, validation or testing: the same files give the same split on every machine.

Nothing here is drawn from a random generator: what a seed decides, it decides by the hash of the seed and a name.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

from losslab.cards import SPLITS, SplitName
from losslab.data.readers import DatasetSample
from losslab.errors import InputError
from losslab.params import SplitParams

Dealt = dict[SplitName, list[DatasetSample]]


def choose_samples(samples: Sequence[DatasetSample], limit: int | None, split: SplitParams) -> list[DatasetSample]:
    """The samples worth decoding, sorted by name.

    Under `official` those that an official list names, else all. With `limit` at most so many, drawn by the split's seed:
    under `official` in proportion to the lists, and enough of each that no split need stay empty.

    Raises:
        InputError: `official`, and no list names any.
    """
    kept = [sample for sample in samples if sample.split is not None] if split.method == "official" else list(samples)
    if not kept:
        _no_official_split()
    if limit is not None and limit < len(kept):
        ranked = _ranked(kept, split)
        quotas = _quotas(kept, limit) if split.method == "official" else {None: limit}
        kept = []
        for name, quota in quotas.items():
            kept += [sample for sample in ranked if name in (None, sample.split)][:quota]
    return _by_name(kept)


def split_samples(
    samples: Sequence[DatasetSample],
    split: SplitParams,
    presence: Mapping[str, frozenset[int]],
    group_of: Callable[[str], str],
) -> Dealt:
    """Deal the samples out, each list sorted by name.

    - `official` keeps the dataset's own lists, drops what none of them names, and draws a part that is missing (often val)
      from the training images.
    - `random` deals all of them.
    - `stratified` deals all, so that each class is in as large a share of the images of each split as of all: iterative
      stratification (Sechidis, Tsoumakas, Vlahavas. On the stratification of multi-label data. ECML PKDD 2011), with sizes
      kept to those of `random`.
    - `grouped` keeps groups whole; sizes are as near to the fractions as whole groups allow.
    - `kfold` deals all into folds of nearly one size, groups whole; fold `split.fold` is for testing, and of the others
      `split.val` of all is for validation.

    `split.val` and `split.test` are fractions of what is drawn from.

    Args:
        presence: the labels in each sample's mask, by its name; only `stratified` looks.
        group_of: the group of a name; only `grouped` and `kfold` ask.

    Raises:
        InputError: no official split, fewer groups than it takes, or a split without a single image.
    """
    if not samples:
        raise InputError("prepare.split: there is no image to split")
    if len(samples) == 1:
        raise InputError("prepare.split: 1 image cannot be split in three (train, val and test); at least 3 are needed")
    if split.method == "official":
        dealt = _official(samples, split)
    elif split.method == "random":
        dealt = _drawn(_ranked(samples, split), split)
    elif split.method == "stratified":
        dealt = _stratified(_ranked(samples, split), split, presence)
    else:
        groups = _groups(samples, split, group_of)
        dealt = _grouped(groups, len(samples), split) if split.method == "grouped" else _kfold(groups, samples, split)
    for name in SPLITS:
        if not dealt[name]:
            _empty(name, len(samples), split)
        dealt[name] = _by_name(dealt[name])
    return dealt


def _official(samples: Sequence[DatasetSample], split: SplitParams) -> Dealt:
    listed: Dealt = {name: [sample for sample in samples if sample.split == name] for name in SPLITS}
    if not any(listed.values()):
        _no_official_split()
    missing = [name for name in ("val", "test") if not listed[name]]
    drawn = _drawn(_ranked(listed["train"], split), split, missing)
    return {name: listed[name] if name != "train" and name not in missing else drawn[name] for name in SPLITS}


def _drawn(ranked: list[DatasetSample], split: SplitParams, parts: Iterable[str] = ("val", "test")) -> Dealt:
    """The first for val, the next for test, as far as these are asked for; the rest is for training."""
    sizes = _sizes(len(ranked), split)
    dealt: Dealt = {name: [] for name in SPLITS}
    for name in SPLITS[1:]:
        if name in parts:
            dealt[name], ranked = ranked[: sizes[name]], ranked[sizes[name] :]
    dealt["train"] = ranked
    return dealt


def _stratified(ranked: list[DatasetSample], split: SplitParams, presence: Mapping[str, frozenset[int]]) -> Dealt:
    """The rarest label first: each of its images goes to the split that lacks most of it.

    The paper lets a split outgrow its size where labels ask for it; here a full one takes no more, or a small one could
    stay empty.
    """
    total, sizes = len(ranked), _sizes(len(ranked), split)
    free = dict(sizes)
    having: dict[int, list[DatasetSample]] = {}
    for sample in ranked:
        for label in presence[sample.name]:
            having.setdefault(label, []).append(sample)
    # Times the number of images, so that shares are whole numbers and no rounding decides.
    lacking = {(label, name): len(found) * sizes[name] for label, found in having.items() for name in SPLITS}
    dealt: Dealt = {name: [] for name in SPLITS}
    left = {sample.name: sample for sample in ranked}

    def put(sample: DatasetSample, label: int | None) -> None:
        def need(name: SplitName) -> tuple[int, int, bytes]:
            of_label = 0 if label is None else lacking[label, name]
            return of_label, free[name], _rank(split.seed, f"{name}/{sample.name}")

        open_ones = [name for name in SPLITS if free[name] > 0]
        name = max(open_ones, key=need) if open_ones else SPLITS[0]
        dealt[name].append(sample)
        free[name] -= 1
        for present in presence[sample.name]:
            lacking[present, name] -= total
        del left[sample.name]

    while having:
        label = min(having, key=lambda label: (len(having[label]), label))
        for sample in having.pop(label):
            put(sample, label)
        having = {
            label: rest
            for label, found in having.items()
            if (rest := [sample for sample in found if sample.name in left])
        }
    for sample in list(left.values()):  # nothing but void
        put(sample, None)
    return dealt


def _grouped(groups: list[list[DatasetSample]], total: int, split: SplitParams) -> Dealt:
    if len(groups) < len(SPLITS):
        raise InputError(
            f"prepare.split.method is 'grouped'; {_told(len(groups), 'group')} cannot be split in three (train, val and "
            "test): use random, or a group in the card that tells more of them apart"
        )
    sizes = _sizes(total, split)
    return dict(zip(SPLITS, _deal(groups, [sizes[name] for name in SPLITS]), strict=True))


def _kfold(groups: list[list[DatasetSample]], samples: Sequence[DatasetSample], split: SplitParams) -> Dealt:
    total = len(samples)
    what = _told(len(groups), "group" if len(groups) < total else "image")
    if split.folds > len(groups):
        raise InputError(
            f"prepare.split.folds is {split.folds}; there are {what}: make it {max(len(groups), 2)} or less"
        )
    folds = _deal(groups, [(total + index) // split.folds for index in range(split.folds)])
    test = {sample.name for sample in folds[split.fold]}
    rest = [group for group in groups if group[0].name not in test]
    outside, val = total - len(test), max(round(total * split.val), 1)
    if len(rest) < 2:
        raise InputError(
            f"prepare.split leaves no image for train; {what} in {split.folds} folds leave one outside fold {split.fold}, "
            "and val takes it: at least 3 are needed"
        )
    if val >= outside:
        raise InputError(
            f"prepare.split leaves no image for train; of {total} there are {outside} outside fold {split.fold}, and val "
            f"{split.val} takes {val}: make prepare.split.val smaller"
        )
    train, validation = _deal(rest, [outside - val, val])
    return {"train": train, "val": validation, "test": folds[split.fold]}


def _groups(
    samples: Sequence[DatasetSample], split: SplitParams, group_of: Callable[[str], str]
) -> list[list[DatasetSample]]:
    """Whole groups, the largest first; those of one size in the seed's order."""
    groups: dict[str, list[DatasetSample]] = {}
    for sample in samples:
        groups.setdefault(group_of(sample.name), []).append(sample)
    named = sorted(groups.items(), key=lambda item: (-len(item[1]), _rank(split.seed, item[0])))
    return [group for _, group in named]


def _deal(groups: list[list[DatasetSample]], targets: list[int]) -> list[list[DatasetSample]]:
    """Deal groups to parts of about these sizes, each to the part that lacks most; every part gets one at least."""
    parts: list[list[DatasetSample]] = [[] for _ in targets]
    for index, group in enumerate(groups):
        empty = [part for part, dealt in enumerate(parts) if not dealt]
        must_fill = len(groups) - index <= len(empty)
        part = max(empty if must_fill else range(len(parts)), key=lambda part: targets[part] - len(parts[part]))
        parts[part] += group
    return parts


def _sizes(total: int, split: SplitParams) -> dict[SplitName, int]:
    """How many of so many each split takes: val and test one at least, train what is left."""
    val, test = max(round(total * split.val), 1), max(round(total * split.test), 1)
    return {"train": total - val - test, "val": val, "test": test}


def _quotas(samples: Sequence[DatasetSample], limit: int) -> dict[SplitName | None, int]:
    """How many of each official split: in proportion, one at least; of train one more for each split drawn from it."""
    there = {name: sum(sample.split == name for sample in samples) for name in SPLITS}
    present = [name for name in SPLITS if there[name]]
    quotas: dict[SplitName | None, int] = dict.fromkeys(present, 1)
    if there["train"]:
        quotas["train"] = min(1 + len(SPLITS) - len(present), there["train"])
    while sum(quotas.values()) < limit:
        # The one that is furthest below its share.
        name = max(
            (name for name in present if quotas[name] < there[name]),
            key=lambda name: limit * there[name] - quotas[name] * len(samples),
        )
        quotas[name] += 1
    return quotas


def _ranked(samples: Iterable[DatasetSample], split: SplitParams) -> list[DatasetSample]:
    return sorted(samples, key=lambda sample: _rank(split.seed, sample.name))


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()


def _by_name(samples: Iterable[DatasetSample]) -> list[DatasetSample]:
    return sorted(samples, key=lambda sample: sample.name)


def _no_official_split() -> NoReturn:
    raise InputError("prepare.split.method is 'official'; this dataset has no official split: use random")


def _empty(name: SplitName, total: int, split: SplitParams) -> NoReturn:
    if total < len(SPLITS):
        remedy = "at least 3 are needed"
    elif split.method == "official":
        remedy = "too few are in the dataset's own lists, or can be used; -S prepare.split.method=random deals out all"
    else:
        remedy = f"make prepare.split.val ({split.val}) and prepare.split.test ({split.test}) smaller"
    raise InputError(f"prepare.split leaves no image for {name}; there are {total} in all: {remedy}")


def _told(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
