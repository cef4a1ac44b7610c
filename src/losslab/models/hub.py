"""The origin of pretrained encoder weights, checked before any work is done; imports no torch.

`encoder_weights` is null, the name of weights on the Hugging Face hub such as imagenet, or a file on disk.
"""

import os
from pathlib import Path

from losslab.errors import InputError, quote

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
TIMEOUT_S = 5
REMEDY = "use null to train from scratch, download it elsewhere and point HF_HOME to that cache, or name a local file"


def is_file(encoder_weights: str) -> bool:
    """Return whether `encoder_weights` means a file, existing or not, rather than the name of published weights.

    >>> is_file("weights/lite0.safetensors"), is_file("imagenet")
    (True, False)
    """
    return encoder_weights.endswith(SUFFIXES) or "/" in encoder_weights or os.sep in encoder_weights


def find_file(encoder_weights: str) -> Path:
    """Find the file that `encoder_weights` means, by a path from the repository's root; InputError: there is none."""
    # A queued experiment runs in a copy that holds only what Git and DVC track; the user's own repository is DVC_ROOT.
    path = Path(encoder_weights).expanduser()
    places = list(dict.fromkeys([path.absolute(), Path(os.environ.get("DVC_ROOT", ".")).absolute() / path]))
    for place in places:
        if place.is_file():
            return place
    raise InputError(f"encoder_weights: no file {' or '.join(map(str, places))}")


def check_reachable(encoder: str | None, encoder_weights: str | None) -> None:
    """Raise InputError unless the weights can be had from disk, from the hub's cache or from the hub."""
    if encoder is None or encoder_weights is None:
        return
    if is_file(encoder_weights):
        find_file(encoder_weights)
    elif not _is_cached(encoder, encoder_weights):
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
            raise build_unavailable_error(encoder, encoder_weights, "HF_HUB_OFFLINE is set and the cache has none")
        if reason := _find_connection_fault(os.environ.get("HF_ENDPOINT", "https://huggingface.co")):
            raise build_unavailable_error(encoder, encoder_weights, reason)


def build_unavailable_error(encoder: str, encoder_weights: str, reason: str) -> InputError:
    """Build the error for weights that could not be fetched: the reason, and what to do."""
    return InputError(
        f"encoder_weights: {quote(encoder_weights)} for {encoder} could not be fetched ({reason}); {REMEDY}"
    )


def find_hub_cache() -> Path:
    """Return the folder of the hub's cache, from the environment variables that huggingface_hub reads."""
    home = Path(os.environ.get("HF_HOME", Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"))
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()


def _is_cached(encoder: str, encoder_weights: str) -> bool:
    # timm knows which tag is an encoder's default, and timm imports torch: any tag will do here.
    name = encoder.removeprefix("tu-")
    repository = f"smp-hub--{name}.{encoder_weights}"
    if encoder.startswith("tu-"):
        repository = f"timm--{name}*" if "." in name else f"timm--{name}.*"
    files = find_hub_cache().glob(f"models--{repository}/snapshots/*/*")
    return any(path.suffix in SUFFIXES and path.is_file() for path in files)


def _find_connection_fault(endpoint: str) -> str | None:
    """Return why the hub does not answer, or None when it answers with any status."""
    import requests

    try:
        requests.head(endpoint, timeout=TIMEOUT_S)
    except requests.Timeout:
        return f"no answer from {endpoint} in {TIMEOUT_S} s"
    except requests.RequestException:
        return f"cannot connect to {endpoint}"
    return None
