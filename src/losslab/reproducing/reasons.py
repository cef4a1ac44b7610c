"""Why a run that was repeated may have come out otherwise."""

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from losslab.devices import hardware
from losslab.errors import InputError
from losslab.reproducing.named import Record
from losslab.reproducing.verify import Verified
from losslab.study.runs import shown

MOST = 4
"""Packages that are named."""


def likely_reasons(record: Record, verified: Verified, root: Path) -> list[str]:
    """What is known to be another than when it was recorded, or is not known; each in a few words."""
    found, here = [], hardware()
    if record.hardware is None:
        found.append("the hardware it ran on is not recorded")
    elif record.hardware != here:
        found.append(f"it ran on other hardware ({record.hardware}; here: {here})")
    if record.threads is None:
        found.append("how many threads computed is not recorded: try --threads N")
    elif verified.threads != record.threads:
        found.append(f"the number of threads was {record.threads}, now {verified.threads}")
    try:
        pinned = shown(root, verified.revision, "requirements.lock")
    except InputError:
        pinned = ""
    changed = changed_packages(pinned)
    if changed:
        more = f" and {len(changed) - MOST} more" if len(changed) > MOST else ""
        found.append(f"packages are not those of its requirements.lock: {', '.join(changed[:MOST])}{more}")
    return found


def changed_packages(pinned: str) -> list[str]:
    """`name 1.0, here 2.0`, for the packages installed here in another version than a lock file says."""
    wanted: dict[str, set[str]] = {}
    for name, number in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", pinned, re.MULTILINE):
        wanted.setdefault(name, set()).add(number)
    found = []
    for name, numbers in sorted(wanted.items()):
        try:
            here = version(name)
        except PackageNotFoundError:  # of another system, or an extra
            continue
        if here.partition("+")[0] not in {number.partition("+")[0] for number in numbers}:
            found.append(f"{name} {' or '.join(sorted(numbers))}, here {here}")
    return found
