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


def check_given(arch: str, encoder: str | None, encoder_weights: str | None) -> None:
    """Raise InputError where an encoder is missing or not wanted; whether it exists only smp and timm can tell."""
    needed = find(arch).takes_encoder
    if needed and encoder is None:
        raise InputError(f"encoder is null; arch {arch} needs one, such as resnet18")
    if not needed and encoder is not None:
        raise InputError(f"encoder is {encoder!r}; arch {arch} takes none: null")
    if encoder is None and encoder_weights is not None:
        raise InputError(f"encoder_weights is {encoder_weights!r}; without an encoder it must be null")


def find(arch: str) -> ArchSpec:
    if arch not in ARCHS:
        raise InputError(f"arch: {arch!r} is not one of {', '.join(available())}")
    return ARCHS[arch]
