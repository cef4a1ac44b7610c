"""One finished run for all pipeline tests, made by whichever process of the suite comes first."""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from tests.pipeline.clone import Clone

EPOCHS = 20


@dataclass(frozen=True)
class FinishedRun:
    """A run that was left alone: what came out, and the clone that it lies in, for one file of tests to change."""

    folder: Path
    outs: dict[str, bytes]
    lock: str
    output: str


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    base = tmp_path_factory.getbasetemp()
    place = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    record = place / "finished.pickle"
    with FileLock(place / "finished.lock"):
        if not record.exists():
            clone = Clone(place / "finished", {"train": {"epochs": EPOCHS}})
            output = clone.run("dvc repro")
            lock = (clone.folder / "dvc.lock").read_text(encoding="utf-8")
            record.write_bytes(pickle.dumps(FinishedRun(clone.folder, clone.outs(), lock, output)))
    run: FinishedRun = pickle.loads(record.read_bytes())
    return run
