"""torchmetrics without the imports of its audio metrics, detectors and plots; import it from here, before Lightning.

losslab uses none of them, and importing scipy.signal, torchvision and matplotlib adds seconds to the start of every
stage.
"""

import sys
from types import ModuleType
from unittest.mock import patch

import torch
from lightning_utilities.core.imports import RequirementCache

UNUSED = ("matplotlib", "torchvision")

if not {"torchmetrics", "scipy.signal"} & sys.modules.keys():
    stand_in = ModuleType("scipy.signal")
    stand_in.hamming = None  # type: ignore[attr-defined]  # as torchmetrics sets it where scipy is missing
    is_met = RequirementCache.__bool__
    sys.modules["scipy.signal"] = stand_in
    try:
        with patch.object(
            RequirementCache, "__bool__", lambda package: package.requirement not in UNUSED and is_met(package)
        ):
            import torchmetrics  # noqa: F401
    finally:
        del sys.modules["scipy.signal"]  # later imports get the real one

from torch import Tensor  # noqa: E402
from torchmetrics import Metric as _Metric  # noqa: E402
from torchmetrics.utilities import dim_zero_cat  # noqa: E402

__all__ = ["Metric", "dim_zero_cat"]


class Metric(_Metric):
    """A metric of torchmetrics that methods other than `update` may count for too."""

    def note_update(self) -> None:
        """Note that something was counted: what was computed before no longer holds."""
        self._computed = None
        self._update_count += 1

    def append_rows(self, state: str, rows: Tensor) -> None:
        """Append `[N, …]` to a state that is a list, and join its last tensors where they are of like length.

        So there are few at any time, in memory of their own: thousands of small ones, made by threads between large
        blocks, would hold gigabytes that the allocator could not use again.
        """
        parts = [*getattr(self, state), rows.clone()]
        while len(parts) > 1 and len(parts[-2]) <= len(parts[-1]):
            parts[-2:] = [torch.cat(parts[-2:])]
        setattr(self, state, parts)
