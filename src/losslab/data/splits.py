"""Which image is for training, validation or testing: the same files give the same split on every machine."""

import hashlib
from collections.abc import Sequence

from losslab.data.cards import SPLITS, SplitName
from losslab.data.readers import Sample
from losslab.errors import InputError
from losslab.params import Split


def split_samples(samples: Sequence[Sample], split: Split) -> dict[SplitName, list[Sample]]:
    """Deal the samples out, each list sorted by name.

    `official` keeps the dataset's own lists, drops what none of them names, and draws a part that is missing (often val)
    from the training images; `random` deals all of them. `split.val` and `split.test` are fractions of what is drawn from.

    Raises:
        InputError: no official split, or a part without a single image.
    """
    dealt: dict[SplitName, list[Sample]] = {name: [] for name in SPLITS}
    if split.method == "official":
        for sample in samples:
            if sample.split is not None:
                dealt[sample.split].append(sample)
        if not any(dealt.values()):
            raise InputError("prepare.split.method is 'official'; this dataset has no official split: use random")
    else:
        dealt["train"] = list(samples)
    pool, fractions = len(dealt["train"]), {"val": split.val, "test": split.test}
    shuffled = sorted(dealt["train"], key=lambda sample: _rank(split.seed, sample.name))
    for name in ("val", "test"):
        if not dealt[name]:
            count = max(round(pool * fractions[name]), 1)
            dealt[name], shuffled = shuffled[:count], shuffled[count:]
    dealt["train"] = shuffled
    for name in SPLITS:
        if not dealt[name]:
            raise InputError(f"prepare.split leaves no image for {name}; there are {len(samples)} in all")
        dealt[name].sort(key=lambda sample: sample.name)
    return dealt


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()
