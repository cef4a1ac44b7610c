"""Imports torchmetrics, which Lightning imports too, without scipy.signal.

torchmetrics gives scipy.signal a function that it lost, for an audio metric that is not used here; importing it takes a second
of every stage's start.
"""

import sys
from types import ModuleType

if not {"torchmetrics", "scipy.signal"} & sys.modules.keys():
    stand_in = ModuleType("scipy.signal")
    stand_in.hamming = None  # type: ignore[attr-defined]
    sys.modules["scipy.signal"] = stand_in
    try:
        import torchmetrics as torchmetrics
    finally:
        del sys.modules["scipy.signal"]  # who imports it from now on gets the real one
