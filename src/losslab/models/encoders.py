"""The names of all encoders, and the archs that each cannot be built with; imports no torch, as smp and timm do.

encoders.json holds them for the pinned versions of smp and timm; .ci/encoders.py writes it. Each of smp's own encoders was tried
and most of timm's; for the others it holds the archs that cannot be built on any of those tried from the same module of timm.
"""

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from losslab.errors import InputError, quote
from losslab.models.registry import ARCHS, available, find_arch

TIMM_PREFIX = "tu-"
"""Beginning of smp's names for the encoders of timm."""
PACKAGES = ("segmentation-models-pytorch", "timm")
LIST = Path(__file__).with_name("encoders.json")


def check_encoder_listed(arch: str, encoder: str) -> None:
    """Raise InputError for an encoder that does not exist, or that the arch cannot be built on.

    With other versions of smp or timm than the list's, nothing is checked: the train stage asks them.

    >>> check_encoder_listed("dpt", "resnet18")
    Traceback (most recent call last):
    losslab.errors.InputError: encoder: arch dpt cannot be built on 'resnet18'; dpt goes with tu-vit_tiny_patch16_224, ...
    """
    if (refused := _read_refused()) is None:
        return
    check_name(encoder, refused)
    archs = refused[encoder.partition(".")[0]]
    if arch in archs:
        others = [name for name in available() if ARCHS[name].takes_encoder and name not in archs]
        raise build_pair_error(arch, encoder, others)


@cache
def _read_refused() -> Mapping[str, list[str]] | None:
    """Read the archs that cannot be built on each encoder; None with other versions of smp or timm than the list's."""
    content = json.loads(LIST.read_text(encoding="utf-8"))
    if content["versions"] != find_versions():
        return None
    return {name: archs.split() for archs, names in content["refused_by"].items() for name in names.split()}


def check_name(encoder: str, known: Iterable[str]) -> None:
    """Raise InputError for an encoder that is not among the known; one of timm's may have a tag, which is not checked."""
    names = list(known)
    name, _, tag = encoder.partition(".")
    if encoder not in names and not (tag and name in names and name.startswith(TIMM_PREFIX)):
        close = get_close_matches(encoder, names, n=5, cutoff=0.4)
        hint = f"; similar names: {', '.join(close)}" if close else ""
        raise InputError(
            f"encoder: {quote(encoder)} is unknown to smp and timm (timm's names start with {TIMM_PREFIX}){hint}"
        )


def build_pair_error(arch: str, encoder: str, others: list[str], reason: str | None = None) -> InputError:
    """Build the error for an arch that cannot be built on an encoder.

    Args:
        others: the archs that can.
    """
    why = f" ({reason})" if reason else ""
    return InputError(
        f"encoder: arch {arch} cannot be built on {quote(encoder)}{why}; {arch} goes with "
        f"{', '.join(find_arch(arch).encoders)} and more (losslab docs architectures); "
        f"{encoder} goes with {', '.join(others) or 'no arch'}"
    )


def find_versions() -> Mapping[str, str | None]:
    """Find the installed versions of smp and timm; None where a package is missing."""
    found: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
