"""Networks: `build_model` makes one, `save` and `load` keep it together with all that is needed to use it.

Importing this room does not import torch; building a net does.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from losslab.bands import RGB, Bands
from losslab.errors import InputError, find_exhausted_memory
from losslab.io.files import make_folder, open_scratch_folder, write_json
from losslab.io.hashing import compute_file_sha256
from losslab.models import hub
from losslab.models.description import DESCRIPTION, read_description
from losslab.models.registry import available, check_arch_options, check_encoder_given, find_arch

if TYPE_CHECKING:
    from torch import nn

    from losslab.models.segmentation_net import SegmentationNet

__all__ = [
    "DESCRIPTION",
    "WEIGHTS",
    "available",
    "build_model",
    "check_encoder",
    "check_size",
    "compute_weights_digest",
    "find_normalisation",
    "load",
    "save",
]

WEIGHTS = "model.safetensors"


def build_model(
    arch: str,
    num_classes: int,
    encoder: str | None = None,
    encoder_weights: str | None = None,
    in_channels: int = 3,
    options: Mapping[str, Any] | None = None,
) -> "SegmentationNet":
    """Build a net: images float `[N, in_channels, H, W]` of any size in, logits `[N, num_classes, H, W]` out.

    Weights are drawn from torch's global random numbers; seed them first. `.net` is smp's net or the hand-written one,
    `.encoder` smp's encoder or None. `registry.ARCHS` names the paper of each arch.

    Args:
        encoder_weights: None, the name of published weights such as imagenet, or a local file (see `load_encoder`).
            `.first_layer` says how weights for three channels were adapted to others.
        options: as in `arch_options`, of a net that takes some.

    Raises:
        InputError: the arch or encoder is unknown; the arch takes no encoder, needs one, or does not go with this one,
            or does not take an option; the encoder weights do not exist, cannot be fetched or do not fit.

    >>> import torch
    >>> net = build_model("simple_cnn", 3)
    >>> net(torch.zeros(1, 3, 37, 50)).shape
    torch.Size([1, 3, 37, 50])
    """
    check_encoder(arch, encoder, encoder_weights)
    return _build(arch, num_classes, encoder, encoder_weights, in_channels, options)


def check_encoder(arch: str, encoder: str | None, encoder_weights: str | None) -> None:
    """Raise InputError for an encoder or weights that the arch cannot have, without any network call.

    >>> check_encoder("unet", None, None)
    Traceback (most recent call last):
    losslab.errors.InputError: encoder is null, but arch unet needs one, such as resnet18
    """
    check_encoder_given(arch, encoder, encoder_weights)
    if encoder is not None:
        from losslab.models.smp_nets import check_encoder_names, check_pairing

        check_encoder_names(encoder, encoder_weights)
        check_pairing(arch, encoder)


def check_size(net: "nn.Module", size: int, smallest_batch: int | None = None, images: int | None = None) -> None:
    """Raise InputError if the net cannot take images of size x size pixels: some encoders take one size only.

    Args:
        smallest_batch: the fewest images that a process gets in a step. If 1, the net must also be able to train on a
            single image, which the batch norm of some encoders cannot.
        images: the number of training images, if known: with a single one, no size of batches helps.

    >>> check_size(build_model("simple_cnn", 3), 64, smallest_batch=1)
    """
    from losslab.models.probe import find_fault

    if reason := find_fault(net, size):
        raise InputError(f"encoder: this net cannot take images of prepare.size {size}: {reason}")
    if smallest_batch == 1 and (reason := find_fault(net, size, training=True)):
        if images == 1:
            raise InputError(
                f"the train split has one image, on which this net cannot train: {reason}; give it more (see prepare.split "
                "and prepare.limit), or use another arch"
            )
        raise InputError(
            f"train.batch_size leaves one image per process and step, on which this net cannot train: {reason}; "
            "set it higher, or train.devices lower"
        )


def find_normalisation(
    encoder: str | None, encoder_weights: str | None, bands: Bands = RGB
) -> tuple[list[float], list[float]] | None:
    """Return the mean and standard deviation per channel, in 0..1 units, that encoder weights expect; None without any.

    None as well for images that are not RGB of 8 bits, since the weights have seen no others. Weights in a local file are
    assumed to expect the same as the published ones. No network call is made.

    >>> find_normalisation("resnet18", "imagenet")
    ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    """
    if encoder is None or encoder_weights is None or bands != RGB:
        return None
    from losslab.models.pretrained import find_expected_normalisation

    return find_expected_normalisation(encoder, encoder_weights)


def compute_weights_digest(encoder_weights: str | None) -> str | None:
    """Compute the sha256 of the local file that `encoder_weights` names (InputError: it does not exist), if it names one.

    The content of that file is part of a run's identity, and neither params.yaml nor DVC knows it.

    >>> compute_weights_digest("imagenet") is None
    True
    """
    if encoder_weights is None or not hub.is_file(encoder_weights):
        return None
    return compute_file_sha256(hub.find_file(encoder_weights))


def save(folder: Path, net: "nn.Module", description: dict[str, Any]) -> None:
    """Write `model.safetensors` and `model.json` into a folder, each as a whole or not at all.

    The weights are those of `net.net`, under its own names: a model on an encoder loads straight into smp's class, as in
    `smp.Unet("resnet18", encoder_weights=None, classes=3).load_state_dict(safetensors.torch.load_file(...))`.

    Args:
        description: content of model.json; `ModelDescription` has the keys that `load` needs.

    Raises:
        InputError: the weights cannot be written, for example because the disk is full.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save(Path(folder), build_model("simple_cnn", 3), {"arch": "simple_cnn", "encoder": None, "num_classes": 3})
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['model.json', 'model.safetensors']
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from losslab.models.segmentation_net import SegmentationNet

    inner = net.net if isinstance(net, SegmentationNet) else net
    # Saved weights are plain row-major: channels_last is a matter of the run, not of the model.
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in inner.state_dict().items()}
    make_folder(folder)
    # safetensors writes a file of a random name beside the one that is asked for: after a kill nobody would know it.
    with open_scratch_folder(folder / f".{WEIGHTS}.partial") as scratch:
        try:
            save_file(weights, scratch / WEIGHTS)
            (scratch / WEIGHTS).replace(folder / WEIGHTS)
        except SafetensorError as error:  # a full disk, for example
            raise InputError(f"{folder / WEIGHTS} cannot be written: {error}") from error
    write_json(folder / DESCRIPTION, description)


def load(folder: Path | str) -> "tuple[SegmentationNet, dict[str, Any]]":
    """Rebuild a saved net, in eval mode on the CPU, and return it with its description.

    Both files are taken for input from outside: nothing is fetched, whatever names they hold.

    Raises:
        InputError: the folder has no model, a description of none, or weights that do not fit it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from losslab.models.probe import shorten_error

    folder = Path(folder)
    described = read_description(folder)
    try:
        if described.encoder is not None:
            from losslab.models.smp_nets import check_encoder_names

            check_encoder_names(described.encoder, None)
        net = _build(
            described.arch,
            described.num_classes,
            described.encoder,
            in_channels=len(described.mean),
            options=described.arch_options,
        )
    except Exception as error:  # whatever smp and timm raise for a pair that they cannot build
        if find_exhausted_memory(error):
            raise
        raise InputError(f"{folder / DESCRIPTION}: {shorten_error(error)}") from None
    try:
        net.net.load_state_dict(load_file(folder / WEIGHTS))
    except FileNotFoundError:
        raise InputError(f"{folder / WEIGHTS}: no such file; the train stage writes it") from None
    except (SafetensorError, RuntimeError) as error:
        if find_exhausted_memory(error):
            raise
        raise InputError(f"{folder}: {WEIGHTS} and {DESCRIPTION} do not match: {shorten_error(error)}") from None
    absent = {"arch_options": described.arch_options, "bands": described.bands, "labels": described.labels}
    return net.eval(), described.model_dump(exclude={key for key, value in absent.items() if not value})


def _build(
    arch: str,
    num_classes: int,
    encoder: str | None,
    encoder_weights: str | None = None,
    in_channels: int = 3,
    options: Mapping[str, Any] | None = None,
) -> "SegmentationNet":
    spec, checked = find_arch(arch), check_arch_options(arch, options or {})
    if encoder is not None:
        from losslab.models.smp_nets import build_smp_net

        return build_smp_net(spec, num_classes, encoder, encoder_weights, in_channels)
    from losslab.models.segmentation_net import SegmentationNet

    if spec.is_plugin:
        from losslab.models.plugin_net import build_plugin_net

        net = build_plugin_net(spec, num_classes, in_channels, checked)
        return SegmentationNet(net, spec.stride, spec.smallest, in_channels)
    module, _, name = spec.target.partition(":")
    net = getattr(importlib.import_module(module), name)(num_classes, in_channels)
    return SegmentationNet(net, spec.stride, spec.smallest, in_channels)
