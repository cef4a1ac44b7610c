"""The split into training, validation and testing, the same everywhere: only hashes of seed and names decide it."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

from losslab.cards import SPLITS, SplitName
from losslab.errors import InputError
from losslab.formats import format_plural
from losslab.params import SplitParams
from losslab.plugins import Sample

Dealt = dict[SplitName, list[Sample]]
NO_OFFICIAL_SPLIT = (
    "prepare.split.method is 'official', but no image of this dataset has a split of its own: use random"
)


def choose_samples(samples: Sequence[Sample], limit: int | None, split: SplitParams) -> list[Sample]:
    """Return the samples worth decoding, sorted by name.

    Under `official`, and `crossval` with an official test list, these are the ones that an official list names, else all.
    `limit` is the most that are kept, drawn by the split's seed: of official lists in proportion to these, and enough of
    each that no split need stay empty. Raises InputError if the method is `official`, and no list names any.
    """
    by_lists = split.method == "official" or keeps_official_test(samples, split)
    kept = [sample for sample in samples if sample.split is not None] if by_lists else list(samples)
    if not kept:
        raise InputError(NO_OFFICIAL_SPLIT)
    if limit is not None and limit < len(kept):
        ranked = _rank_samples(kept, split)
        quotas = _compute_quotas(kept, limit) if by_lists else {None: limit}
        kept = []
        for name, quota in quotas.items():
            kept += [sample for sample in ranked if name in (None, sample.split)][:quota]
    return _sort_by_name(kept)


def keeps_official_test(samples: Sequence[Sample], split: SplitParams) -> bool:
    """Tell whether `crossval` holds out the images of an official list for testing."""
    return split.method == "crossval" and any(sample.split == "test" for sample in samples)


def split_samples(
    samples: Sequence[Sample],
    split: SplitParams,
    presence: Mapping[str, frozenset[int]],
    find_group: Callable[[str], str],
) -> Dealt:
    """Deal the samples out, each list sorted by name.

    - `official` keeps the dataset's own lists, drops what none of them names, and draws a split that has no list (often
      val) from the training images, groups whole.
    - `random` deals all of them.
    - `stratified` deals all, so that each class is in as large a share of the images of each split as of all: iterative
      stratification (Sechidis, Tsoumakas, Vlahavas. On the stratification of multi-label data. ECML PKDD 2011), with sizes
      kept to those of `random`.
    - `grouped` keeps groups whole; sizes are as near to the fractions as whole groups allow.
    - `kfold` deals all into folds of nearly one size, groups whole; fold `split.fold` is for testing, and of the others
      `split.val` of all is for validation.
    - `crossval` holds the same test images out of all folds: the official list's, or drawn as `grouped` does, whatever the
      folds. The rest is dealt into folds of nearly one size, groups whole; fold `split.fold` is for validation, the others
      are for training.

    `split.val` and `split.test` are fractions of what is drawn from.

    Args:
        presence: the labels in each sample's mask, by its name; only `stratified` looks.
        find_group: returns the group of a name; `random` and `stratified` do not call it.

    Raises:
        InputError: there is no official split, too few groups, or a split without a single image.
    """
    if not samples:
        raise InputError("prepare.split: there is no image to split")
    if len(samples) == 1:
        raise InputError("prepare.split: 1 image cannot be split in three (train, val and test); at least 3 are needed")
    if split.method == "official":
        dealt = _split_by_lists(samples, split, find_group)
    elif split.method == "random":
        dealt = _draw(_rank_samples(samples, split), split)
    elif split.method == "stratified":
        dealt = _stratify(_rank_samples(samples, split), split, presence)
    elif split.method == "crossval":
        dealt = _cross_validate(samples, split, find_group)
    else:
        groups = _list_groups(samples, split, find_group)
        deal_groups = _split_groups if split.method == "grouped" else _split_in_folds
        dealt = deal_groups(groups, len(samples), split)
    for name in SPLITS:
        if not dealt[name]:
            _complain_of_empty(name, len(samples), split)
        dealt[name] = _sort_by_name(dealt[name])
    return dealt


def _split_by_lists(samples: Sequence[Sample], split: SplitParams, find_group: Callable[[str], str]) -> Dealt:
    listed: Dealt = {name: [sample for sample in samples if sample.split == name] for name in SPLITS}
    if not any(listed.values()):
        raise InputError(NO_OFFICIAL_SPLIT)
    missing = [name for name in SPLITS[1:] if not listed[name]]
    groups = _list_groups(listed["train"], split, find_group)
    if missing and 1 + len(missing) <= len(groups) < len(listed["train"]):
        sizes = _compute_sizes(len(listed["train"]), split)
        drawn_sizes = [sizes[name] for name in missing]
        train, *parts = _deal(groups, [len(listed["train"]) - sum(drawn_sizes), *drawn_sizes])
        return {**listed, "train": train, **dict(zip(missing, parts, strict=True))}
    drawn = _draw(_rank_samples(listed["train"], split), split, missing)
    return {name: listed[name] if name != "train" and name not in missing else drawn[name] for name in SPLITS}


def _draw(ranked: list[Sample], split: SplitParams, parts: Iterable[str] = ("val", "test")) -> Dealt:
    """Give the first samples to val and the next to test, if these are among `parts`, and the rest to train."""
    sizes = _compute_sizes(len(ranked), split)
    dealt: Dealt = {name: [] for name in SPLITS}
    for name in SPLITS[1:]:
        if name in parts:
            dealt[name], ranked = ranked[: sizes[name]], ranked[sizes[name] :]
    dealt["train"] = ranked
    return dealt


def _stratify(ranked: list[Sample], split: SplitParams, presence: Mapping[str, frozenset[int]]) -> Dealt:
    """Deal images by label, the rarest first: each of its images goes to the split that lacks most of it.

    Unlike in the paper, a full split takes no more, or a small one could stay empty.
    """
    total, sizes = len(ranked), _compute_sizes(len(ranked), split)
    free = dict(sizes)
    having: dict[int, list[Sample]] = {}
    for sample in ranked:
        for label in presence[sample.name]:
            having.setdefault(label, []).append(sample)
    # Shares times the number of images are integers, so that no rounding decides.
    lacking = {(label, name): len(having[label]) * sizes[name] for label in having for name in SPLITS}
    dealt: Dealt = {name: [] for name in SPLITS}
    left = {sample.name: sample for sample in ranked}

    def put(sample: Sample, label: int | None) -> None:
        def need(name: SplitName) -> tuple[int, int, bytes]:
            lack = 0 if label is None else lacking[label, name]
            return lack, free[name], _rank_name(split.seed, f"{name}/{sample.name}")

        name = max((name for name in SPLITS if free[name] > 0), key=need, default=SPLITS[0])
        dealt[name].append(sample)
        free[name] -= 1
        for present in presence[sample.name]:
            lacking[present, name] -= total
        del left[sample.name]

    while having:
        label = min(having, key=lambda label: (len(having[label]), label))
        for sample in having.pop(label):
            put(sample, label)
        rests = {label: [sample for sample in samples if sample.name in left] for label, samples in having.items()}
        having = {label: rest for label, rest in rests.items() if rest}
    for sample in list(left.values()):  # nothing but void
        put(sample, None)
    return dealt


def _split_groups(groups: list[list[Sample]], total: int, split: SplitParams) -> Dealt:
    if len(groups) < len(SPLITS):
        raise InputError(
            f"prepare.split.method is 'grouped', but {format_plural(len(groups), 'group')} cannot be split in three "
            "(train, val and test): use random, or a group in the card that makes more of them"
        )
    sizes = _compute_sizes(total, split)
    return dict(zip(SPLITS, _deal(groups, [sizes[name] for name in SPLITS]), strict=True))


def _split_in_folds(groups: list[list[Sample]], total: int, split: SplitParams) -> Dealt:
    what = format_plural(len(groups), "group" if len(groups) < total else "image")
    if split.folds > len(groups):
        most = max(len(groups), 2)
        raise InputError(f"prepare.split.folds is {split.folds}, too many for {what}: make it {most} or less")
    folds = _deal(groups, [(total + index) // split.folds for index in range(split.folds)])
    test = {sample.name for sample in folds[split.fold]}
    rest = [group for group in groups if group[0].name not in test]
    outside, val = total - len(test), max(round(total * split.val), 1)
    if len(rest) < 2:
        raise InputError(
            f"prepare.split leaves no image for train: of {what} in {split.folds} folds, one is outside fold {split.fold}, "
            "and val takes it; at least 3 are needed"
        )
    if val >= outside:
        raise InputError(
            f"prepare.split leaves no image for train: of {total}, {outside} are outside fold {split.fold}, and val "
            f"{split.val} takes {val}; make prepare.split.val smaller"
        )
    train, validation = _deal(rest, [outside - val, val])
    return {"train": train, "val": validation, "test": folds[split.fold]}


def _cross_validate(samples: Sequence[Sample], split: SplitParams, find_group: Callable[[str], str]) -> Dealt:
    if keeps_official_test(samples, split):
        samples = [sample for sample in samples if sample.split is not None]
        test = [sample for sample in samples if sample.split == "test"]
    else:
        size = _compute_sizes(len(samples), split)["test"]
        groups = _list_groups(samples, split, find_group)
        if len(groups) < len(SPLITS):
            raise InputError(
                f"prepare.split.method is 'crossval', but {format_plural(len(groups), 'group')} cannot be split into test and "
                "2 folds: use random, or a group in the card that makes more of them"
            )
        _, test = _deal(groups, [len(samples) - size, size])
    tested = {sample.name for sample in test}
    rest = [sample for sample in samples if sample.name not in tested]
    groups = _list_groups(rest, split, find_group)
    if split.folds > len(groups):
        what = format_plural(len(groups), "group" if len(groups) < len(rest) else "image")
        raise InputError(
            f"prepare.split.folds is {split.folds}, too many for the {what} outside test: make it {max(len(groups), 2)} or less"
        )
    folds = _deal(groups, [(len(rest) + index) // split.folds for index in range(split.folds)])
    val = folds.pop(split.fold)
    return {"train": [sample for fold in folds for sample in fold], "val": val, "test": test}


def _list_groups(samples: Sequence[Sample], split: SplitParams, find_group: Callable[[str], str]) -> list[list[Sample]]:
    """List the groups, the largest first; those of one size in the seed's order."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(find_group(sample.name), []).append(sample)
    names = sorted(groups, key=lambda name: (-len(groups[name]), _rank_name(split.seed, name)))
    return [groups[name] for name in names]


def _deal(groups: list[list[Sample]], targets: list[int]) -> list[list[Sample]]:
    """Deal groups to parts of about these sizes, each to the part that lacks most; every part gets at least one."""
    parts: list[list[Sample]] = [[] for _ in targets]
    for index, group in enumerate(groups):
        empty = [part for part, dealt in enumerate(parts) if not dealt]
        must_fill = len(groups) - index <= len(empty)
        part = max(empty if must_fill else range(len(parts)), key=lambda part: targets[part] - len(parts[part]))
        parts[part] += group
    return parts


def _compute_sizes(total: int, split: SplitParams) -> dict[SplitName, int]:
    """Compute how many images each split takes: val and test one at least, train what is left."""
    val, test = max(round(total * split.val), 1), max(round(total * split.test), 1)
    return {"train": total - val - test, "val": val, "test": test}


def _compute_quotas(samples: Sequence[Sample], limit: int) -> dict[SplitName | None, int]:
    """Compute quotas of official splits: in proportion, at least one, and in train one more per split drawn from it."""
    counts = {name: sum(sample.split == name for sample in samples) for name in SPLITS}
    present = [name for name in SPLITS if counts[name]]
    quotas: dict[SplitName | None, int] = dict.fromkeys(present, 1)
    if counts["train"]:
        quotas["train"] = min(1 + len(SPLITS) - len(present), counts["train"])
    while sum(quotas.values()) < limit:
        below = [name for name in present if quotas[name] < counts[name]]
        furthest_below = max(below, key=lambda name: limit * counts[name] - quotas[name] * len(samples))
        quotas[furthest_below] += 1
    return quotas


def _rank_samples(samples: Iterable[Sample], split: SplitParams) -> list[Sample]:
    return sorted(samples, key=lambda sample: _rank_name(split.seed, sample.name))


def _rank_name(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()


def _sort_by_name(samples: Iterable[Sample]) -> list[Sample]:
    return sorted(samples, key=lambda sample: sample.name)


def _complain_of_empty(name: SplitName, total: int, split: SplitParams) -> NoReturn:
    if total < len(SPLITS):
        remedy = "at least 3 are needed"
    elif split.method == "official":
        remedy = "too few usable ones are in the dataset's own lists; -S prepare.split.method=random splits all images"
    else:
        remedy = f"make prepare.split.val ({split.val}) and prepare.split.test ({split.test}) smaller"
    raise InputError(f"prepare.split leaves no image for {name}; there are {total} in all: {remedy}")
