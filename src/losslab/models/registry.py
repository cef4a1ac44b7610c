"""The names and demands of all architectures; imports no torch, so that params.yaml is checked in milliseconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from losslab.errors import InputError, quote
from losslab.io.yaml import Section, validate
from losslab.plugins.manifest import PluginEntry, explain_unknown, find_entry, find_plugins
from losslab.plugins.options import build_schema

SMP = "segmentation_models_pytorch"


@dataclass(frozen=True, kw_only=True)
class ArchSpec:
    """Facts about an arch that are known without building it.

    >>> ARCHS["unet"].stride, ARCHS["unet"].encoders
    (32, ('resnet18', 'mit_b0', 'tu-convnext_atto'))
    """

    name: str
    target: str
    """The class that implements it, as `module:class`; a plug-in's class or function is `path:name` or `module:name`."""
    stride: int
    """Pixels per feature of the deepest feature map; images are padded to a multiple of it."""
    summary: str
    source: str
    """The paper; `hand-written` where there is none, or the net differs from smp's."""
    encoders: tuple[str, ...] = ()
    """Some encoders that it goes with, first the one that it is listed with; none for a net without encoder."""
    smallest: int = 1
    """Pixels a side that images are padded to at least."""
    is_plugin: bool = False
    options: type[Section] = Section
    """Schema of `arch_options`; only nets of plug-ins have some."""
    pools_to_one: bool = False
    """Whether batch norm sees one value per channel and image, so that the net cannot train on one image at a time."""

    @property
    def takes_encoder(self) -> bool:
        return bool(self.encoders)


def _identify(name: str, target: str, stride: int, encoders: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"name": name, "target": target, "stride": stride, "encoders": encoders}


_ANY = ("resnet18", "mit_b0", "tu-convnext_atto")
_CONVOLUTIONAL = ("resnet18", "efficientnet-b0", "tu-mobilenetv3_small_050")
_VIT = ("tu-vit_tiny_patch16_224", "tu-vit_base_patch16_224", "tu-deit_small_distilled_patch16_224")

_SPECS = [
    ArchSpec(
        **_identify("unet", f"{SMP}:Unet", 32, _ANY),
        summary="encoder and decoder joined by skips at every scale",
        source="Ronneberger et al. 2015, arXiv 1505.04597",
    ),
    ArchSpec(
        **_identify("unetplusplus", f"{SMP}:UnetPlusPlus", 32, _CONVOLUTIONAL),
        summary="unet with nested, dense skips",
        source="Zhou et al. 2018, arXiv 1807.10165",
    ),
    ArchSpec(
        **_identify("manet", f"{SMP}:MAnet", 32, _ANY),
        summary="unet with attention over positions and scales",
        source="Fan et al. 2020, doi 10.1109/ACCESS.2020.3025372",
    ),
    ArchSpec(
        **_identify("linknet", f"{SMP}:Linknet", 32, _CONVOLUTIONAL),
        summary="skips that are added, not concatenated: small and fast",
        source="Chaurasia and Culurciello 2017, arXiv 1707.03718",
    ),
    ArchSpec(
        **_identify("fpn", f"{SMP}:FPN", 32, _ANY),
        summary="a pyramid of features, each scale segmented, then summed",
        source="Kirillov et al. 2019, arXiv 1901.02446",
    ),
    ArchSpec(
        **_identify("pspnet", f"{SMP}:PSPNet", 8, _ANY),
        summary="pools the features of stride 8 over grids of 1, 2, 3 and 6",
        source="Zhao et al. 2017, arXiv 1612.01105",
    ),
    ArchSpec(
        **_identify("deeplabv3", f"{SMP}:DeepLabV3", 8, _CONVOLUTIONAL),
        summary="dilated encoder, atrous spatial pyramid pooling",
        source="Chen et al. 2017, arXiv 1706.05587",
        pools_to_one=True,
    ),
    ArchSpec(
        **_identify("deeplabv3plus", f"{SMP}:DeepLabV3Plus", 16, _CONVOLUTIONAL),
        summary="deeplabv3 with a skip from stride 4",
        source="Chen et al. 2018, arXiv 1802.02611",
        pools_to_one=True,
    ),
    ArchSpec(
        **_identify("pan", f"{SMP}:PAN", 16, _CONVOLUTIONAL),
        summary="pyramid attention on a dilated encoder",
        source="Li et al. 2018, arXiv 1805.10180",
        smallest=128,  # its attention halves the features of stride 16 three times
        pools_to_one=True,
    ),
    ArchSpec(
        **_identify("upernet", f"{SMP}:UPerNet", 32, _ANY),
        summary="pyramid pooling on top of a feature pyramid",
        source="Xiao et al. 2018, arXiv 1807.10221",
        pools_to_one=True,
    ),
    ArchSpec(
        **_identify("segformer", f"{SMP}:Segformer", 32, ("mit_b0", "resnet18", "tu-convnext_atto")),
        summary="all scales through one small MLP; the paper's encoders are mit_b0 to mit_b5",
        source="Xie et al. 2021, arXiv 2105.15203",
    ),
    ArchSpec(
        **_identify("dpt", f"{SMP}:DPT", 32, _VIT),
        summary="dense prediction on a plain vision transformer",
        source="Ranftl et al. 2021, arXiv 2103.13413",
    ),
    ArchSpec(
        **_identify("segnet", "losslab.models.segnet:SegNet", 32),
        summary="unpools where the encoder's max pooling found its maxima",
        source="Badrinarayanan et al. 2015, arXiv 1511.00561, hand-written",
    ),
    ArchSpec(
        **_identify("vanilla_unet", "losslab.models.seed_unets:VanillaUNet", 16),
        summary="max pooling, nearest upsampling, no batch norm",
        source="Ronneberger et al. 2015, arXiv 1505.04597, hand-written",
    ),
    ArchSpec(
        **_identify("strided_unet", "losslab.models.seed_unets:StridedUNet", 16),
        summary="vanilla_unet with strided and transposed convolutions",
        source="hand-written",
    ),
    ArchSpec(
        **_identify("simple_cnn", "losslab.models.simple_cnn:SimpleCNN", 4),
        summary="two convolutions down, two transposed up, no skips",
        source="hand-written",
    ),
    ArchSpec(
        **_identify("simple_segnet", "losslab.models.simple_cnn:SimpleSegNet", 4),
        summary="simple_cnn, twice as wide",
        source="hand-written",
    ),
]
ARCHS: dict[str, ArchSpec] = {spec.name: spec for spec in _SPECS}


def available() -> list[str]:
    """List the names that `arch` may have: losslab's, and those of plug-ins.

    >>> available()[:3]
    ['unet', 'unetplusplus', 'manet']
    """
    return list(list_archs())


def list_archs() -> dict[str, ArchSpec]:
    """Return all archs by name, a project's own included."""
    return ARCHS | {name: _specify_plugin(entry) for name, entry in find_plugins().select("net").items()}


def check_encoder_given(arch: str, encoder: str | None, encoder_weights: str | None) -> None:
    """Raise InputError for an encoder that is missing or not taken; whether it exists is not checked.

    >>> check_encoder_given("simple_cnn", "resnet18", None)
    Traceback (most recent call last):
    losslab.errors.InputError: encoder is 'resnet18', but arch simple_cnn takes none; set it to null
    """
    spec = find_arch(arch)
    if spec.takes_encoder and encoder is None:
        raise InputError(f"encoder is null, but arch {arch} needs one, such as {spec.encoders[0]}")
    if not spec.takes_encoder and encoder is not None:
        raise InputError(f"encoder is {quote(encoder)}, but arch {arch} takes none; set it to null")
    if encoder is None and encoder_weights is not None:
        raise InputError(f"encoder_weights is {quote(encoder_weights)}; without an encoder it must be null")


def check_arch_options(arch: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of an arch with its defaults filled in. Raises InputError for one that it does not take.

    >>> check_arch_options("unet", {"width": 32})
    Traceback (most recent call last):
    losslab.errors.InputError: arch_options: width: unknown key; arch unet takes no options
    """
    schema = find_arch(arch).options
    if options and not schema.model_fields:
        raise InputError(f"arch_options: {next(iter(options))}: unknown key; arch {arch} takes no options")
    return validate(schema, dict(options), "arch_options").model_dump()


def check_batch(arch: str, size: int, batch_size: int) -> None:
    """Raise InputError if batch norm would see one value per channel in training, as far as the arch alone shows.

    An encoder may pool to one value as well; only `losslab.models.check_size` notices that.

    Args:
        size: pixels a side of the images.

    >>> check_batch("pan", 256, 1)
    Traceback (most recent call last):
    losslab.errors.InputError: train.batch_size is 1, but arch pan pools each image to one value and batch norm needs ...
    """
    spec = find_arch(arch)
    if batch_size == 1 and spec.pools_to_one:
        raise InputError(
            f"train.batch_size is 1, but arch {arch} pools each image to one value and batch norm needs two; "
            "set it to 2 or more"
        )
    if batch_size == 1 and max(size, spec.smallest) <= spec.stride and spec.takes_encoder:
        raise InputError(
            f"train.batch_size is 1 at prepare.size {size}: batch norm needs more than one value; raise either"
        )


def find_arch(arch: str) -> ArchSpec:
    """Return the facts about an arch. Raises InputError for an unknown name.

    >>> find_arch("segnet").source
    'Badrinarayanan et al. 2015, arXiv 1511.00561, hand-written'
    """
    entry = find_entry("net", arch, ARCHS)
    if arch in ARCHS:
        return ARCHS[arch]
    if entry is None:
        known = available()
        raise InputError(explain_unknown(f"arch: {quote(arch)} is not one of {', '.join(known)}", arch, known))
    return _specify_plugin(entry)


def _specify_plugin(entry: PluginEntry) -> ArchSpec:
    about = {"stride": 32, "source": "", **entry.facts}
    return ArchSpec(
        name=entry.name,
        target=f"{entry.origin}:{entry.attribute}",
        summary=entry.summary,
        is_plugin=True,
        options=build_schema(f"{entry.name}_options", entry.options, Section),
        **about,
    )
