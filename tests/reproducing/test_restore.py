"""The workspace is put into a run's state whole, or not touched."""

from pathlib import Path

import pytest

from losslab.errors import InputError
from losslab.reproducing.named import record_of
from losslab.reproducing.restore import _is_kept, restore
from tests.reproducing.repository import Runs

pytestmark = pytest.mark.usefixtures("tracked")


def test_code_of_another_commit_is_refused_with_the_commit_to_check_out(runs: Runs) -> None:
    baseline = runs.git("rev-parse", "HEAD")
    runs.run("calm-cat", runs.lock())
    train = runs.root / "src/train.py"
    train.write_text("newer")
    before = (runs.root / "params.yaml").read_bytes()
    with pytest.raises(InputError, match=r"src/train\.py has changes that are not committed: git stash"):
        restore(record_of("calm-cat", runs.root), runs.root)
    runs.commit()
    with pytest.raises(InputError, match=f"not what it was when calm-cat ran: git checkout {baseline[:10]} first"):
        restore(record_of("calm-cat", runs.root), runs.root)
    assert (runs.root / "params.yaml").read_bytes() == before and not (runs.root / "dvc.lock").exists()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("params.yaml", "params.yaml: changes that are neither committed nor an experiment's would be lost"),
        ("models/model.json", r"models/model\.json: not in DVC's cache, so lost"),
    ],
)
def test_changes_that_are_kept_nowhere_are_not_dropped(path: str, told: str, runs: Runs) -> None:
    runs.run("calm-cat", runs.lock())
    changed: Path = runs.root / path
    changed.parent.mkdir(exist_ok=True)
    changed.write_text("loss: mine\n")
    with pytest.raises(InputError, match=told):
        restore(record_of("calm-cat", runs.root), runs.root)
    assert changed.read_text() == "loss: mine\n" and not (runs.root / "dvc.lock").exists()


def test_checkout_that_fails_leaves_params_and_lock(runs: Runs) -> None:
    runs.run("calm-cat", runs.lock(), loss="dice")
    before = (runs.root / "params.yaml").read_bytes()
    (runs.root / "dvc.yaml").write_text("stages: [")
    with pytest.raises(InputError):
        restore(record_of("calm-cat", runs.root), runs.root, force=True)
    assert (runs.root / "params.yaml").read_bytes() == before and not (runs.root / "dvc.lock").exists()


def test_params_that_an_experiment_has_are_no_loss(runs: Runs) -> None:
    runs.run("calm-cat", runs.lock(), loss="dice")
    assert not _is_kept(runs.root)
    revision = record_of("calm-cat", runs.root).revision
    for name in ("params.yaml", "dvc.lock"):
        (runs.root / name).write_text(runs.git("show", f"{revision}:{name}") + "\n")
    assert _is_kept(runs.root)
