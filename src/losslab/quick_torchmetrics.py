"""Imports torchmetrics, which Lightning imports too, without what its metrics of audio, its detectors and its plots need.

They are not used here; importing scipy.signal, torchvision and matplotlib for them takes seconds of every stage's start.
"""

import sys
from types import ModuleType
from unittest.mock import patch

from lightning_utilities.core.imports import RequirementCache

UNUSED = ("matplotlib", "torchvision")

if not {"torchmetrics", "scipy.signal"} & sys.modules.keys():
    stand_in = ModuleType("scipy.signal")
    stand_in.hamming = None  # type: ignore[attr-defined]  # which torchmetrics gives it otherwise
    is_met = RequirementCache.__bool__
    sys.modules["scipy.signal"] = stand_in
    try:
        with patch.object(
            RequirementCache, "__bool__", lambda asked: asked.requirement not in UNUSED and is_met(asked)
        ):
            import torchmetrics as torchmetrics
    finally:
        del sys.modules["scipy.signal"]  # who imports it from now on gets the real one
