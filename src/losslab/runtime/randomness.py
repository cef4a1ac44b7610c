"""One seed, many independent streams: what is random is a function of (seed, stream, counters) and of nothing else."""

from typing import Literal

import numpy as np

Stream = Literal["weights", "order", "augmentation", "step"]
_STREAMS: dict[Stream, int] = {"weights": 0, "order": 1, "augmentation": 2, "step": 3}


def derive_seed(seed: int, stream: Stream, *counters: int) -> int:
    """A 32-bit seed for one stream, such as the order of epoch 3 or the augmentation of sample 17 in epoch 3."""
    return int(np.random.SeedSequence([seed, _STREAMS[stream], *counters]).generate_state(1)[0])
