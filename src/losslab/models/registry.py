"""The names and demands of all architectures; imports no torch, so that params.yaml is checked in milliseconds."""

from dataclasses import dataclass

from losslab.errors import InputError


@dataclass(frozen=True)
class ArchSpec:
    """`target` is `module:function` below losslab.models; height and width must be multiples of `stride`."""

    name: str
    target: str
    stride: int
    takes_encoder: bool
    summary: str


_SPECS = [
    ArchSpec(
        name="unet",
        target="smp_nets:unet",
        stride=32,
        takes_encoder=True,
        summary="U-Net (Ronneberger et al. 2015, arXiv 1505.04597) on any encoder of smp or timm",
    ),
]
ARCHS: dict[str, ArchSpec] = {spec.name: spec for spec in _SPECS}


def available() -> list[str]:
    """The names that `arch` may have."""
    return list(ARCHS)


def find(arch: str) -> ArchSpec:
    if arch not in ARCHS:
        raise InputError(f"arch: {arch!r} is not one of {', '.join(available())}")
    return ARCHS[arch]
