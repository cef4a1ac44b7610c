"""Write src/losslab/models/encoders.json: `python .ci/encoders.py`, after a change of smp, timm or the archs.

It tries all pairs on torch's meta device, which takes an hour or two, and prints each encoder as it goes.
"""

import json
from collections import defaultdict

from losslab.models.encoders import LIST, TIMM_PREFIX, find_versions
from losslab.models.registry import ARCHS
from losslab.models.smp_nets import find_obstacle, list_encoders

LIKE = {
    "unet": ("unetplusplus", "manet", "linknet", "fpn", "upernet", "segformer"),
    "pspnet": (),
    "deeplabv3": (),
    "deeplabv3plus": ("pan",),
    "dpt": (),
}
"""Archs that are tried on timm's encoders, with those that take the same features of them."""


def find_refusing(encoder: str) -> set[str]:
    """Find the archs that cannot be built on an encoder."""
    tried = LIKE if encoder.startswith(TIMM_PREFIX) else {name: () for name, one in ARCHS.items() if one.takes_encoder}
    refusing = {arch for arch in tried if find_obstacle(arch, encoder) is not None}
    return refusing | {other for arch in refusing for other in tried[arch]}


def write_list(refusing: dict[str, set[str]]) -> None:
    groups = defaultdict(list)
    for encoder in sorted(refusing):
        groups[" ".join(name for name in ARCHS if name in refusing[encoder])].append(encoder)
    content = {"versions": find_versions(), "refused_by": {archs: " ".join(groups[archs]) for archs in sorted(groups)}}
    LIST.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    found = {}
    for encoder in list_encoders():
        found[encoder] = find_refusing(encoder)
        print(encoder, *sorted(found[encoder]), flush=True)
    write_list(found)
