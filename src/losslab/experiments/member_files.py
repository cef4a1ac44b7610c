"""The files of an ensemble's members, by their md5s."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from losslab.errors import InputError
from losslab.models import DESCRIPTION, WEIGHTS
from losslab.params import EnsembleParams

FILES = {WEIGHTS: "weights", DESCRIPTION: "description", "index.csv": "images"}
"""Files of a member, and the keys in `evaluate.ensemble` that have their md5s."""


def list_member_md5s(params: Mapping[str, Any]) -> list[str]:
    """List the md5s of the files that evaluate reads of the members of an ensemble; none without one."""
    ensemble = params.get("evaluate", {}).get("ensemble") or {"members": []}
    return [member[key] for member in ensemble["members"] for key in FILES.values()]


@contextmanager
def open_members(ensemble: EnsembleParams | None, root: Path) -> Iterator[Mapping[str, Path]]:
    """Yield for each member, by name, a folder with model.safetensors, model.json and index.csv; none without an ensemble.

    They are links into DVC's cache, or copies from its remote, for reading only.
    Raises InputError if one is in neither, which says how to get it.
    """
    if ensemble is None:
        yield {}
        return
    from losslab.experiments.dvc_cache import DvcCache  # imports DVC, which takes a second

    cache = DvcCache(root)
    with TemporaryDirectory() as name:
        folders = {}
        for number, member in enumerate(ensemble.members):
            folder = folders[member.run] = Path(name) / str(number)
            for file, key in FILES.items():
                md5 = getattr(member, key)
                if not cache.link(md5, folder / file):
                    raise InputError(
                        f"evaluate.ensemble: {file} of {member.run} (md5 {md5}) is neither in DVC's cache nor in its remote: run "
                        f"`dvc exp pull REMOTE {member.run}` where the run was pushed, or train it again"
                    )
        yield folders
