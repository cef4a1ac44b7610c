"""Where pretrained encoder weights come from, told before any work is done; imports no torch.

`encoder_weights` is null, a name such as imagenet that the Hugging Face hub holds, or a file on disk.
"""

import os
from pathlib import Path

from losslab.errors import InputError

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
TIMEOUT_S = 5
WAY_OUT = "null trains from scratch; or fetch it where there is a network and point HF_HOME to that cache; or name a local file"


def is_file(encoder_weights: str) -> bool:
    """Whether `encoder_weights` means a file, there or not, rather than the name of published weights."""
    return encoder_weights.endswith(SUFFIXES) or "/" in encoder_weights or os.sep in encoder_weights


def find_file(encoder_weights: str) -> Path:
    """The local file that `encoder_weights` means; a relative path is meant from the root of the repository.

    A queued experiment runs in a copy that holds only what Git and DVC track; there the user's own repository, DVC_ROOT,
    is looked into as well.

    Raises:
        InputError: no such file, with the places looked into.
    """
    path = Path(encoder_weights).expanduser()
    places = list(dict.fromkeys([path.absolute(), Path(os.environ.get("DVC_ROOT", ".")).absolute() / path]))
    for place in places:
        if place.is_file():
            return place
    raise InputError(f"encoder_weights: no file {' nor '.join(map(str, places))}")


def check_reachable(encoder: str | None, encoder_weights: str | None) -> None:
    """Raise InputError when the weights can be had neither from disk, nor from the hub's cache, nor from the hub."""
    if encoder is None or encoder_weights is None:
        return
    if is_file(encoder_weights):
        find_file(encoder_weights)
    elif not _is_cached(encoder, encoder_weights):
        if _is_on("HF_HUB_OFFLINE"):
            raise build_unavailable_error(encoder, encoder_weights, "HF_HUB_OFFLINE is set and the cache has none")
        if reason := _no_answer(os.environ.get("HF_ENDPOINT", "https://huggingface.co")):
            raise build_unavailable_error(encoder, encoder_weights, reason)


def build_unavailable_error(encoder: str, encoder_weights: str, reason: str) -> InputError:
    """The one line for weights that could not be fetched, whoever finds out."""
    return InputError(f"encoder_weights: {encoder_weights!r} for {encoder} could not be fetched ({reason}); {WAY_OUT}")


def find_hub_cache() -> Path:
    """The folder of the hub's cache, by the variables that huggingface_hub goes by."""
    home = Path(os.environ.get("HF_HOME", Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"))
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()


def _is_cached(encoder: str, encoder_weights: str) -> bool:
    # timm knows which tag is an encoder's default, and timm imports torch: any tag will do here.
    name = encoder.removeprefix("tu-")
    repository = f"timm--{name}*" if encoder.startswith("tu-") else f"smp-hub--{name}.{encoder_weights}"
    if encoder.startswith("tu-") and "." not in name:
        repository = f"timm--{name}.*"
    return any(
        path.is_file()
        for path in find_hub_cache().glob(f"models--{repository}/snapshots/*/*")
        if path.suffix in SUFFIXES
    )


def _no_answer(endpoint: str) -> str | None:
    """Why the hub does not answer; None when it does, with whatever status."""
    import requests

    try:
        requests.head(endpoint, timeout=TIMEOUT_S)
    except requests.Timeout:
        return f"no answer from {endpoint} in {TIMEOUT_S} s"
    except requests.RequestException:
        return f"cannot connect to {endpoint}"
    return None


def _is_on(variable: str) -> bool:
    return os.environ.get(variable, "").upper() in {"1", "ON", "YES", "TRUE"}
