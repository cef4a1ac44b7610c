"""What git ignores, DVC does not look into; and what DVC does not see, `dvc exp run` takes away as no longer used."""

from pathlib import Path

import pytest
from scmrepo.git import Git

from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("data/raw/cells/", False),  # DVC asks with the slash: data/raw/*/* would have it ignored, and own.dvc with it
        ("data/raw/cells/own.dvc", False),
        ("data/raw/cells/own", True),
        ("data/raw/cells/own/", True),
        ("data/raw/cells/fetched", True),
        ("data/raw/cells/.own.partial/", True),
        ("data/raw/cells/.own.masks.partial/", True),
        ("data/catalog/cells.yaml", False),
    ],
)
def test_data_are_ignored_and_their_dvc_files_are_not(tmp_path: Path, path: str, ignored: bool) -> None:
    repo = Git.init(str(tmp_path))
    (tmp_path / ".gitignore").write_bytes((ROOT / ".gitignore").read_bytes())
    assert repo.is_ignored(f"{tmp_path}/{path}") == ignored
