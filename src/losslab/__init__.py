"""losslab: which loss and which architecture segment my data best, and whether the difference is real.

The functions and classes here are imported when they are used: `import losslab` alone imports no torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from losslab.api.runs import Run, load_run, run
    from losslab.api.verdict import ComparisonVerdict, compare
    from losslab.errors import InputError
    from losslab.losses import build_loss
    from losslab.metrics import SegmentationMetrics
    from losslab.models import build_model

__all__ = [
    "ComparisonVerdict",
    "InputError",
    "Run",
    "SegmentationMetrics",
    "build_loss",
    "build_model",
    "compare",
    "load_run",
    "run",
]
# As texts: no stage depends on these modules because it imports losslab.
_MODULES = {
    "ComparisonVerdict": "losslab.api.verdict",
    "InputError": "losslab.errors",
    "Run": "losslab.api.runs",
    "SegmentationMetrics": "losslab.metrics",
    "build_loss": "losslab.losses",
    "build_model": "losslab.models",
    "compare": "losslab.api.verdict",
    "load_run": "losslab.api.runs",
    "run": "losslab.api.runs",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("losslab")
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
