from collections.abc import Sequence
from pathlib import Path

import pytest

from losslab import tracking
from losslab.tracking import TrackedRun
from tests.experiments.repository import Runs


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


@pytest.fixture
def tracked(monkeypatch: pytest.MonkeyPatch) -> list[TrackedRun]:
    """Let the test say which runs MLflow has."""
    known: list[TrackedRun] = []

    def listed(root: Path) -> Sequence[TrackedRun]:
        return known

    monkeypatch.setattr(tracking, "list_tracked_runs", listed)
    return known
