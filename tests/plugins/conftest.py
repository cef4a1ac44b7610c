import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from losslab.io.files import write_json
from losslab.plugins import manifest
from losslab.plugins.loading import LOADED


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Path]]:
    """Write a file of a project's plugins/; it is described in this process, which is quicker than in one of its own."""

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / "plugins" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        forget()
        return path

    def forget() -> None:
        manifest._describe_folder.cache_clear()
        for module in [*sys.modules]:
            if module.startswith("losslab_plugins.") or module in ("channels", "_channels"):
                del sys.modules[module]
        LOADED.clear()

    def describe(folder: Path, path: Path) -> None:
        entries = manifest.describe_modules(folder)
        write_json(path, {"entries": [asdict(e) for e in entries.entries], "errors": list(entries.errors)})

    before = sys.path.copy()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(manifest, "_start_description", describe)
    yield write_file
    sys.path[:] = before
    forget()
