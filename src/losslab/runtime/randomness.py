"""One seed, many independent streams: every random number is a function of (seed, stream, counters) alone."""

from typing import Literal

import numpy as np

Stream = Literal["weights", "order", "augmentation", "crop", "step"]
_STREAMS: dict[Stream, int] = {"weights": 0, "order": 1, "augmentation": 2, "step": 3, "crop": 4}


def derive_seed(seed: int, stream: Stream, *counters: int) -> int:
    """Derive a 32-bit seed for one stream, such as the augmentation in epoch 3 of sample 17.

    >>> derive_seed(0, "order", 3) == derive_seed(0, "order", 3) != derive_seed(0, "augmentation", 3)
    True
    """
    return int(np.random.SeedSequence([seed, _STREAMS[stream], *counters]).generate_state(1)[0])
